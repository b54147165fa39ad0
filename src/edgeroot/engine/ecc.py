"""Keys on Weierstrass curves: ECDSA and ECDH (PSA Crypto API 1.2, clauses 9.3.5, 10.7.3 and 10.9.2).

Formats: a public key is the uncompressed point 04 || X || Y, a key pair the private scalar alone, a signature r || s,
a shared secret the x-coordinate; every number is big-endian and as wide as the curve (66 bytes for P-521).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeroot.engine.errors import invalid_argument, invalid_signature, not_supported
from edgeroot.engine.hashes import HASHES, hash_compute
from edgeroot.engine.key import EngineKey, Row
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaError, Secret

_CURVES: Final[dict[EccFamily, dict[int, ec.EllipticCurve]]] = {
    EccFamily.SECP_K1: {256: ec.SECP256K1()},
    EccFamily.SECP_R1: {
        192: ec.SECP192R1(),
        224: ec.SECP224R1(),
        256: ec.SECP256R1(),
        384: ec.SECP384R1(),
        521: ec.SECP521R1(),
    },
    EccFamily.BRAINPOOL_P_R1: {256: ec.BrainpoolP256R1(), 384: ec.BrainpoolP384R1(), 512: ec.BrainpoolP512R1()},
}
# Curves that PSA names and the library does not have: to ask for one is no mistake, only in vain.
_ABSENT: Final[dict[EccFamily, tuple[int, ...]]] = {
    EccFamily.SECP_K1: (192, 224, 225),
    EccFamily.BRAINPOOL_P_R1: (160, 192, 224, 320),
}
KEY_TYPES: Final = frozenset(
    key_type for family in _CURVES for key_type in (KeyType.ecc_key_pair(family), KeyType.ecc_public_key(family))
)


class _Scheme(NamedTuple):
    ecdsa: ec.ECDSA
    hash_alg: Hash


# The objects that name a scheme are made once: making them costs a tenth of a signature.
_SIGN: Final[dict[Algorithm, _Scheme]] = {
    Algorithm.ecdsa(alg): _Scheme(ec.ECDSA(Prehashed(algorithm)), alg) for alg, algorithm in HASHES.items()
} | {
    Algorithm.deterministic_ecdsa(alg): _Scheme(ec.ECDSA(Prehashed(algorithm), deterministic_signing=True), alg)
    for alg, algorithm in HASHES.items()
}
_HASH_LENGTH: Final = {alg: scheme.hash_alg.length_bytes for alg, scheme in _SIGN.items()}
_ECDH: Final = ec.ECDH()


# As an integer, which is what is signed (FIPS 186-5, clause 6.4.1), no bytes are this one. The library wants some.
_ZERO: Final = b"\0"


@lru_cache(maxsize=128)
def _any_hash(length_bytes: int) -> ec.ECDSA:
    # ECDSA itself knows nothing of the hash but its length; of the library's hashes SHAKE256 can have any.
    return ec.ECDSA(Prehashed(hashes.SHAKE256(length_bytes)))


def width_bytes(key_bits: int) -> int:
    """How wide a coordinate or scalar of a curve of this size is."""
    return (key_bits + 7) // 8


@lru_cache(maxsize=64)
def _curve(key_type: KeyType, key_bits: int) -> ec.EllipticCurve:
    family = key_type.ecc_family
    curve = _CURVES[family].get(key_bits)
    if curve is None:
        if key_bits in _ABSENT.get(family, ()):
            raise not_supported(f"curve {family.name} of {key_bits} bits")
        raise invalid_argument(f"there is no curve {family.name} of {key_bits} bits")
    return curve


def _infer_bits(attributes: KeyAttributes, data: bytes) -> int:
    width = (len(data) - 1) // 2 if attributes.key_type.is_public_key else len(data)
    for key_bits in _CURVES[attributes.key_type.ecc_family]:
        if width_bytes(key_bits) == width:
            return key_bits
    raise invalid_argument(f"no curve of the family has keys of {len(data)} bytes")


def generate(attributes: KeyAttributes) -> Secret:
    """A new key pair."""
    private = ec.generate_private_key(_curve(attributes.key_type, attributes.key_bits))
    return _pair_material(private, width_bytes(attributes.key_bits))


def import_material(attributes: KeyAttributes, data: bytes) -> tuple[int, Secret]:
    """The key's size, inferred if 0 was given, and the material."""
    key_bits = attributes.key_bits or _infer_bits(attributes, data)
    curve = _curve(attributes.key_type, key_bits)
    if attributes.key_type.is_public_key:
        _parse_public(curve, data)
        return key_bits, Secret(data)
    return key_bits, _pair_material(_parse_private(curve, data), width_bytes(key_bits))


def export(attributes: KeyAttributes, material: Secret) -> Secret:
    """The material in the format of psa_export_key."""
    return material if attributes.key_type.is_public_key else Secret(material[: width_bytes(attributes.key_bits)])


def load(attributes: KeyAttributes, material: Secret) -> EngineKey:
    """The key in this material."""
    curve = _curve(attributes.key_type, attributes.key_bits)
    if attributes.key_type.is_public_key:
        return EccKey(attributes, None, _parse_public(curve, material))
    return EccKey(attributes, _load_pair(curve, material, width_bytes(attributes.key_bits)), None)


# A pair's material is scalar || X || Y: to compute the point again takes as long as a signature.
def _pair_material(private: ec.EllipticCurvePrivateKey, width: int) -> Secret:
    numbers = private.private_numbers()
    parts = (numbers.private_value, numbers.public_numbers.x, numbers.public_numbers.y)
    return Secret(b"".join(part.to_bytes(width, "big") for part in parts))


def _load_pair(curve: ec.EllipticCurve, material: bytes, width: int) -> ec.EllipticCurvePrivateKey:
    if len(material) != 3 * width:
        raise invalid_argument(f"the material of a key pair of this curve has {3 * width} bytes, not {len(material)}")
    scalar, x, y = (int.from_bytes(material[at : at + width], "big") for at in range(0, 3 * width, width))
    try:
        return ec.EllipticCurvePrivateNumbers(scalar, ec.EllipticCurvePublicNumbers(x, y, curve)).private_key()
    except ValueError as error:
        raise invalid_argument("the material is no key pair of this curve") from error


def _parse_private(curve: ec.EllipticCurve, data: bytes) -> ec.EllipticCurvePrivateKey:
    if len(data) != width_bytes(curve.key_size):
        raise invalid_argument(f"a private key of this curve has {width_bytes(curve.key_size)} bytes, not {len(data)}")
    try:
        return ec.derive_private_key(int.from_bytes(data, "big"), curve)
    except ValueError as error:
        raise invalid_argument("the private key lies outside the curve's range") from error


def _parse_public(curve: ec.EllipticCurve, data: bytes) -> ec.EllipticCurvePublicKey:
    expected = 1 + 2 * width_bytes(curve.key_size)
    if len(data) != expected or data[0] != 4:
        raise invalid_argument(f"a public key of this curve is 04 || X || Y in {expected} bytes")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, bytes(data))
    except ValueError as error:
        raise invalid_argument("the point is not on the curve") from error


def _raw_signature(der: bytes, width: int) -> bytes:
    # Ecdsa-Sig-Value as the library has just written it: SEQUENCE, length (two bytes from 128 on), INTEGER r,
    # INTEGER s. Slicing costs a quarter of decode_dss_signature.
    start = 4 if der[1] < 0x80 else 5
    end = start + der[start - 1]
    r, s = der[start:end], der[end + 2 :]
    return r[-width:].rjust(width, b"\0") + s[-width:].rjust(width, b"\0")


class EccKey(EngineKey):
    """A key pair, whose public key is made when it is first asked for, or a public key alone."""

    __slots__ = ("_private", "_public", "_width")

    def __init__(
        self,
        attributes: KeyAttributes,
        private: ec.EllipticCurvePrivateKey | None,
        public: ec.EllipticCurvePublicKey | None,
    ) -> None:
        super().__init__(attributes)
        self._private = private
        self._public = public
        self._width = width_bytes(attributes.key_bits)

    def _public_key(self) -> ec.EllipticCurvePublicKey:
        if self._public is None:
            assert self._private is not None
            self._public = self._private.public_key()
        return self._public

    def export_public(self) -> bytes:
        return self._public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def sign_hash(self, alg: Algorithm, hash_value: bytes) -> bytes:
        private = self._private
        if private is None:
            raise self._mismatch("sign")
        ecdsa = self._ecdsa(alg, len(hash_value))
        return _raw_signature(private.sign(hash_value or _ZERO, ecdsa), self._width)

    def verify_hash(self, alg: Algorithm, hash_value: bytes, signature: bytes) -> None:
        ecdsa = self._ecdsa(alg, len(hash_value))
        width = self._width
        if len(signature) != 2 * width:
            raise invalid_signature()
        r, s = int.from_bytes(signature[:width], "big"), int.from_bytes(signature[width:], "big")
        try:
            self._public_key().verify(encode_dss_signature(r, s), hash_value or _ZERO, ecdsa)
        except InvalidSignature as error:
            raise invalid_signature() from error

    def sign_message(self, alg: Algorithm, message: bytes) -> bytes:
        return self.sign_hash(alg, hash_compute(self._message_hash(alg), message))

    def verify_message(self, alg: Algorithm, message: bytes, signature: bytes) -> None:
        self.verify_hash(alg, hash_compute(self._message_hash(alg), message), signature)

    def raw_key_agreement(self, alg: Algorithm, peer_key: bytes) -> Secret:
        if self._private is None or alg != Algorithm.ECDH:
            raise self._mismatch(f"agree with {alg!r}")
        peer = _parse_public(self._private.curve, peer_key)
        return Secret(self._private.exchange(_ECDH, peer))

    def _ecdsa(self, alg: Algorithm, hash_length_bytes: int) -> ec.ECDSA:
        scheme = _SIGN.get(alg)
        if scheme is not None:
            if hash_length_bytes != _HASH_LENGTH[alg]:
                raise invalid_argument(f"{alg!r} takes a hash of {_HASH_LENGTH[alg]} bytes, not {hash_length_bytes}")
            return scheme.ecdsa
        if alg == Algorithm.ECDSA_ANY:
            return _any_hash(hash_length_bytes or len(_ZERO))
        raise self._unusable(alg)

    def _message_hash(self, alg: Algorithm) -> Hash:
        scheme = _SIGN.get(alg)
        if scheme is None:
            raise self._unusable(alg)
        return scheme.hash_alg

    def _unusable(self, alg: Algorithm) -> PsaError:
        if alg.is_ecdsa and alg.hash not in (None, Hash.ANY):
            return not_supported(f"{alg!r}")
        return self._mismatch(f"sign or verify with {alg!r}")


def rows() -> tuple[Row, ...]:
    """What this module can do."""
    signatures = frozenset(_SIGN)
    any_hash = frozenset((Algorithm.ECDSA_ANY,))
    table: list[Row] = []
    for family, curves in _CURVES.items():
        pair, public, key_bits = KeyType.ecc_key_pair(family), KeyType.ecc_public_key(family), tuple(curves)
        table += (
            Row(("generate_key", "import_key", "destroy_key", "export_key", "export_public_key"), pair, key_bits),
            Row(("import_key", "destroy_key", "export_key", "export_public_key"), public, key_bits),
            Row(("sign_hash", "verify_hash", "sign_message", "verify_message"), pair, key_bits, signatures),
            Row(("verify_hash", "verify_message"), public, key_bits, signatures),
            Row(("sign_hash", "verify_hash"), pair, key_bits, any_hash),
            Row(("verify_hash",), public, key_bits, any_hash),
            Row(("raw_key_agreement",), pair, key_bits, frozenset((Algorithm.ECDH,))),
        )
    return tuple(table)
