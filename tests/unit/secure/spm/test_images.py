"""The partitions' first stage: what was verified is kept where it cannot change, and partitions start from there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from edgeroot.abi.mcuboot import Dependency, ImageError, Version, decode_image
from edgeroot.evidence import Lifecycle, read_measurements
from edgeroot.secure.boot.archive import Archive, compile_module
from edgeroot.secure.boot.fuses import WORDS, Fuses, FusesError
from edgeroot.secure.boot.signing import sign_image
from edgeroot.secure.boot.verify import encode_root_key
from edgeroot.secure.platform.one_time_memory import FileOneTimeMemory
from edgeroot.secure.spm import sandbox
from edgeroot.secure.spm.images import VerifiedPartitions, boot, image_index, read_fuses
from edgeroot.secure.spm.manifest import Manifest, built_in_manifests
from edgeroot.secure.spm.sandbox import SandboxSpec, spawn
from tests.support.requirements import unavailable

KEY = ed25519.Ed25519PrivateKey.generate()
ROOT_KEY_HASH = sha256(encode_root_key(KEY.public_key())).digest()
MANIFESTS = built_in_manifests()
NATIVE = b"\x7fELF the same in all images"


def an_image(manifest: Manifest, *, dependencies: tuple[Dependency, ...] = (), version: int = 1) -> bytes:
    code = {"m": compile_module(manifest.name.encode().replace(b"-", b"_") + b" = 1", "m")}
    native = {"shared": NATIVE, "own": manifest.name.encode()}
    archive = Archive(
        partition=manifest.name, code=code, packages=frozenset(), native=native, bootstrap=f"# {manifest.name}"
    )
    return sign_image(archive.encode(), KEY, version=Version(version), security_counter=3, dependencies=dependencies)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for manifest in MANIFESTS:
        (tmp_path / f"{manifest.name}.img").write_bytes(an_image(manifest))
    return tmp_path


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    path = tmp_path / "one-time-memory"
    Fuses(FileOneTimeMemory(path, words=WORDS, create=True)).provision(ROOT_KEY_HASH, security_counter=3)
    return path


@pytest.fixture
def verified(images: Path, memory: Path) -> Iterator[VerifiedPartitions]:
    found = boot(memory, images, MANIFESTS)
    assert found is not None
    yield found
    for descriptor in {one for image in found.images.values() for one in (image.code, *image.native.values())}:
        os.close(descriptor)


def test_what_is_verified_is_measured_in_the_order_of_starting(verified: VerifiedPartitions, images: Path) -> None:
    measured = {one.name: one.digest for one in read_measurements(verified.event_log)}

    assert list(measured) == [manifest.name for manifest in MANIFESTS]
    for name, digest in measured.items():
        data = (images / f"{name}.img").read_bytes()
        assert digest == sha256(data[: decode_image(data).hashed_bytes]).digest()
    assert (verified.lifecycle, verified.signer_id) == (Lifecycle.PSA_ROT_PROVISIONING, ROOT_KEY_HASH)


def test_nobody_can_change_what_was_verified(verified: VerifiedPartitions) -> None:
    for image in verified.images.values():
        for descriptor in (image.code, *image.native.values()):
            writing = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
            try:
                with pytest.raises(PermissionError):
                    os.pwrite(writing, b"X", 0)
                with pytest.raises(PermissionError):
                    os.ftruncate(writing, 0)
            finally:
                os.close(writing)


def test_a_native_module_that_all_have_is_kept_once_and_others_are_not_mixed_up(verified: VerifiedPartitions) -> None:
    assert len({image.native["shared"] for image in verified.images.values()}) == 1
    for name, image in verified.images.items():
        assert os.pread(image.native["shared"], 100, 0) == NATIVE
        assert os.pread(image.native["own"], 100, 0) == name.encode()
        assert image.bootstrap == f"# {name}"


def test_a_dependency_between_partitions_is_checked(images: Path, memory: Path) -> None:
    first, second, *_ = MANIFESTS
    needs = Dependency(image_index(first), Version(2))
    (images / f"{second.name}.img").write_bytes(an_image(second, dependencies=(needs,)))

    with pytest.raises(ImageError, match=rf"{second.name} needs {first.name} 2\.0\.0\+0 or later"):
        boot(memory, images, MANIFESTS)
    (images / f"{first.name}.img").write_bytes(an_image(first, version=2))
    assert boot(memory, images, MANIFESTS) is not None


def test_nothing_is_demanded_of_a_device_that_is_not_secured(images: Path, memory: Path, tmp_path: Path) -> None:
    assert boot(tmp_path / "none", None, MANIFESTS) is None
    assert boot(memory, None, MANIFESTS) is None
    with pytest.raises(FusesError, match="no root key"):
        boot(tmp_path / "none", images, MANIFESTS)


def test_a_secured_device_demands_images(memory: Path) -> None:
    fuses = read_fuses(memory)
    assert fuses is not None
    fuses.advance(Lifecycle.SECURED)

    with pytest.raises(FusesError, match="signed images only"):
        boot(memory, None, MANIFESTS)


@pytest.mark.parametrize("has_bubblewrap", [True, False])
def test_a_partition_reads_the_copy_that_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_bubblewrap: bool
) -> None:
    if not has_bubblewrap:
        monkeypatch.setattr(sandbox, "_bubblewrap", lambda: None)
    elif not next(one.in_force for one in sandbox.probe() if one.measure == sandbox.NAME_SPACES):
        unavailable("this needs bubblewrap, and a system that lets it make name spaces")
    copy = os.memfd_create("copy")
    os.write(copy, b"verified")
    os.lseek(copy, 0, os.SEEK_SET)
    spec = SandboxSpec(name="test", user_id=None, copies={"/native/x.so": copy})
    (path,) = spec.copies_inside().values()
    look = """
import sys
sys.stderr.write(open(sys.argv[1]).read())
try:
    open(sys.argv[1], "w")
except OSError as error:
    sys.stderr.write(" " + type(error).__name__)
"""
    reading, writing = os.pipe()
    process = spawn(spec, [sys.executable, "-I", "-c", look, path], pass_fds=(copy,), stderr=writing)
    os.close(writing)
    os.close(copy)
    with open(reading, encoding="utf-8") as said:
        text = said.read()

    assert process.wait() == 0
    # Outside of bubblewrap it is the file that the manager has sealed, which here it has not.
    assert text.split(" ") == (["verified", "OSError"] if has_bubblewrap else ["verified"])
