"""What the manager does for the first stage of the next boot: the counter, and the count of trial boots."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from edgeroot.abi.mcuboot import Description, ImageError, Version
from edgeroot.psa import Lifecycle
from edgeroot.secure.boot.fuses import WORDS, Fuses, FusesError
from edgeroot.secure.boot.handover import Handover
from edgeroot.secure.boot.root_keys import RootKeys
from edgeroot.secure.boot.trial import Attempts
from edgeroot.secure.partitions.firmware_update.firmware import FLASH_FILE
from edgeroot.secure.platform.one_time_memory import FileOneTimeMemory
from edgeroot.secure.spm import images
from edgeroot.secure.spm.images import BootedFirmware, VerifiedPartitions
from edgeroot.secure.spm.state import State
from edgeroot.secure.stage.attempts import read_attempts, write_attempts
from edgeroot.secure.stage.device_fuses import read_fuses
from edgeroot.secure.stage.places import FLASH, TRIAL_BOOTS

COUNTED: Final = Attempts(1, 3)


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path, tmp_path / "run")
    Fuses(FileOneTimeMemory(state.one_time_memory, words=WORDS, create=True)).provision([bytes(32)], security_counter=1)
    write_attempts(tmp_path / TRIAL_BOOTS, COUNTED)
    return state


def firmware(state: State, *, bank: int | None, is_trial: bool = False, counter: int = 1) -> BootedFirmware:
    return BootedFirmware(
        state,
        VerifiedPartitions(
            images={},
            event_log=b"",
            lifecycle=Lifecycle.SECURED,
            root_keys=RootKeys.of(bytes(32)),
            signers={},
            counter=counter,
            least_counter=1,
            bank=bank,
            is_trial=is_trial,
        ),
    )


def a_handover() -> Handover:
    return Handover(
        lifecycle=Lifecycle.SECURED,
        root_keys=RootKeys.of(bytes(32)),
        security_counter=64,
        manager=Description(version=Version(1), security_counter=65, dependencies=()),
        measured=(),
        bank=0,
    )


@pytest.mark.parametrize(("bank", "is_trial", "left"), [(0, False, None), (1, True, COUNTED), (None, False, COUNTED)])
def test_after_a_fall_back_what_was_counted_is_over(
    state: State, bank: int | None, left: Attempts | None, *, is_trial: bool
) -> None:
    firmware(state, bank=bank, is_trial=is_trial).settle()

    assert read_attempts(state.path / TRIAL_BOOTS) == left


def test_a_count_that_cannot_be_removed_does_not_stop_the_start(state: State, caplog: pytest.LogCaptureFixture) -> None:
    (state.path / TRIAL_BOOTS).unlink()
    (state.path / TRIAL_BOOTS).mkdir()

    firmware(state, bank=0).settle()

    assert "the count of trial boots stays" in caplog.text


def test_a_flash_that_was_exchanged_since_the_first_stage_is_no_source(state: State) -> None:
    (state.path / FLASH).mkdir()
    os.mkfifo(state.path / FLASH / FLASH_FILE)

    with pytest.raises(ImageError, match="is no flash of"):
        images.boot(a_handover(), state, ())


def test_a_device_whose_counter_cannot_rise_any_more_says_so_and_boots(
    state: State, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fuses = read_fuses(state.one_time_memory)
    assert fuses is not None
    for value in range(2, 65):
        fuses.raise_counter(value)
    with pytest.raises(FusesError, match="no word left"):
        firmware(state, bank=0, counter=65).accept()
    monkeypatch.setattr(images, "_verify", lambda *_: ({}, [], 65))
    monkeypatch.setattr(images, "_source", lambda *_: None)

    verified = images.boot(a_handover(), state, ())

    assert (verified.counter, fuses.security_counter()) == (65, 64)
    assert "the security counter stays" in caplog.text
