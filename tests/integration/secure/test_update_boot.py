"""Firmware comes through PSA's interface into a real device's flash, boots on trial, and is accepted or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from edgeroot.abi.firmware import IMAGE_INDEXES, IMAGE_TYPES, MANAGER, unpack_version
from edgeroot.abi.mcuboot import Dependency, Version
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.boot.trial import MAX_TRIAL_BOOTS
from edgeroot.secure.partitions.firmware_update.firmware import LAYOUT
from edgeroot.tee.psa import FwuComponentState, PsaClient
from tests.support.updated_world import (
    COMPONENTS,
    NEW,
    OLD,
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
    restart,
    versions,
)
from tests.support.world import World

S = FwuComponentState
CRYPTO: Final = COMPONENTS["crypto"]


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker.make(tmp_path_factory.mktemp("maker"))


@pytest.fixture(scope="module")
def factory(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device as it is shipped: its state folder."""
    return maker.provision(tmp_path_factory.mktemp("factory") / "state")


@pytest.fixture(scope="module")
def updated(maker: Maker, factory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device with version 1.1.0 installed, which did not boot since."""
    target = tmp_path_factory.mktemp("updated") / "state"
    with device(factory) as world:
        world.start()
        assert booted(world) == (0, False)
        assert versions(world) == {"1.0.0"}
        install(world, maker.release(NEW, 2))
        with client(world) as psa:
            assert states(psa) == {S.STAGED}
        assert versions(world) == {"1.0.0"}  # until the restart nothing changes
        world.stop()
        copy_device(world.state, target)
    return target


@pytest.fixture
def trial(updated: Path) -> Iterator[World]:
    """Version 1.1.0 runs on trial."""
    with device(updated) as world:
        world.start()
        yield world


@pytest.fixture(scope="module")
def shipped(factory: Path) -> Iterator[World]:
    """Version 1.0.0 runs; each test leaves it so."""
    with device(factory) as world:
        world.start()
        yield world


@pytest.fixture
def psa(shipped: World) -> Iterator[PsaClient]:
    """Whatever a test has begun is given up."""
    with client(shipped) as one:
        yield one
        for number, info in enumerate(one.fwu_components()):
            if info.state in (S.WRITING, S.CANDIDATE):
                one.psa_fwu_cancel(number)
                break
        for number, info in enumerate(one.fwu_components()):
            if info.state is S.FAILED:
                one.psa_fwu_clean(number)
        assert states(one) == {S.READY}


def states(psa: PsaClient) -> set[FwuComponentState]:
    return {info.state for info in psa.fwu_components()}


def status_of(call: Callable[..., object], *arguments: object) -> PsaStatus:
    with pytest.raises(PsaError) as caught:
        call(*arguments)
    return caught.value.status


def test_an_accepted_update_stays_and_nothing_older_comes_back(maker: Maker, trial: World) -> None:
    said = done("secure-world", "status", "--world-socket", str(trial.socket))["firmware"]
    assert (said["bank"], said["on_trial"], said["trial_boots"]) == (1, True, 1)
    assert versions(trial) == {"1.1.0"}
    assert counter(trial) == 1  # a trial proves nothing yet

    with client(trial) as psa:
        assert {info.state for info in psa.fwu_components()} == {S.TRIAL}
        assert {unpack_version(info.version) for info in psa.fwu_components()} == {NEW}
        psa.psa_fwu_accept()
        assert status_of(psa.psa_fwu_accept) is PsaStatus.BAD_STATE
    assert booted(trial) == (1, False)
    assert counter(trial) == 2

    old = maker.image("crypto", version=OLD, counter=1)
    with client(trial) as psa:
        psa.psa_fwu_start(CRYPTO)
        psa.psa_fwu_write(CRYPTO, 0, old)
        assert status_of(psa.psa_fwu_finish, CRYPTO) is PsaStatus.NOT_PERMITTED
        assert psa.psa_fwu_query(CRYPTO).state is S.FAILED
        assert status_of(psa.psa_fwu_install) is PsaStatus.BAD_STATE
    assert restart(trial) == (1, False)
    assert versions(trial) == {"1.1.0"}
    assert counter(trial) == 2


def test_the_next_update_takes_the_first_bank_again(maker: Maker, trial: World) -> None:
    with client(trial) as psa:
        psa.psa_fwu_accept()
    install(trial, maker.release(Version(1, 2), 2))

    assert restart(trial) == (0, True)
    assert versions(trial) == {"1.2.0"}
    with client(trial) as psa:
        psa.psa_fwu_accept()
    assert (restart(trial), counter(trial)) == ((0, False), 2)


def test_an_update_that_nobody_accepts_is_gone_after_three_boots(maker: Maker, trial: World) -> None:
    for number in range(2, MAX_TRIAL_BOOTS + 1):
        assert restart(trial) == (1, True)
        assert trial.status()["firmware"]["trial_boots"] == number
    assert restart(trial) == (0, False)
    assert versions(trial) == {"1.0.0"}
    assert counter(trial) == 1
    with client(trial) as psa:
        assert states(psa) == {S.READY}

    install(trial, maker.release(NEW, 2))  # the same once more, which has a trial of its own
    assert restart(trial) == (1, True)
    assert trial.status()["firmware"]["trial_boots"] == 1


def test_a_rejected_update_is_gone_with_the_next_boot(trial: World) -> None:
    with client(trial) as psa:
        psa.psa_fwu_reject()
        assert states(psa) == {S.REJECTED}
        assert status_of(psa.psa_fwu_start, CRYPTO) is PsaStatus.BAD_STATE
    assert restart(trial) == (0, False)
    assert (versions(trial), counter(trial)) == ({"1.0.0"}, 1)


@pytest.mark.parametrize("name", ["crypto", MANAGER])
def test_an_image_that_was_damaged_in_the_flash_has_the_other_bank_boot_at_once(updated: Path, name: str) -> None:
    with device(updated) as world:
        damage(world, 1, name)
        world.start()

        assert booted(world) == (0, False)
        assert versions(world) == {"1.0.0"}
        assert f"{name} in bank 1 does not run: its hash is another one" in world.said()
        assert restart(world) == (0, False)


def test_without_a_good_bank_it_says_so_and_does_not_start(updated: Path) -> None:
    with device(updated) as world:
        damage(world, 1, "crypto")
        damage(world, 0, "storage")
        with pytest.raises(AssertionError, match="no bank holds firmware that may run"):
            world.start()


def test_one_component_is_updated_by_itself(maker: Maker, factory: Path) -> None:
    with device(factory) as world:
        world.start()
        install(world, {"crypto": maker.image("crypto")})
        assert restart(world) == (1, True)
        assert versions(world, ["crypto"]) == {"1.1.0"}
        assert versions(world, IMAGE_TYPES.keys() - {"crypto"}) == {"1.0.0"}
        with client(world) as psa:
            psa.psa_fwu_accept()
        assert counter(world) == 1  # that of the others, which still run


def test_a_wrong_image_fails_when_it_is_finished(maker: Maker, psa: PsaClient) -> None:
    good = maker.image("crypto")
    changed = bytearray(good)
    changed[2_000_000] ^= 1
    for data, expected in {
        bytes(changed): PsaStatus.INVALID_SIGNATURE,
        maker.image("crypto", key=ed25519.Ed25519PrivateKey.generate()): PsaStatus.INVALID_SIGNATURE,
        good[:-1] + bytes([good[-1] ^ 1]): PsaStatus.INVALID_SIGNATURE,
        maker.image("storage"): PsaStatus.INVALID_ARGUMENT,
        good[:-100]: PsaStatus.INVALID_ARGUMENT,
        good[:10]: PsaStatus.INVALID_ARGUMENT,
        good + b"\0": PsaStatus.INVALID_ARGUMENT,
        b"": PsaStatus.INVALID_ARGUMENT,
        maker.image("crypto", counter=0): PsaStatus.NOT_PERMITTED,
    }.items():
        psa.psa_fwu_start(CRYPTO)
        psa.psa_fwu_write(CRYPTO, 0, data)
        assert status_of(psa.psa_fwu_finish, CRYPTO) is expected
        info = psa.psa_fwu_query(CRYPTO)
        assert (info.state, info.error) == (S.FAILED, expected)
        assert status_of(psa.psa_fwu_install) is PsaStatus.BAD_STATE
        psa.psa_fwu_clean(CRYPTO)


def test_one_wrong_image_of_two_keeps_both_out(maker: Maker, psa: PsaClient, shipped: World) -> None:
    put(psa, "storage", maker.image("storage"))
    psa.psa_fwu_start(CRYPTO)
    psa.psa_fwu_write(CRYPTO, 0, maker.image("storage"))
    assert status_of(psa.psa_fwu_finish, CRYPTO) is PsaStatus.INVALID_ARGUMENT
    assert status_of(psa.psa_fwu_install) is PsaStatus.BAD_STATE
    assert booted(shipped) == (0, False)


def test_an_image_that_is_too_large_has_no_room(psa: PsaClient) -> None:
    piece = bytes(1 << 20)
    psa.psa_fwu_start(CRYPTO)
    most = LAYOUT.images[CRYPTO].max_size_bytes
    assert psa.psa_fwu_query(CRYPTO).max_size == most
    for at in range(0, most, len(piece)):
        psa.psa_fwu_write(CRYPTO, at, piece)
    assert status_of(psa.psa_fwu_write, CRYPTO, most, b"x") is PsaStatus.INSUFFICIENT_STORAGE


def test_blocks_come_one_after_the_other(maker: Maker, psa: PsaClient) -> None:
    good = maker.image("crypto")
    psa.psa_fwu_start(CRYPTO)
    psa.psa_fwu_write(CRYPTO, 0, good[:1000])
    for wrong in (0, 999, 1001):
        assert status_of(psa.psa_fwu_write, CRYPTO, wrong, b"x") is PsaStatus.INVALID_ARGUMENT
    psa.psa_fwu_write(CRYPTO, 1000, good[1000:])
    psa.psa_fwu_finish(CRYPTO)
    assert psa.psa_fwu_query(CRYPTO).state is S.CANDIDATE


def test_what_is_needed_and_not_there_is_waited_for(maker: Maker, factory: Path) -> None:
    needs = Dependency(IMAGE_INDEXES["storage"], NEW)
    with device(factory) as world:
        world.start()
        with client(world) as psa:
            put(psa, "crypto", maker.image("crypto", dependencies=(needs,)))
            assert status_of(psa.psa_fwu_install) is PsaStatus.DEPENDENCY_NEEDED
            assert psa.psa_fwu_query(CRYPTO).state is S.CANDIDATE
            put(psa, "storage", maker.image("storage"))
            psa.psa_fwu_install()
            assert states(psa) == {S.STAGED}
        assert restart(world) == (1, True)
        assert versions(world, ["crypto", "storage"]) == {"1.1.0"}


def test_what_the_state_does_not_allow_changes_nothing(psa: PsaClient) -> None:
    for call in (psa.psa_fwu_accept, psa.psa_fwu_reject, psa.psa_fwu_install):
        assert status_of(call) is PsaStatus.BAD_STATE
    for one in (psa.psa_fwu_finish, psa.psa_fwu_cancel, psa.psa_fwu_clean):
        assert status_of(one, CRYPTO) is PsaStatus.BAD_STATE
    assert status_of(psa.psa_fwu_write, CRYPTO, 0, b"x") is PsaStatus.BAD_STATE
    assert status_of(psa.psa_fwu_query, len(COMPONENTS)) is PsaStatus.DOES_NOT_EXIST
    assert states(psa) == {S.READY}


def test_a_staged_update_is_called_off(maker: Maker, factory: Path) -> None:
    with device(factory) as world:
        world.start()
        with client(world) as psa:
            put(psa, "crypto", maker.image("crypto"))
            psa.psa_fwu_install()
            assert status_of(psa.psa_fwu_accept) is PsaStatus.BAD_STATE
            assert status_of(psa.psa_fwu_start, CRYPTO) is PsaStatus.BAD_STATE
            psa.psa_fwu_reject()
            assert states(psa) == {S.FAILED}
        assert restart(world) == (0, False)
