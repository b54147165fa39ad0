"""The key that this device's images are encrypted to, in a file of the manager's own (PKCS#8 in PEM)."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from edgeroot.abi.mcuboot import ImageError
from edgeroot.secure.boot.encryption import ImageKey, tlv_kind


def read_image_key(path: Path) -> ImageKey | None:
    """None if there is no file. ImageError if it holds no such key."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ImageError(f"{path} holds no private key in PEM without a pass phrase") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey):
        raise ImageError(f"{path} holds no key on P-256 or X25519")
    tlv_kind(key.public_key())
    return key
