from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from edgeroot.psa import Secret
from edgeroot.sealing.errors import SealingError
from edgeroot.sealing.key_file import key_file
from edgeroot.sealing.wrapping_key import SoftwareWrappingKey, WrappingKey

PLAINTEXT = Secret(b"key material")


@pytest.fixture
def key(tmp_path: Path) -> WrappingKey:
    return key_file(tmp_path / "store.key")


def test_seal_and_unseal(key: WrappingKey) -> None:
    for plaintext in (PLAINTEXT, Secret(), Secret(bytes(5000))):
        blob = key.seal(plaintext, b"context")
        assert blob != key.seal(plaintext, b"context")
        assert len(blob) == len(plaintext) + 29
        opened = key.unseal(blob, b"context")
        assert opened == plaintext
        assert isinstance(opened, Secret)


def test_every_changed_byte_is_noticed(key: WrappingKey) -> None:
    blob = key.seal(PLAINTEXT, b"context")
    for position in range(len(blob)):
        changed = bytearray(blob)
        changed[position] ^= 1
        with pytest.raises(SealingError):
            key.unseal(bytes(changed), b"context")
    for length in range(len(blob)):
        with pytest.raises(SealingError):
            key.unseal(blob[:length], b"context")


def test_context_and_key_belong_to_a_blob(key: WrappingKey, tmp_path: Path) -> None:
    blob = key.seal(PLAINTEXT, b"context")
    for context in (b"", b"Context", b"context\0"):
        with pytest.raises(SealingError):
            key.unseal(blob, context)
    with pytest.raises(SealingError):
        key_file(tmp_path / "other.key").unseal(blob, b"context")


def test_fingerprint_names_the_key_and_tells_nothing(key: WrappingKey, tmp_path: Path) -> None:
    again, other = key_file(tmp_path / "store.key"), key_file(tmp_path / "other.key")
    assert again.fingerprint == key.fingerprint != other.fingerprint
    assert len(key.fingerprint) == 16
    secret = (tmp_path / "store.key").read_bytes()[-32:]
    assert key.fingerprint not in secret
    assert secret.hex() not in repr(key)


def test_secret_of_wrong_length() -> None:
    with pytest.raises(SealingError):
        SoftwareWrappingKey(Secret(bytes(31)))


def test_file_is_private_and_made_once(tmp_path: Path) -> None:
    path = tmp_path / "store.key"
    key_file(path)
    content = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(content) == len(b"edgeroot wrapping key v1\n") + 32
    key_file(path)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["store.key"]


def test_a_loose_umask_does_not_open_the_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        key_file(tmp_path / "store.key")
    finally:
        os.umask(before)
    assert (tmp_path / "store.key").stat().st_mode & 0o777 == 0o600


def test_all_who_make_it_at_once_get_one_key(tmp_path: Path) -> None:
    found: list[bytes] = []
    start = threading.Barrier(8)

    def make() -> None:
        start.wait()
        found.append(key_file(tmp_path / "store.key").fingerprint)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["store.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_readable_by_others(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "store.key"
    key_file(path)
    path.chmod(mode)
    with pytest.raises(SealingError, match=f"chmod 600 {path}"):
        key_file(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_of_another_user(tmp_path: Path) -> None:
    path = tmp_path / "store.key"
    key_file(path)
    os.chown(path, 12345, -1)
    with pytest.raises(SealingError, match="belongs to user 12345"):
        key_file(path)


@pytest.mark.parametrize("content", [b"", b"edgeroot wrapping key v1\n", b"edgeroot wrapping key v2\n" + bytes(32)])
def test_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "store.key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(SealingError, match="restore it from a backup"):
        key_file(path)
    assert path.read_bytes() == content


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(SealingError, match="is missing"):
        key_file(tmp_path / "store.key", create=False)
    assert list(tmp_path.iterdir()) == []


def test_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "directory.key").mkdir(mode=0o700)
    key_file(tmp_path / "real.key")
    (tmp_path / "link.key").symlink_to(tmp_path / "real.key")
    os.mkfifo(tmp_path / "fifo.key", 0o600)
    for name in ("directory.key", "link.key", "fifo.key", "absent/store.key"):
        with pytest.raises(SealingError, match=name):
            key_file(tmp_path / name)
