"""What the objects of a key are made with: everything that the key's policy does not grant is denied.

Copies, wrapping and unwrapping are no operations of the service, so no key may do them: a key that may wrap could be
used to get other keys out of the token.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack
from typing import Final

from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11.mechanisms import of_policy
from edgeroot.psa import KeyAttributes, KeyType, UsageFlags

Value = bool | int | bytes
Template = dict[int, Value]
LABEL: Final = b"edgeroot"
_SIGN: Final = UsageFlags.SIGN_HASH | UsageFlags.SIGN_MESSAGE
_VERIFY: Final = UsageFlags.VERIFY_HASH | UsageFlags.VERIFY_MESSAGE


def object_class(key_type: KeyType) -> int:
    """The class of the object that a key of this type *is*; a pair has its public object beside it."""
    if key_type.is_key_pair:
        return ck.CKO_PRIVATE_KEY
    return ck.CKO_PUBLIC_KEY if key_type.is_public_key else ck.CKO_SECRET_KEY


def token_key_type(key_type: KeyType) -> int:
    """CK_KEY_TYPE."""
    if key_type.is_rsa:
        return ck.CKK_RSA
    if key_type.is_ecc:
        return ck.CKK_EC
    return ck.CKK_AES if key_type == KeyType.AES else ck.CKK_GENERIC_SECRET


def lookup(key_type: KeyType, object_id: bytes, wanted_class: int) -> Template:
    """Objects with this id whose type matches, and no others."""
    return {ck.CKA_ID: object_id, ck.CKA_CLASS: wanted_class, ck.CKA_KEY_TYPE: token_key_type(key_type)}


@dataclass(frozen=True, slots=True)
class Protection:
    """How a token guards an object beyond its uses.

    ``private``: only who is logged in sees it. ``names_mechanisms``: the token itself keeps it to the mechanism of its
    policy, so that a policy changed in the key store changes nothing.
    """

    private: bool
    names_mechanisms: bool


def allowed_mechanisms(*numbers: int) -> bytes:
    """CKA_ALLOWED_MECHANISMS: an array of CK_MECHANISM_TYPE, which is C's unsigned long (v3.0 §4.8)."""
    return pack(f"@{len(numbers)}L", *numbers)


def private_object(attributes: KeyAttributes, object_id: bytes, protection: Protection) -> Template:
    """A private key's or secret key's template without its value."""
    usage, key_type = attributes.usage, attributes.key_type
    exportable = bool(usage & UsageFlags.EXPORT)
    template = lookup(key_type, object_id, object_class(key_type)) | {
        ck.CKA_TOKEN: True,
        ck.CKA_LABEL: LABEL,
        ck.CKA_PRIVATE: protection.private,
        ck.CKA_SENSITIVE: not exportable,
        ck.CKA_EXTRACTABLE: exportable,
    }
    mechanism = of_policy(attributes.algorithm)
    if protection.names_mechanisms and mechanism is not None:
        template[ck.CKA_ALLOWED_MECHANISMS] = allowed_mechanisms(mechanism)
    return template | _uses(attributes)


def public_object(attributes: KeyAttributes, object_id: bytes) -> Template:
    """A public key's template without its value; ``attributes`` may be those of the pair."""
    usage, key_type = attributes.usage, attributes.key_type
    template = lookup(key_type, object_id, ck.CKO_PUBLIC_KEY) | {
        ck.CKA_TOKEN: True,
        ck.CKA_LABEL: LABEL,
        ck.CKA_PRIVATE: False,
        ck.CKA_VERIFY: bool(usage & _VERIFY),
    }
    if key_type.is_rsa:
        template |= {ck.CKA_ENCRYPT: bool(usage & UsageFlags.ENCRYPT), ck.CKA_WRAP: False}
    return template


def _uses(attributes: KeyAttributes) -> Template:
    usage, key_type = attributes.usage, attributes.key_type
    signs = bool(usage & _SIGN)
    if key_type.is_rsa:
        return {ck.CKA_SIGN: signs, ck.CKA_DECRYPT: bool(usage & UsageFlags.DECRYPT), ck.CKA_UNWRAP: False}
    if key_type.is_ecc:
        return {ck.CKA_SIGN: signs, ck.CKA_DERIVE: bool(usage & UsageFlags.DERIVE)}
    uses: Template = {
        ck.CKA_SIGN: signs,
        ck.CKA_VERIFY: bool(usage & _VERIFY),
        ck.CKA_WRAP: False,
        ck.CKA_UNWRAP: False,
    }
    if key_type == KeyType.AES:
        uses |= {
            ck.CKA_ENCRYPT: bool(usage & UsageFlags.ENCRYPT),
            ck.CKA_DECRYPT: bool(usage & UsageFlags.DECRYPT),
        }
    return uses
