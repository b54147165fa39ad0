"""Images whose body only their device can read, as MCUboot has them: ECIES over P-256 or X25519, and AES in CTR mode.

The body is encrypted with a key of its own, from a counter of zero. That key comes in a TLV: an ephemeral public key
(65 bytes, uncompressed point; 32 for X25519), HMAC-SHA256 of what follows, the encrypted key (16 or 32 bytes). Its
encryption key (AES-CTR, from zero) and its MAC key (32 bytes) are HKDF-SHA256 of the shared secret, without a salt, for
``MCUBoot_ECIES_v1``. Hash and signature are of the image as it was before.
"""

from __future__ import annotations

import hmac
import os
from hashlib import sha256
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeroot.abi.mcuboot import ENCRYPTED_AES128, Image, ImageError, TlvKind, UntrustedImageError

ImageKey: TypeAlias = ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey
ImagePublicKey: TypeAlias = ec.EllipticCurvePublicKey | x25519.X25519PublicKey
TLVS: Final = frozenset({TlvKind.ENCRYPTION_EC256, TlvKind.ENCRYPTION_X25519})
_PURPOSE: Final = b"MCUBoot_ECIES_v1"
_MAC_BYTES: Final = 32
_AES128_BYTES: Final = 16


def decrypt_body(image: Image, key: ImageKey | None) -> bytes:
    """What the body was before. ImageError if the device cannot read it."""
    if key is None:
        raise ImageError("it is encrypted, and the device has no key to read it (device provision --image-key)")
    kind = tlv_kind(key.public_key())
    found = [value for one, value in image.unprotected if one is kind]
    if not found:
        raise ImageError("it is encrypted for another kind of key than the device has")
    body_key = _open(found[0], key, image.encryption_key_bytes)
    return _ctr(body_key, bytes(image.body))


def encrypt_body(body: bytes, key: ImagePublicKey) -> tuple[int, tuple[TlvKind, bytes], bytes]:
    """The header's flag, the TLV with the body's key (AES-128), and the encrypted body. ImageError as tlv_kind."""
    kind = tlv_kind(key)
    body_key = os.urandom(_AES128_BYTES)
    if isinstance(key, ec.EllipticCurvePublicKey):
        ephemeral = ec.generate_private_key(ec.SECP256R1())
        point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        secret = ephemeral.exchange(ec.ECDH(), key)
    else:
        ephemeral_x = x25519.X25519PrivateKey.generate()
        point = ephemeral_x.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        secret = ephemeral_x.exchange(key)
    wrap_key, mac_key = _derive(secret, len(body_key))
    wrapped = _ctr(wrap_key, body_key)
    value = point + hmac.digest(mac_key, wrapped, sha256) + wrapped
    return ENCRYPTED_AES128, (kind, value), _ctr(body_key, body)


def tlv_kind(key: object) -> TlvKind:
    """Which TLV holds the body's key for this one; ImageError for keys that images are not encrypted to."""
    if isinstance(key, x25519.X25519PublicKey):
        return TlvKind.ENCRYPTION_X25519
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return TlvKind.ENCRYPTION_EC256
    raise ImageError("images are encrypted to a key on P-256 or X25519, and not to this one")


def _open(value: bytes, key: ImageKey, key_bytes: int) -> bytes:
    point_bytes = len(value) - _MAC_BYTES - key_bytes
    point, mac, wrapped = value[:point_bytes], value[point_bytes:-key_bytes], value[-key_bytes:]
    try:
        if isinstance(key, ec.EllipticCurvePrivateKey):
            secret = key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(key.curve, point))
        else:
            secret = key.exchange(x25519.X25519PublicKey.from_public_bytes(point))
    except ValueError as error:
        raise ImageError("the key that its body is encrypted with has not the form of one") from error
    wrap_key, mac_key = _derive(secret, key_bytes)
    if not hmac.compare_digest(hmac.digest(mac_key, wrapped, sha256), mac):
        raise UntrustedImageError("it is encrypted for another device, or the key for its body was changed")
    return _ctr(wrap_key, wrapped)


def _derive(secret: bytes, key_bytes: int) -> tuple[bytes, bytes]:
    derived = HKDF(SHA256(), key_bytes + _MAC_BYTES, None, _PURPOSE).derive(secret)
    return derived[:key_bytes], derived[key_bytes:]


def _ctr(key: bytes, data: bytes) -> bytes:
    # From zero, as MCUboot does: no key is ever used for two texts.
    cipher = Cipher(AES(key), CTR(bytes(16))).encryptor()
    return cipher.update(data) + cipher.finalize()
