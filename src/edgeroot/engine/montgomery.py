"""Keys on Curve25519 and Curve448 for X25519 and X448 (PSA Crypto API 1.2, clause 9.3.5; RFC 7748).

Formats are little-endian: 32 or 56 bytes for the public u-coordinate, the shared secret, and the private scalar, which
is kept and exported with its fixed bits set (decodeScalar25519 and decodeScalar448 of RFC 7748, clause 5).
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey, X448PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from edgeroot.engine.errors import invalid_argument
from edgeroot.engine.key import EngineKey, Row
from edgeroot.psa import Algorithm, EccFamily, KeyAttributes, KeyType, Secret

_PAIR: Final = KeyType.ecc_key_pair(EccFamily.MONTGOMERY)
_PUBLIC: Final = KeyType.ecc_public_key(EccFamily.MONTGOMERY)
KEY_TYPES: Final = frozenset((_PAIR, _PUBLIC))
_KEY_BYTES: Final = {255: 32, 448: 56}
_ECDH: Final = frozenset((Algorithm.ECDH,))


def _clamp(scalar: bytes) -> Secret:
    clamped = bytearray(scalar)
    if len(clamped) == _KEY_BYTES[255]:
        clamped[0] &= 0xF8
        clamped[-1] = clamped[-1] & 0x7F | 0x40
    else:
        clamped[0] &= 0xFC
        clamped[-1] |= 0x80
    return Secret(clamped)


def generate(attributes: KeyAttributes) -> Secret:
    """A new private scalar."""
    match attributes.key_bits:
        case 255:
            return _clamp(X25519PrivateKey.generate().private_bytes_raw())
        case 448:
            return _clamp(X448PrivateKey.generate().private_bytes_raw())
        case _:
            raise invalid_argument(f"there is no Montgomery curve of {attributes.key_bits} bits")


def import_material(attributes: KeyAttributes, data: bytes) -> tuple[int, Secret]:
    """The key's size and the material; any scalar is accepted and its fixed bits are set."""
    for key_bits, key_bytes in _KEY_BYTES.items():
        if len(data) == key_bytes:
            return key_bits, Secret(data) if attributes.key_type == _PUBLIC else _clamp(data)
    raise invalid_argument(f"no Montgomery curve has keys of {len(data)} bytes")


def load(attributes: KeyAttributes, material: Secret) -> EngineKey:
    """The key in this material."""
    if len(material) != _KEY_BYTES.get(attributes.key_bits):
        raise invalid_argument(f"a key of {attributes.key_bits} bits does not have {len(material)} bytes")
    if attributes.key_type == _PUBLIC:
        return MontgomeryKey(attributes, None, bytes(material))
    private = (X25519PrivateKey if attributes.key_bits == 255 else X448PrivateKey).from_private_bytes(material)
    return MontgomeryKey(attributes, private, private.public_key().public_bytes_raw())


class MontgomeryKey(EngineKey):
    """A key pair, or a public key alone."""

    __slots__ = ("_private", "_public")

    def __init__(
        self, attributes: KeyAttributes, private: X25519PrivateKey | X448PrivateKey | None, public: bytes
    ) -> None:
        super().__init__(attributes)
        self._private = private
        self._public = public

    def export_public(self) -> bytes:
        return self._public

    def raw_key_agreement(self, alg: Algorithm, peer_key: bytes) -> Secret:
        """The shared secret; INVALID_ARGUMENT if it would be all zeros (RFC 7748, clause 6)."""
        if alg != Algorithm.ECDH:
            raise self._mismatch(f"agree with {alg!r}")
        try:
            match self._private:
                case X25519PrivateKey():
                    return Secret(self._private.exchange(X25519PublicKey.from_public_bytes(peer_key)))
                case X448PrivateKey():
                    return Secret(self._private.exchange(X448PublicKey.from_public_bytes(peer_key)))
                case _:
                    raise self._mismatch("agree")
        except ValueError as error:
            raise invalid_argument("the peer's key is unusable") from error


def rows() -> tuple[Row, ...]:
    """What this module can do."""
    key_bits = tuple(_KEY_BYTES)
    return (
        Row(("generate_key", "import_key", "destroy_key", "export_key", "export_public_key"), _PAIR, key_bits),
        Row(("import_key", "destroy_key", "export_key", "export_public_key"), _PUBLIC, key_bits),
        Row(("raw_key_agreement",), _PAIR, key_bits, _ECDH),
    )
