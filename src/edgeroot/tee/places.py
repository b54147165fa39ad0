"""Where the emulated secure world lives: beside the service's own folders, which are another user's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FOLDER: Final = "edgeroot-secure-world"
ENVIRONMENT: Final = "EDGEROOT_SECURE_WORLD"
"""The environment variable that names the manager's socket."""


@dataclass(frozen=True, slots=True)
class WorldPlaces:
    """The folder of secrets and stored objects, and the folder of the manager's socket and log."""

    state: Path
    runtime: Path

    @property
    def socket(self) -> Path:
        return self.runtime / "spm.sock"

    @property
    def log(self) -> Path:
        return self.runtime / "log"


def world_beside(keys: Path) -> WorldPlaces:
    """The places of the secure world that belongs to a folder of keys somewhere else than usual."""
    state = keys.with_name(f"{keys.name}-secure-world")
    return WorldPlaces(state, state / "run")


def choose_world(environment: Mapping[str, str], *, is_root: bool) -> WorldPlaces | None:
    """The system's places for root, else those of the XDG base directories; None if XDG_RUNTIME_DIR is not set.

    A user without a state folder of their own in the environment has it at its usual place under HOME.
    """
    if is_root:
        return WorldPlaces(Path("/var/lib", _FOLDER), Path("/run", _FOLDER))
    runtime = environment.get("XDG_RUNTIME_DIR")
    if not runtime:
        return None
    state = environment.get("XDG_STATE_HOME") or str(Path(environment.get("HOME", "/"), ".local", "state"))
    return WorldPlaces(Path(state, _FOLDER), Path(runtime, _FOLDER))


def world_socket(environment: Mapping[str, str], *, is_root: bool) -> Path:
    """The socket that the environment names, else that of the user's own places, else the system's."""
    named = environment.get(ENVIRONMENT)
    if named:
        return Path(named)
    chosen = choose_world(environment, is_root=is_root)
    system = WorldPlaces(Path("/var/lib", _FOLDER), Path("/run", _FOLDER))
    return system.socket if chosen is None else chosen.socket
