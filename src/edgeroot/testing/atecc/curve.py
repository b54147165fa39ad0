"""P-256 as the part computes it: keys of 32 bytes, points of 64 (X, Y), signatures of 64 (R, S), all big-endian."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from edgeroot.testing.atecc.packets import Status, StatusError

_DIGEST: Final = ec.ECDSA(Prehashed(hashes.SHA256()))
_WIDTH: Final = 32


def new_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(_WIDTH, "big")


def is_key(key: bytes) -> bool:
    try:
        _private(key)
    except StatusError:
        return False
    return True


def public_of(key: bytes) -> bytes:
    numbers = _private(key).public_key().public_numbers()
    return numbers.x.to_bytes(_WIDTH, "big") + numbers.y.to_bytes(_WIDTH, "big")


def sign(key: bytes, digest: bytes) -> bytes:
    r, s = decode_dss_signature(_private(key).sign(digest, _DIGEST))
    return r.to_bytes(_WIDTH, "big") + s.to_bytes(_WIDTH, "big")


def verifies(point: bytes, digest: bytes, signature: bytes) -> bool:
    r, s = int.from_bytes(signature[:_WIDTH], "big"), int.from_bytes(signature[_WIDTH:], "big")
    try:
        _public(point).verify(encode_dss_signature(r, s), digest, _DIGEST)
    except InvalidSignature:
        return False
    return True


def agree(key: bytes, point: bytes) -> bytes:
    return _private(key).exchange(ec.ECDH(), _public(point))


def _private(key: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        return ec.derive_private_key(int.from_bytes(key, "big"), ec.SECP256R1())
    except ValueError:
        raise StatusError(Status.ECC_FAULT) from None


def _public(point: bytes) -> ec.EllipticCurvePublicKey:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + point)
    except ValueError:
        raise StatusError(Status.ECC_FAULT) from None
