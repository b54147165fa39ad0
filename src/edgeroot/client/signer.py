"""A signer for securesystemslib, which TUF and in-toto sign with, whose key stays in the service.

It is found by its URI once it is registered: ``SIGNER_FOR_URI_SCHEME[ServiceSigner.SCHEME] = ServiceSigner``, then
``Signer.from_priv_key_uri("edgeroot:release", public_key)``.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from securesystemslib.signer import CryptoSigner, Key, SecretsHandler, Signature, Signer, SSlibKey

from edgeroot.client.blocking import Client


class ServiceSigner(Signer):
    """The private key's URI is ``edgeroot:NAME``, the name percent-encoded, in the service that a client finds."""

    SCHEME = "edgeroot"

    def __init__(self, client: Client, key_name: str, public_key: SSlibKey | None = None) -> None:
        """``public_key`` says the scheme; without it ECDSA or, for an RSA key, RSASSA-PKCS1-v1_5 with SHA-256.

        (securesystemslib's RSASSA-PSS has a longer salt than PSA's.) ValueError if the key is another, or cannot sign.
        """
        key = client.private_key(key_name)
        match key:
            case ec.EllipticCurvePrivateKey():
                self._signer = CryptoSigner(key, public_key)
            case rsa.RSAPrivateKey():
                usual = SSlibKey.from_crypto(key.public_key(), scheme="rsa-pkcs1v15-sha256")
                self._signer = CryptoSigner(key, public_key or usual)
            case _:
                raise ValueError(f'"{key_name}" does not sign: it takes an RSA key, or one on a NIST curve')

    @classmethod
    def import_(cls, client: Client, key_name: str) -> tuple[str, SSlibKey]:
        """The private key's URI, and the public key, for metadata and for :meth:`from_priv_key_uri`."""
        return f"{cls.SCHEME}:{quote(key_name, safe='')}", cls(client, key_name).public_key

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> ServiceSigner:
        """By securesystemslib. There is no secret to be asked for."""
        del secrets_handler
        scheme, _, name = priv_key_uri.partition(":")
        if scheme != cls.SCHEME or not name or not isinstance(public_key, SSlibKey):
            raise ValueError(f"{priv_key_uri} with {type(public_key).__name__} is no key of a service")
        return cls(Client(), unquote(name), public_key)

    @property
    def public_key(self) -> SSlibKey:
        return self._signer.public_key

    def sign(self, payload: bytes) -> Signature:
        return self._signer.sign(payload)
