"""Getting code that nobody has verified into a secured device, tried as whoever starts it or owns its files might."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from edgeroot.abi.emulation import FIRMWARE_ACCEPTED
from edgeroot.abi.ffa import FfaError, FunctionId, signed
from edgeroot.abi.firmware import IMAGE_TYPES
from edgeroot.abi.mcuboot import Version
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.partitions.firmware_update.firmware import FLASH_FILE
from edgeroot.secure.stage.places import FLASH, ONE_TIME_MEMORY
from edgeroot.tee.transports.emulated import ManagerConnection
from tests.support.clients import wait_until
from tests.support.updated_world import (
    Maker,
    booted,
    client,
    copy_device,
    counter,
    damage,
    device,
    done,
    install,
    put,
    versions,
    write_flash,
)
from tests.support.world import World

EVIL: Final = Version(6, 6, 6)
ROUNDS: Final = 6


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker.make(tmp_path_factory.mktemp("maker"))


@pytest.fixture(scope="module")
def evil(maker: Maker) -> dict[str, bytes]:
    """Whole images, which another key has signed."""
    key = ed25519.Ed25519PrivateKey.generate()
    return {name: maker.image(name, version=EVIL, counter=9, key=key) for name in IMAGE_TYPES}


@pytest.fixture(scope="module")
def factory(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return maker.provision(tmp_path_factory.mktemp("factory") / "state")


@pytest.fixture
def world(factory: Path) -> Iterator[World]:
    """A secured device with firmware in its flash. It does not run yet."""
    with device(factory) as one:
        yield one


NEXT: Final = ed25519.Ed25519PrivateKey.generate()
REVOKED: Final = "it is signed by a revoked key, root key 0 of this device"


@pytest.fixture(scope="module")
def changed(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device that runs what its second root key has signed, since its first one was stolen and revoked."""
    state = tmp_path_factory.mktemp("changed") / "state"
    with device(maker.provision(state, NEXT.public_key())) as world:
        world.start()
        install(world, maker.release(Version(1, 1), 2, key=NEXT))
        world.stop()
        world.start()
        with client(world) as psa:
            psa.psa_fwu_accept()
        world.stop()
        done("device", "revoke-key", "0", "--state", str(world.state))
        shutil.rmtree(state)
        copy_device(world.state, state)
    return state


@pytest.fixture(scope="module")
def stolen(maker: Maker) -> dict[str, bytes]:
    """Images that are newer than anything, which whoever has the revoked key has signed with it."""
    return maker.release(EVIL, 9)


def refusal(world: World, *options: str) -> str:
    """Why it does not start, which it says soon."""
    done = subprocess.run(
        [
            *(sys.executable, "-I", "-m", "edgeroot.secure.spm", "--state", str(world.state)),
            *("--runtime", str(world.folder / "run"), *options),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


class Pipe:
    """A named pipe that gives one content to the first who reads it, and another one to everybody later."""

    def __init__(self, path: Path, first: bytes, later: bytes) -> None:
        os.mkfifo(path)
        self.readers = 0
        self._path = path
        self._contents = (first, later)
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            content = self._contents[min(self.readers, 1)]
            try:
                with self._path.open("wb") as pipe:  # waits for who reads
                    self.readers += 1
                    pipe.write(content)
            except OSError:
                return
            sleep(0.05)  # until the reader has seen the end


def test_each_image_is_read_once_and_what_was_read_is_what_runs(
    maker: Maker, evil: dict[str, bytes], world: World, tmp_path: Path
) -> None:
    good = maker.release(Version(1), 1)
    pipes = {name: Pipe(tmp_path / f"{name}.img", good[name], evil[name]) for name in IMAGE_TYPES}

    world.start("--images", str(tmp_path))

    assert versions(world) == {"1.0.0"}
    assert {pipe.readers for pipe in pipes.values()} == {1}


def test_images_that_are_exchanged_during_the_start_run_never(
    maker: Maker, evil: dict[str, bytes], world: World, tmp_path: Path
) -> None:
    dice = random.Random(1)
    for number in range(ROUNDS):
        images = Path(shutil.copytree(maker.folder / "images", tmp_path / str(number)))
        bad = tmp_path / f"bad-{number}"
        bad.mkdir()
        for name, data in evil.items():
            (bad / f"{name}.img").write_bytes(data)
        pause_s = dice.uniform(0, 0.8)

        def exchange(images: Path = images, bad: Path = bad, pause_s: float = pause_s) -> None:
            sleep(pause_s)
            for path in bad.iterdir():
                path.replace(images / path.name)

        thread = Thread(target=exchange)
        thread.start()
        check_start(world, "--images", str(images))
        thread.join()


def test_a_flash_that_is_overwritten_during_the_start_runs_never(evil: dict[str, bytes], factory: Path) -> None:
    dice = random.Random(2)
    for _ in range(ROUNDS):
        with device(factory) as world:
            pause_s = dice.uniform(0, 0.8)

            def overwrite(world: World = world, pause_s: float = pause_s) -> None:
                sleep(pause_s)
                write_flash(world, 0, evil)

            thread = Thread(target=overwrite)
            thread.start()
            check_start(world)
            thread.join()
            world.stop()
            assert "no bank holds firmware that may run" in refusal(world)


def check_start(world: World, *options: str) -> None:
    """It runs what was verified, or says that it does not."""
    output = world.folder / "output"
    output.unlink(missing_ok=True)
    try:
        world.start(*options)
    except AssertionError:
        assert "does not run: " in output.read_text()
        return
    assert versions(world) == {"1.0.0"}
    world.stop()


@pytest.mark.parametrize("kind", ["pipe", "link", "link to nothing", "device"])
def test_what_is_put_in_place_of_the_flash_is_refused_without_waiting(world: World, kind: str) -> None:
    path = world.state / FLASH / FLASH_FILE
    moved = path.rename(world.state / "moved")
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"link": moved, "device": Path("/dev/zero")}.get(kind, Path("/nowhere")))

    said = refusal(world)
    assert "cannot use the flash" in said or "is no flash of" in said or "runs signed images only" in said


def test_the_environment_of_whoever_starts_it_changes_nothing(
    maker: Maker, factory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through all of the stages, and once more from the beginning, as the first try fails in the second one."""
    trace = f"open({str(tmp_path / 'trace')!r}, 'a').write(__name__ + ' ')\n"
    for name in ("sitecustomize", "usercustomize", "selectors", "edgeroot"):
        (tmp_path / f"{name}.py").write_text(trace)
    with device(factory) as world:
        world.start()
        install(world, maker.release(Version(1, 1), 1))
        world.stop()
        damage(world, 1, "storage")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setenv("PYTHONHOME", str(tmp_path))
        monkeypatch.setenv("PYTHONINSPECT", "1")
        monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "selectors.py"))
        monkeypatch.chdir(tmp_path)
        isolated = World(world.folder, manager=("-I", "-m", "edgeroot.secure.spm"))
        try:
            isolated.start()
            assert booted(isolated) == (0, False)
            assert versions(isolated) == {"1.0.0"}
            assert "trying the other bank" in isolated.said()
        finally:
            isolated.stop()
    assert not (tmp_path / "trace").exists()


def test_the_command_starts_it_so_that_the_environment_changes_nothing(world: World, tmp_path: Path) -> None:
    """The command itself is an ordinary program; what it becomes is not."""
    trace = tmp_path / "trace"
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nopen({str(trace)!r}, 'a').write(' '.join(sys.orig_argv) + chr(10))\n"
    )
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "edgeroot", "secure-world", "run", "--state", str(world.state)),
            *("--runtime", str(world.folder / "run")),
        ],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: "ready" in world.said() and world.socket.exists(), "it runs")
        assert booted(world) == (0, False)
    finally:
        process.terminate()
        process.wait()
    assert "secure-world run" in trace.read_text()
    assert "edgeroot.secure.spm" not in trace.read_text()
    assert " -c " not in trace.read_text()


def test_only_the_update_agent_says_that_firmware_was_accepted(maker: Maker, world: World) -> None:
    world.start()
    install(world, maker.release(Version(1, 1), 2))
    world.stop()
    world.start()
    assert booted(world) == (1, True)
    connection = ManagerConnection(world.socket)
    try:
        connection.hello()
        registers, _, _ = connection._call(FIRMWARE_ACCEPTED)
    finally:
        connection.close()

    assert (registers[0], signed(registers[2])) == (FunctionId.ERROR, FfaError.DENIED)
    assert booted(world) == (1, True)
    assert counter(world) == 1


def test_a_handover_by_hand_is_not_the_one_that_counts(world: World) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"{}")
    os.close(writing)
    os.set_inheritable(reading, True)
    for options in (("--handover", str(reading)), (f"--handover={reading}",), ("--handover", "0", "--handover", "1")):
        world.start(*options)
        assert booted(world) == (0, False)
        assert versions(world) == {"1.0.0"}
        world.stop()
    os.close(reading)
    (world.state / FLASH / FLASH_FILE).unlink()
    assert "the device is secured and runs signed images only" in refusal(world, "--handover", "0")


def test_what_a_revoked_key_has_signed_is_not_installed(maker: Maker, changed: Path, stolen: dict[str, bytes]) -> None:
    with device(changed) as world:
        world.start()
        for name, data in stolen.items():
            with client(world) as psa, pytest.raises(PsaError) as caught:
                put(psa, name, data)
            assert caught.value.status is PsaStatus.INVALID_SIGNATURE
            assert f"the image {name} is refused: {REVOKED}" in (world.folder / "run" / "log").read_text()
        install(world, maker.release(Version(1, 2), 2, key=NEXT))


def test_what_a_revoked_key_has_signed_does_not_boot_alone_nor_among_others(
    maker: Maker, changed: Path, stolen: dict[str, bytes], tmp_path: Path
) -> None:
    good = maker.release(Version(1, 1), 2, key=NEXT)
    for name, data in stolen.items():
        folder = tmp_path / name
        folder.mkdir()
        for other, image in (good | {name: data}).items():
            (folder / f"{other}.img").write_bytes(image)
        with device(changed) as world:
            assert f"{name}.img does not run: {REVOKED}" in refusal(world, "--images", str(folder))
            write_flash(world, 1, {name: data})
            said = refusal(world)
            assert f"the image {name} in bank 1 does not run: {REVOKED}" in said
            # Nor is there a way back to what ran before the key was revoked.
            assert f"the image manager in bank 0 does not run: {REVOKED}" in said
            assert "no bank holds firmware that may run" in said


def test_no_changed_byte_of_the_fuses_brings_a_revoked_key_back(changed: Path, stolen: dict[str, bytes]) -> None:
    with device(changed) as world:
        for bank in range(2):
            write_flash(world, bank, stolen)
        path = world.state / ONE_TIME_MEMORY
        whole = path.read_bytes()
        for at in (*range(16), *range(16 * (1 + 105), 16 * (1 + 106))):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            assert "damaged" in refusal(world)
        path.write_bytes(whole)
        assert "no bank holds firmware that may run" in refusal(world)
