"""Images, made and checked by MCUboot's own imgtool and by us, each the other's judge."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from struct import pack
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgeroot.abi.mcuboot import (
    Dependency,
    ImageError,
    RevokedKeyError,
    UntrustedImageError,
    Version,
    decode_image,
)
from edgeroot.secure.boot.root_keys import RootKeys
from edgeroot.secure.boot.signing import SigningKey, sign_image
from edgeroot.secure.boot.verify import VerifiedImage, check_dependencies, encode_root_key, verify_image

BODY: Final = bytes(range(64))
KEYS: Final[dict[str, SigningKey]] = {
    "rsa-2048": rsa.generate_private_key(65537, 2048),
    "rsa-3072": rsa.generate_private_key(65537, 3072),
    "ecdsa-p256": ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}
_every_key = pytest.mark.parametrize("name", KEYS)


def ours(name: str, body: bytes = BODY, *, counter: int = 7, dependencies: tuple[Dependency, ...] = ()) -> bytes:
    return sign_image(
        body, KEYS[name], version=Version(1, 2, 3, 4), security_counter=counter, dependencies=dependencies
    )


def root_key_hash(name: str) -> bytes:
    return sha256(encode_root_key(KEYS[name].public_key())).digest()


def verify(data: bytes, name: str, *, least: int = 7) -> VerifiedImage:
    return verify_image(data, root_keys=RootKeys.of(root_key_hash(name)), least_security_counter=least)


@dataclass(frozen=True, slots=True)
class Imgtool:
    folder: Path

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "imgtool.main", *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def key(self, name: str) -> str:
        path = self.folder / f"{name}.pem"
        path.write_bytes(KEYS[name].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return str(path)

    def sign(self, name: str, *options: str, key_format: str = "full") -> bytes:
        (self.folder / "body.bin").write_bytes(BODY)
        made = self.folder / "made.bin"
        said = self.run(
            *("sign", "--key", self.key(name), "--public-key-format", key_format, "--version", "1.2.3+4"),
            *("--header-size", "32", "--pad-header", "--align", "1", "--slot-size", "0x10000", *options),
            *(str(self.folder / "body.bin"), str(made)),
        )
        assert made.exists(), said
        return made.read_bytes()

    def verify(self, name: str, data: bytes) -> str:
        (self.folder / "image.bin").write_bytes(data)
        return self.run("verify", "--key", self.key(name), str(self.folder / "image.bin"))


@pytest.fixture
def imgtool(tmp_path: Path) -> Imgtool:
    return Imgtool(tmp_path)


@_every_key
def test_what_imgtool_signs_is_verified(imgtool: Imgtool, name: str) -> None:
    data = imgtool.sign(name, "--security-counter", "7", "--dependencies", "(2, 1.0.5+6)")

    verified = verify(data, name)

    assert bytes(verified.image.body) == BODY
    assert verified.image.version == Version(1, 2, 3, 4)
    assert verified.image.security_counter == 7
    assert verified.image.dependencies == (Dependency(2, Version(1, 0, 5, 6)),)
    assert verified.signer_id == root_key_hash(name)


@_every_key
def test_imgtool_verifies_what_we_sign(imgtool: Imgtool, name: str) -> None:
    data = ours(name, dependencies=(Dependency(2, Version(1)),))

    assert "Image was correctly validated" in imgtool.verify(name, data)
    changed = bytearray(data)
    changed[40] ^= 1
    assert "Image was correctly validated" not in imgtool.verify(name, bytes(changed))


def test_each_of_the_root_keys_signs_until_it_is_revoked_and_is_named_as_the_signer() -> None:
    keys = RootKeys.of(*map(root_key_hash, KEYS))
    for number, name in enumerate(KEYS):
        others_revoked = keys
        for other in set(range(len(KEYS))) - {number}:
            others_revoked = others_revoked.without(other)
        for some in (keys, others_revoked):
            assert verify_image(ours(name), root_keys=some, least_security_counter=7).signer_id == root_key_hash(name)
        with pytest.raises(RevokedKeyError, match=f"signed by a revoked key, root key {number} of this device"):
            verify_image(ours(name), root_keys=keys.without(number), least_security_counter=7)
    with pytest.raises(UntrustedImageError, match="not this device's root key") as caught:
        verify_image(ours("ed25519"), root_keys=RootKeys.of(bytes(32)), least_security_counter=7)
    assert not isinstance(caught.value, RevokedKeyError)


def test_we_make_the_same_bytes_as_imgtool(imgtool: Imgtool) -> None:
    theirs = imgtool.sign("ed25519", "--security-counter", "7", "--dependencies", "(2, 1.0.5+6)")

    assert ours("ed25519", dependencies=(Dependency(2, Version(1, 0, 5, 6)),)) == theirs


@pytest.mark.parametrize("name", ["ecdsa-p256", "ed25519", "rsa-2048"])
def test_every_flipped_bit_is_refused(name: str) -> None:
    """Of header, body, and every TLV: counter, dependency, hash, key, signature."""
    data = ours(name, dependencies=(Dependency(2, Version(1, 0, 5, 6)),))
    verify(data, name)

    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ImageError):
            verify(bytes(changed), name)


@_every_key
def test_every_cut_and_a_byte_too_many_are_refused(name: str) -> None:
    data = ours(name)

    for size_bytes in range(len(data)):
        with pytest.raises(ImageError):
            verify(data[:size_bytes], name)
    with pytest.raises(ImageError):
        verify(data + b"\0", name)


def test_another_key_is_refused() -> None:
    other = ed25519.Ed25519PrivateKey.generate()
    data = sign_image(BODY, other, version=Version(1), security_counter=7)

    with pytest.raises(ImageError, match="not this device's root key"):
        verify(data, "ed25519")


def test_a_signature_of_another_key_is_refused() -> None:
    other = sign_image(BODY, ed25519.Ed25519PrivateKey.generate(), version=Version(1, 2, 3, 4), security_counter=7)
    data = ours("ed25519")

    with pytest.raises(ImageError, match="signature is not one of its key"):
        verify(data[:-64] + other[-64:], "ed25519")


def test_an_unsigned_image_is_refused(imgtool: Imgtool) -> None:
    (imgtool.folder / "body.bin").write_bytes(BODY)
    made = imgtool.folder / "made.bin"
    imgtool.run(
        *("sign", "--version", "1.2.3", "--header-size", "32", "--pad-header", "--security-counter", "7"),
        *("--slot-size", "0x10000", str(imgtool.folder / "body.bin"), str(made)),
    )

    with pytest.raises(ImageError, match="one signature"):
        verify(made.read_bytes(), "ed25519")


def test_an_image_without_its_key_says_how_to_sign(imgtool: Imgtool) -> None:
    data = imgtool.sign("ed25519", "--security-counter", "7", key_format="hash")

    with pytest.raises(ImageError, match="--public-key-format full"):
        verify(data, "ed25519")


def test_an_image_without_a_security_counter_is_refused(imgtool: Imgtool) -> None:
    with pytest.raises(ImageError, match="--security-counter"):
        verify(imgtool.sign("ed25519"), "ed25519")


def test_an_image_below_the_security_counter_is_refused_and_one_at_it_runs() -> None:
    verify(ours("ed25519", counter=7), "ed25519", least=7)
    with pytest.raises(ImageError, match="security counter 6 is below the device's, 7"):
        verify(ours("ed25519", counter=6), "ed25519", least=7)


@pytest.mark.parametrize(
    ("offset", "value", "complaint"),
    [
        (0, pack("<I", 0x96F3B83C), "magic number"),
        (16, pack("<I", 2), "no image of this kind"),
        (8, pack("<H", 31), "header claims"),
        (12, pack("<I", 1 << 30), "cut off"),
        (32 + 64, pack("<H", 0x6907), "TLVs of magic 0x6908"),
        (32 + 64 + 4, pack("<H", 0x70), "kind 0x0070 has no place"),
    ],
)
def test_each_defect_has_its_sentence(offset: int, value: bytes, complaint: str) -> None:
    data = bytearray(ours("ed25519"))
    data[offset : offset + len(value)] = value

    with pytest.raises(ImageError, match=complaint):
        decode_image(bytes(data))


def test_dependencies_are_met_by_that_version_and_later_ones() -> None:
    needs = decode_image(ours("ed25519", dependencies=(Dependency(2, Version(1, 2, 3, 4)),))).described()
    other = decode_image(ours("ed25519")).described()
    older = decode_image(sign_image(b"", KEYS["ed25519"], version=Version(1, 2, 3, 3), security_counter=1)).described()

    check_dependencies({1: ("first", needs), 2: ("second", other)})
    with pytest.raises(ImageError, match=r"first needs second 1\.2\.3\+4 or later, and it is 1\.2\.3\+3"):
        check_dependencies({1: ("first", needs), 2: ("second", older)})
    with pytest.raises(ImageError, match="index 2, and there is none"):
        check_dependencies({1: ("first", needs)})


def test_keys_that_images_are_not_signed_with_are_refused() -> None:
    for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 4096)):
        with pytest.raises(ImageError, match="not with this key"):
            sign_image(BODY, key, version=Version(1), security_counter=1)
