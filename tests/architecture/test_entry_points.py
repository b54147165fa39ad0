"""What pyproject.toml promises to find is there: the command, the providers, and each room's commands."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

PROJECT: dict[str, Any] = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
GROUPS: dict[str, dict[str, str]] = {"console_scripts": PROJECT["scripts"], **PROJECT["entry-points"]}
ENTRY_POINTS = [EntryPoint(name, value, group) for group, names in GROUPS.items() for name, value in names.items()]


@pytest.mark.parametrize("entry_point", ENTRY_POINTS, ids=lambda entry_point: entry_point.name)
def test_entry_points_lead_to_what_they_name(entry_point: EntryPoint) -> None:
    assert callable(entry_point.load())


def test_commands_live_among_the_commands_of_their_room() -> None:
    commands = [point for point in ENTRY_POINTS if point.group == "edgeroot.commands"]

    assert [
        point.value
        for point in commands
        if "commands" not in point.module.split(".") and not point.module.startswith("edgeroot.cli.")
    ] == []
