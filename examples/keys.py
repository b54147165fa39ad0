"""What the examples have in common: a key of the service by its name, made when it is first needed."""

from __future__ import annotations

from edgeroot.client import Client, templates
from edgeroot.client.errors import AlreadyExistsError
from edgeroot.client.keys import EcServiceKey


def signing_key(client: Client, key_name: str) -> EcServiceKey:
    """A P-256 key; nobody can take it out of the service."""
    try:
        client.generate_key(key_name, templates.ecdsa_p256())
    except AlreadyExistsError:
        pass
    key = client.private_key(key_name)
    if not isinstance(key, EcServiceKey):
        raise TypeError(f"{key_name} is not a key on an elliptic curve")
    return key
