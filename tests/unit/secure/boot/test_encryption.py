"""Encrypted images: imgtool's are read, ours have the same form, and nothing of a changed one is taken."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from edgeroot.abi.mcuboot import ImageError, TlvKind, UntrustedImageError, Version, decode_image
from edgeroot.secure.boot.encryption import ImageKey, ImagePublicKey, encrypt_body
from edgeroot.secure.boot.root_keys import RootKeys
from edgeroot.secure.boot.signing import sign_image
from edgeroot.secure.boot.verify import encode_root_key, verify_image, verify_unread

BODY: Final = bytes(range(251)) * 3
ROOT: Final = ed25519.Ed25519PrivateKey.generate()
ROOT_KEYS: Final = RootKeys.of(sha256(encode_root_key(ROOT.public_key())).digest())
KEYS: Final[dict[str, ImageKey]] = {
    "p-256": ec.generate_private_key(ec.SECP256R1()),
    "x25519": x25519.X25519PrivateKey.generate(),
}
_every_key = pytest.mark.parametrize("name", KEYS)


def ours(name: str) -> bytes:
    return sign_image(BODY, ROOT, version=Version(1), security_counter=7, encrypt_to=KEYS[name].public_key())


def read(data: bytes, key: ImageKey | None) -> bytes:
    verified = verify_image(data, root_keys=ROOT_KEYS, least_security_counter=7, image_key=key)
    return bytes(verified.image.body)


def unread(data: bytes) -> None:
    verify_unread(data, root_keys=ROOT_KEYS, least_security_counter=7)


@_every_key
@pytest.mark.parametrize("bits", ["128", "256"])
def test_what_imgtool_encrypts_is_read(name: str, bits: str, tmp_path: Path) -> None:
    root = ROOT.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = KEYS[name].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for file, content in (("root.pem", root), ("device.pem", public), ("body.bin", BODY)):
        (tmp_path / file).write_bytes(content)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "imgtool.main", "sign", "--key", "root.pem", "--public-key-format", "full"),
            *("--encrypt", "device.pem", "--encrypt-keylen", bits, "--version", "1.2.3", "--security-counter", "7"),
            *("--header-size", "32", "--pad-header", "--align", "1", "--slot-size", "0x10000", "body.bin", "made.bin"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    data = (tmp_path / "made.bin").read_bytes()

    assert BODY[:16] not in data
    body = read(data, KEYS[name])
    assert body == BODY.ljust(-(-len(BODY) // 16) * 16, b"\0")  # to whole blocks
    unread(data)
    # Ours has the same records, of the same sizes.
    theirs, image = decode_image(data), decode_image(ours(name))
    if bits == "128":
        assert {kind: len(value) for kind, value in image.unprotected} == {
            kind: len(value) for kind, value in theirs.unprotected
        }
    assert theirs.encryption_key_bytes == int(bits) // 8


@_every_key
def test_what_we_encrypt_is_read_by_its_device_alone(name: str) -> None:
    data = ours(name)

    assert BODY[:16] not in data
    assert read(data, KEYS[name]) == BODY
    unread(data)
    other: ImageKey = ec.generate_private_key(ec.SECP256R1()) if name == "p-256" else x25519.X25519PrivateKey.generate()
    with pytest.raises(UntrustedImageError, match="encrypted for another device"):
        read(data, other)
    with pytest.raises(ImageError, match="another kind of key"):
        read(data, KEYS["x25519" if name == "p-256" else "p-256"])
    with pytest.raises(ImageError, match="the device has no key to read it"):
        read(data, None)
    assert ours(name) != data  # a key and a point of its own each time


@_every_key
def test_every_flipped_bit_is_refused(name: str) -> None:
    data = ours(name)
    for at in range(0, 8 * len(data), 5):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(ImageError):
            read(bytes(changed), KEYS[name])


def test_who_cannot_read_it_still_knows_its_signer_and_its_age() -> None:
    data = ours("p-256")
    with pytest.raises(UntrustedImageError, match="not this device's root key"):
        verify_unread(data, root_keys=RootKeys.of(bytes(32)), least_security_counter=7)
    with pytest.raises(ImageError, match="security counter 7 is below the device's, 8"):
        verify_unread(data, root_keys=ROOT_KEYS, least_security_counter=8)
    signature = dict(decode_image(data).unprotected)[TlvKind.ED25519]
    with pytest.raises(UntrustedImageError, match="signature is not one of its key"):
        unread(data.replace(signature, bytes(64)))


def test_a_plain_image_with_a_key_and_an_encrypted_one_without_are_refused() -> None:
    encrypted, plain = ours("p-256"), sign_image(BODY, ROOT, version=Version(1), security_counter=7)
    for data, flags in ((encrypted, 0), (plain, 4)):
        changed = bytearray(data)
        changed[16] = flags
        with pytest.raises(ImageError, match="if encrypted, one key"):
            read(bytes(changed), KEYS["p-256"])


def test_keys_that_images_are_not_encrypted_to_are_refused() -> None:
    wrong: ImagePublicKey = ec.generate_private_key(ec.SECP384R1()).public_key()
    with pytest.raises(ImageError, match="P-256 or X25519"):
        sign_image(BODY, ROOT, version=Version(1), security_counter=7, encrypt_to=wrong)
    assert encrypt_body(b"", KEYS["x25519"].public_key())[2] == b""
