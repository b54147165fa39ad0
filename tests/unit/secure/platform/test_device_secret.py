"""The device secret in a file: made once, kept from others, and never replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, hmac

from edgeroot.secure.platform.device_secret import DeviceSecretError, FileDeviceSecret

HEADER = b"edgeroot device secret v1\n"


class Sevens:
    """Entropy that everybody can foretell."""

    def random_bytes(self, size_bytes: int) -> bytes:
        return b"\7" * size_bytes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "device-secret"


def hkdf_one_block(secret: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, no salt and 32 bytes, from its two HMACs."""

    def mac(key: bytes, data: bytes) -> bytes:
        context = hmac.HMAC(key, hashes.SHA256())
        context.update(data)
        return context.finalize()

    return mac(mac(bytes(32), secret), info + b"\1")


def test_it_is_made_once(path: Path) -> None:
    first = FileDeviceSecret.open(path)
    assert path.stat().st_mode & 0o7777 == 0o600
    content = path.read_bytes()
    assert (len(content), content[: len(HEADER)]) == (len(HEADER) + 32, HEADER)
    assert FileDeviceSecret.open(path).derive(b"a") == first.derive(b"a")
    assert path.read_bytes() == content


def test_two_devices_have_different_ones(tmp_path: Path) -> None:
    one, other = (FileDeviceSecret.open(tmp_path / name) for name in ("one", "other"))
    assert one.derive(b"a") != other.derive(b"a")


def test_what_is_derived_depends_on_the_label_and_is_hkdf(path: Path) -> None:
    secret = FileDeviceSecret.open(path, entropy=Sevens())
    assert secret.derive(b"a") == hkdf_one_block(b"\7" * 32, b"edgeroot secure world v1: a")
    assert secret.derive(b"a") != secret.derive(b"b")
    assert len(secret.derive(b"")) == 32


def test_it_is_not_printed(path: Path) -> None:
    secret = FileDeviceSecret.open(path, entropy=Sevens())
    for shown in (repr(secret), repr(secret.derive(b"a")), str(secret.derive(b"a"))):
        assert "\\x07" not in shown
        assert secret.derive(b"a").hex() not in shown


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_one_that_others_can_reach_is_refused(path: Path, mode: int) -> None:
    FileDeviceSecret.open(path)
    path.chmod(mode)
    with pytest.raises(DeviceSecretError, match=f"mode {mode:04o}, which lets other users in"):
        FileDeviceSecret.open(path)


def test_another_users_is_refused(path: Path, as_root: None) -> None:
    FileDeviceSecret.open(path)
    os.chown(path, 60300, 60300)
    with pytest.raises(DeviceSecretError, match="belongs to user 60300"):
        FileDeviceSecret.open(path)


@pytest.mark.parametrize(
    "content",
    [b"", HEADER, HEADER + bytes(31), HEADER + bytes(33), bytes(len(HEADER) + 32), HEADER.upper() + bytes(32)],
)
def test_a_damaged_one_is_refused_and_not_replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(DeviceSecretError, match="damaged"):
        FileDeviceSecret.open(path)
    assert path.read_bytes() == content


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    FileDeviceSecret.open(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeviceSecretError):
        FileDeviceSecret.open(path)
