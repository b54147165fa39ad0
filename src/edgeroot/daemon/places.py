"""Where the service lives when nobody configured it, and as whom."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeroot.confinement.process import go_first

_SERVICE_USERS: Final = ("edgeroot", "parsec")
_DYNAMIC_USERS: Final = range(61184, 65000)  # systemd's range for users without an account ("Users, Groups, UIDs")


class PlaceError(Exception):
    """There is no place for the service; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Places:
    """The socket's path and the folder of the keys."""

    socket: Path
    state: Path


def choose(socket_path: Path | None, state_path: Path | None) -> Places:
    """The given places, else those of the XDG base directories, else (for root) of the system."""
    root = os.geteuid() == 0
    if socket_path is None:
        runtime = "/run" if root else os.environ.get("XDG_RUNTIME_DIR")
        if runtime is None:
            raise PlaceError("XDG_RUNTIME_DIR is not set: say with --socket where to listen")
        socket_path = Path(runtime, "edgeroot", "parsec.sock")
    if state_path is None:
        home = "/var/lib" if root else os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        state_path = Path(home, "edgeroot")
    return Places(socket_path.absolute(), state_path.absolute())


def make(places: Places) -> None:
    """Make what is missing: the keys' folder for this user only, the socket's folder open for looking up."""
    try:
        places.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not places.socket.parent.is_dir():
            places.socket.parent.mkdir(parents=True)
            places.socket.parent.chmod(0o755)  # whatever the umask says: clients of other users come through here
    except OSError as error:
        raise PlaceError(f"cannot make {error.filename}: {error.strerror}") from error


def become(places: Places, user: tuple[int, int]) -> None:
    """As root: hand the places to this user and group, and be that user from now on."""
    uid, gid = user
    try:
        for path in (places.state, places.socket.parent):
            _hand_over(path, uid, gid)
        go_first()
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise PlaceError(f"cannot become user {uid}: {error.strerror}") from error


def service_user(places: Places, name: str | None) -> tuple[int, int]:
    """User and group for the service whose places these are. PlaceError for a user who is not there, or is root."""
    owner = places.state.stat()
    if name is None and owner.st_uid != 0:
        return owner.st_uid, owner.st_gid  # whoever had the keys last time has them this time
    for candidate in (name,) if name else _SERVICE_USERS:
        try:
            entry = pwd.getpwnam(candidate)
        except KeyError:
            continue
        if entry.pw_uid == 0:
            raise PlaceError(f"user {candidate} is root: name another one with --user")
        return entry.pw_uid, entry.pw_gid
    if name is not None:
        raise PlaceError(f"there is no user {name}: make it (useradd --system {name}) or leave --user out")
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    free = next(uid for uid in _DYNAMIC_USERS if uid not in taken)
    return free, free


def _hand_over(path: Path, uid: int, gid: int) -> None:
    """Only what root has just made, or what is this user's already: nobody else's folder changes hands."""
    owner = path.stat().st_uid
    if owner == uid:
        return
    if owner != 0 or any(path.iterdir()):
        raise PlaceError(f"{path} belongs to user {owner} and is not empty: choose another place, or hand it over")
    os.chown(path, uid, gid)
