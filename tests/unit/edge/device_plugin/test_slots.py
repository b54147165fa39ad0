from __future__ import annotations

from pathlib import Path

import pytest

from edgeroot.edge.device_plugin.slots import Slot, first_slots, slots_named


@pytest.mark.parametrize(
    ("number", "folder", "device"),
    [(0, "00", "slot-00"), (7, "07", "slot-07"), (99, "99", "slot-99"), (100, "100", "slot-100")],
)
def test_names_follow_from_the_number(number: int, folder: str, device: str) -> None:
    slot = Slot(number)

    assert (slot.folder_name, slot.device_id) == (folder, device)
    assert slot.socket(Path("/run/parsec/slots")) == Path("/run/parsec/slots", folder, "parsec.sock")


def test_slots_are_found_by_their_folders_names_in_order() -> None:
    assert slots_named(["10", "02", "100", "00"]) == (Slot(0), Slot(2), Slot(10), Slot(100))


@pytest.mark.parametrize(
    "name", ["", "0", "007", "0100", "-1", "+1", " 1", "1 ", "a0", "00.old", "٠١", "²2", "1_0", "9" * 5000]
)
def test_other_names_are_no_slots(name: str) -> None:
    assert slots_named([name]) == ()


def test_the_first_slots() -> None:
    assert first_slots(3) == (Slot(0), Slot(1), Slot(2))
