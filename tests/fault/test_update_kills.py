"""``kill -9`` of a secure world that is updated, at random moments: it always boots, what it was or what it becomes."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Timer
from time import sleep
from typing import Final

import pytest

from edgeroot.abi.firmware import IMAGE_TYPES
from edgeroot.abi.mcuboot import Version
from edgeroot.psa import PsaError
from edgeroot.tee.api import TeeError
from tests.support.updated_world import Maker, booted, client, counter, device, put, versions
from tests.support.world import World

_LONGEST_S: Final = {"install": 0.7, "start": 0.9, "accept": 0.02}
"""Some more than it takes, to begin with."""


@dataclass(frozen=True, slots=True)
class Release:
    number: int

    @property
    def version(self) -> Version:
        return Version(1, 0, self.number)

    def images(self, maker: Maker) -> dict[str, bytes]:
        return {name: maker.image(name, version=self.version, counter=self.number + 1) for name in IMAGE_TYPES}


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> tuple[Maker, Path]:
    maker = Maker.make(tmp_path_factory.mktemp("maker"))
    return maker, maker.provision(tmp_path_factory.mktemp("factory") / "state")


@contextmanager
def killed_after(world: World, seconds: float) -> Iterator[None]:
    """However far what is done here gets; it is dead afterwards."""

    def strike() -> None:
        if world.process is not None:
            world.process.kill()

    timer = Timer(seconds, strike)
    timer.start()
    try:
        yield
    except (PsaError, TeeError, OSError, AssertionError):
        pass
    timer.join()
    strike()
    world.stop()


def install(world: World, images: dict[str, bytes]) -> None:
    with client(world) as psa:
        for name, data in images.items():
            put(psa, name, data)
        psa.psa_fwu_install()


def accept(world: World) -> None:
    with client(world) as psa:
        psa.psa_fwu_accept()


def running(world: World) -> Release:
    (version,) = versions(world)
    return Release(int(version.rpartition(".")[2]))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("moment", ["install", "start", "accept"])
def test_it_always_boots_and_nothing_unaccepted_lasts(
    factory: tuple[Maker, Path], moment: str, rounds: int, rng: random.Random
) -> None:
    maker, state = factory
    good = Release(0)
    seen = set()
    longest_s = _LONGEST_S[moment]
    with device(state) as world:
        world.start()
        for number in range(1, max(4, rounds // 2) + 1):
            new = Release(number)
            steps: dict[str, Callable[[], None]] = {
                "install": partial(install, world, new.images(maker)),
                "start": world.start,
                "accept": partial(accept, world),
            }
            if moment != "install":
                steps["install"]()
                world.stop()
            if moment == "accept":
                world.start()
            is_through = False
            with killed_after(world, rng.uniform(0, longest_s)):
                steps[moment]()
                is_through = True
            longest_s *= 0.8 if is_through else 1.25  # a machine with other work takes longer
            world.start()
            found, (_, is_trial) = running(world), booted(world)
            seen.add((found == new, is_trial))
            assert found in (good, new)
            assert counter(world) == (good.number if is_trial else found.number) + 1
            if is_trial:
                assert found == new
                accept(world)
            good = running(world)
            assert counter(world) == good.number + 1
    assert moment == "start" or len(seen) > 1, "every round was killed too early or too late"


@pytest.mark.timeout(600)
def test_provisioning_that_was_killed_is_done_again(
    factory: tuple[Maker, Path], tmp_path: Path, rounds: int, rng: random.Random
) -> None:
    maker, _ = factory
    for number in range(max(4, rounds // 3)):
        state = tmp_path / str(number)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "edgeroot", "device", "provision", "--state", str(state)),
                *("--root-key", str(maker.folder / "public.pem"), "--security-counter", "1"),
                *("--images", str(maker.folder / "images")),
            ],
            stdout=subprocess.DEVNULL,
        )
        sleep(rng.uniform(0.2, 1.2))
        process.kill()
        process.wait()
        maker.provision(state)
        with device(state) as world:
            world.start()
            assert booted(world) == (0, False)
            assert counter(world) == 1
