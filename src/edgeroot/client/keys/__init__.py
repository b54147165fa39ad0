"""Private keys of the package ``cryptography`` whose private part stays in the service.

They are subclasses of its abstract classes, so whatever takes such a key takes these: certificates, requests and
revocation lists of ``cryptography.x509``, CMS (``serialization.pkcs7``), JSON Web Tokens. Data is hashed here, and only
the hash is sent, unless the key may sign messages only. A key of a type that ``cryptography`` has no class for is used
through the client's own methods.
"""

from __future__ import annotations

from typing import TypeAlias

from edgeroot.client.errors import KeyPolicyError
from edgeroot.client.keys.ec import EcServiceKey as EcServiceKey
from edgeroot.client.keys.montgomery import X448ServiceKey as X448ServiceKey
from edgeroot.client.keys.montgomery import X25519ServiceKey as X25519ServiceKey
from edgeroot.client.keys.rsa import RsaServiceKey as RsaServiceKey
from edgeroot.client.keys.service_key import KeyHolder as KeyHolder
from edgeroot.psa import EccFamily, KeyAttributes

PrivateKey: TypeAlias = RsaServiceKey | EcServiceKey | X25519ServiceKey | X448ServiceKey


def private_key(client: KeyHolder, key_name: str, attributes: KeyAttributes) -> PrivateKey:
    """The key object for a key of these attributes; KeyPolicyError if there is no class for its type."""
    key_type = attributes.key_type
    if key_type.is_key_pair and key_type.is_rsa:
        return RsaServiceKey(client, key_name, attributes)
    if key_type.is_key_pair and key_type.is_ecc:
        if key_type.ecc_family is not EccFamily.MONTGOMERY:
            return EcServiceKey(client, key_name, attributes)
        if attributes.key_bits == 255:
            return X25519ServiceKey(client, key_name, attributes)
        if attributes.key_bits == 448:
            return X448ServiceKey(client, key_name, attributes)
    raise KeyPolicyError(
        f"{key_name!r} is {key_type!r} of {attributes.key_bits} bits, for which there is no private key class: "
        "use the client's methods"
    )
