"""The units for systemd are ones that systemd accepts, and confine the service."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.requirements import unavailable

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units, with a program that is there."""
    if shutil.which("systemd-analyze") is None:
        unavailable("this needs systemd-analyze (Debian: systemd)")
    copies = []
    for unit in (*UNITS.glob("*.service"), *UNITS.glob("*.socket")):
        copies.append(tmp_path / unit.name)
        copies[-1].write_text(unit.read_text().replace("/opt/edgeroot/bin/edgeroot", "/bin/true"))
    return copies


def test_systemd_understands_every_line(units: list[Path]) -> None:
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, units)], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stderr


def test_little_is_left_to_an_attacker_inside(units: list[Path]) -> None:
    service = next(unit for unit in units if unit.suffix == ".service")
    # Of 100, where 0 is nothing at all; what is left is mostly what is needed: Unix sockets, files, chown, nice.
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=15", str(service)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_users_are_told_apart() -> None:
    for unit in UNITS.glob("*.service"):
        assert "\nPrivateUsers=no\n" in unit.read_text()  # otherwise all but root and its own user look the same
