"""X25519 and X448 key pairs (RFC 7748), for key agreement only."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import x448, x25519

from edgeroot.client.keys.service_key import ServiceKey
from edgeroot.psa import Algorithm, UsageFlags


class _MontgomeryKey(ServiceKey):
    def _agree(self, peer: bytes) -> bytes:
        alg = self._require(UsageFlags.DERIVE, [Algorithm.ECDH])
        return bytes(self._client.raw_key_agreement(alg, self.key_name, peer))

    def private_bytes_raw(self) -> bytes:
        """NotExportableError unless the key may be exported."""
        return bytes(self._export())


class X25519ServiceKey(_MontgomeryKey, x25519.X25519PrivateKey):
    """An ``x25519.X25519PrivateKey`` in the service."""

    def public_key(self) -> x25519.X25519PublicKey:
        key = self._load_public_key()
        assert isinstance(key, x25519.X25519PublicKey)
        return key

    def exchange(self, peer_public_key: x25519.X25519PublicKey) -> bytes:
        return self._agree(peer_public_key.public_bytes_raw())

    def _exported(self) -> x25519.X25519PrivateKey:
        return x25519.X25519PrivateKey.from_private_bytes(self._export())


class X448ServiceKey(_MontgomeryKey, x448.X448PrivateKey):
    """An ``x448.X448PrivateKey`` in the service."""

    def public_key(self) -> x448.X448PublicKey:
        key = self._load_public_key()
        assert isinstance(key, x448.X448PublicKey)
        return key

    def exchange(self, peer_public_key: x448.X448PublicKey) -> bytes:
        return self._agree(peer_public_key.public_bytes_raw())

    def _exported(self) -> x448.X448PrivateKey:
        return x448.X448PrivateKey.from_private_bytes(self._export())
