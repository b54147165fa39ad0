"""The partitions' first stage: what was verified is kept where it cannot change, and partitions start from there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from edgeroot.abi.firmware import IMAGE_INDEXES, MANAGER
from edgeroot.abi.mcuboot import Dependency, Description, ImageError, Version, decode_image
from edgeroot.evidence import Lifecycle, read_measurements
from edgeroot.secure.boot.archive import Archive, compile_module
from edgeroot.secure.boot.fuses import WORDS, Fuses, FusesError
from edgeroot.secure.boot.handover import Handover, Measured
from edgeroot.secure.boot.root_keys import RootKeys
from edgeroot.secure.boot.signing import sign_image
from edgeroot.secure.boot.verify import encode_root_key
from edgeroot.secure.platform.one_time_memory import FileOneTimeMemory
from edgeroot.secure.spm import sandbox
from edgeroot.secure.spm.images import BootedFirmware, VerifiedPartitions, boot
from edgeroot.secure.spm.manifest import Manifest, built_in_manifests
from edgeroot.secure.spm.sandbox import SandboxSpec, spawn
from edgeroot.secure.spm.state import State
from edgeroot.secure.stage.device_fuses import read_fuses
from tests.support.requirements import unavailable

KEY = ed25519.Ed25519PrivateKey.generate()
ROOT_KEY_HASH = sha256(encode_root_key(KEY.public_key())).digest()
MANIFESTS = built_in_manifests()
NATIVE = b"\x7fELF the same in all images"


def an_image(
    manifest: Manifest,
    *,
    dependencies: tuple[Dependency, ...] = (),
    version: int = 1,
    key: ed25519.Ed25519PrivateKey = KEY,
) -> bytes:
    code = {"m": compile_module(manifest.name.encode().replace(b"-", b"_") + b" = 1", "m")}
    native = {"shared": NATIVE, "own": manifest.name.encode()}
    archive = Archive(
        partition=manifest.name,
        main="m",
        code=code,
        packages=frozenset(),
        native=native,
        bootstrap=f"# {manifest.name}",
    )
    return sign_image(archive.encode(), key, version=Version(version), security_counter=3, dependencies=dependencies)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for manifest in MANIFESTS:
        (tmp_path / f"{manifest.name}.img").write_bytes(an_image(manifest))
    return tmp_path


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path, tmp_path / "run")
    memory = FileOneTimeMemory(state.one_time_memory, words=WORDS, create=True)
    Fuses(memory).provision([ROOT_KEY_HASH], security_counter=2)
    return state


def a_handover(
    images: Path, *, counter: int = 2, manager: int = 3, dependencies: tuple[Dependency, ...] = ()
) -> Handover:
    return Handover(
        lifecycle=Lifecycle.SECURED,
        root_keys=RootKeys.of(ROOT_KEY_HASH),
        security_counter=counter,
        manager=Description(version=Version(1), security_counter=manager, dependencies=dependencies),
        measured=(
            Measured(name="kernel", digest=bytes(32)),
            Measured(name=MANAGER, digest=b"m" * 32, signer_id=ROOT_KEY_HASH),
        ),
        folder=str(images),
    )


@pytest.fixture
def verified(images: Path, state: State) -> Iterator[VerifiedPartitions]:
    found = boot(a_handover(images), state, MANIFESTS)
    yield found
    for descriptor in {one for image in found.images.values() for one in (image.code, *image.native.values())}:
        os.close(descriptor)


def test_what_is_verified_is_measured_in_the_order_of_starting(verified: VerifiedPartitions, images: Path) -> None:
    log = read_measurements(verified.event_log)

    assert [one.name for one in log] == ["kernel", MANAGER, "libraries", *(manifest.name for manifest in MANIFESTS)]
    assert [one.name for one in log if not one.is_verified] == ["kernel", "libraries"]
    for one in log[3:]:
        data = (images / f"{one.name}.img").read_bytes()
        assert one.digest == sha256(data[: decode_image(data).hashed_bytes]).digest()
        assert one.version == "1.0.0"
    assert (verified.lifecycle, verified.root_keys) == (Lifecycle.SECURED, RootKeys.of(ROOT_KEY_HASH))
    assert verified.signers == dict.fromkeys((MANAGER, *(manifest.name for manifest in MANIFESTS)), ROOT_KEY_HASH)


def test_each_image_is_measured_with_its_own_signer_and_none_by_a_revoked_key_runs(images: Path, state: State) -> None:
    other = ed25519.Ed25519PrivateKey.generate()
    other_hash = sha256(encode_root_key(other.public_key())).digest()
    keys = RootKeys.of(ROOT_KEY_HASH, other_hash)
    first, *_ = MANIFESTS
    (images / f"{first.name}.img").write_bytes(an_image(first, key=other))

    signers = boot(replace(a_handover(images), root_keys=keys), state, MANIFESTS).signers

    assert signers == dict.fromkeys((MANAGER, *(one.name for one in MANIFESTS)), ROOT_KEY_HASH) | {
        first.name: other_hash
    }
    with pytest.raises(ImageError, match=f"{first.name}.img does not run: it is signed by a revoked key"):
        boot(replace(a_handover(images), root_keys=keys.without(1)), state, MANIFESTS)


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


def test_a_dependency_between_images_is_checked(images: Path, state: State) -> None:
    first, second, *_ = MANIFESTS
    needs = Dependency(IMAGE_INDEXES[first.name], Version(2))
    (images / f"{second.name}.img").write_bytes(an_image(second, dependencies=(needs,)))

    with pytest.raises(ImageError, match=rf"{second.name} needs {first.name} 2\.0\.0\+0 or later"):
        boot(a_handover(images), state, MANIFESTS)
    with pytest.raises(ImageError, match=rf"manager needs {first.name} 2\.0\.0\+0 or later"):
        boot(a_handover(images, dependencies=(needs,)), state, MANIFESTS)
    (images / f"{first.name}.img").write_bytes(an_image(first, version=2))
    assert boot(a_handover(images, dependencies=(needs,)), state, MANIFESTS).counter == 3


def test_the_images_indexes_are_those_of_the_partitions_ids() -> None:
    assert {one.name: one.id & 0xFF for one in MANIFESTS} | {MANAGER: 0} == dict(IMAGE_INDEXES)


def test_an_old_image_is_refused(images: Path, state: State) -> None:
    with pytest.raises(ImageError, match="its security counter 3 is below the device's, 4"):
        boot(a_handover(images, counter=4), state, MANIFESTS)


def test_what_was_accepted_raises_the_counter_to_the_lowest_of_its_images_and_no_further(
    images: Path, state: State
) -> None:
    def counter() -> int:
        fuses = read_fuses(state.one_time_memory)
        assert fuses is not None
        return fuses.security_counter()

    verified = boot(a_handover(images, manager=9), state, MANIFESTS)
    assert counter() == 2  # a folder of images is nobody's acceptance
    firmware = BootedFirmware(state, verified)
    assert (firmware.accept(), counter()) == (3, 3)
    assert (firmware.accept(), counter()) == (3, 3)
    state.one_time_memory.unlink()
    with pytest.raises(FusesError, match="memory is gone"):
        firmware.accept()


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
