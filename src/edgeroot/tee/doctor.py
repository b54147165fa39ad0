"""What `edgeroot doctor` asks of the secure world: how well this system would isolate one, and whether one runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeroot.cli.doctor import Finding, Subject
from edgeroot.tee.places import world_socket

if TYPE_CHECKING:
    from edgeroot.tee.transports.emulated import ManagerConnection

# Started, and imported by nobody: it confines the process that asks.
_MEASURES: Final = "edgeroot.secure.spm.measures"
_TIMEOUT_S: Final = 30.0
_START: Final = "Where keys are to be in a secure world: edgeroot up, or edgeroot secure-world run."


def checks(_subject: Subject) -> Iterator[Finding]:
    """The measures of isolation, then the secure world at the usual place."""
    yield from _isolation()
    yield from _world(world_socket(os.environ, is_root=os.geteuid() == 0))


def _isolation() -> Iterator[Finding]:
    done = subprocess.run(
        [sys.executable, "-I", "-m", _MEASURES], capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
    )
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2] or f"it ended with {done.returncode}"
        fix = f"Reinstall edgeroot; {sys.executable} -m {_MEASURES} shows the whole error."
        yield Finding("warning", "isolation", f"the measures of isolation could not be tried: {said}", fix)
        return
    for line in done.stdout.splitlines():
        found = json.loads(line)
        if found["in_force"]:
            yield Finding("ok", "isolation", f"{found['measure']}: this system grants it to a secure world")
        else:
            message = f"{found['measure']}: not granted to a secure world, so {found['consequence']}"
            yield Finding("note", "isolation", message, f"{found['remedy'][0].upper()}{found['remedy'][1:]}.")


def _world(path: Path) -> Iterator[Finding]:
    from edgeroot.tee.api import TeeError
    from edgeroot.tee.transports.emulated import ManagerConnection, WorldGoneError

    try:
        path.stat()
    except FileNotFoundError:
        yield Finding("note", "secure world", f"none runs at {path}", _START)
        return
    except OSError as error:
        fix = f"Let this user into the folder of {path}, or run doctor as another one."
        yield Finding("note", "secure world", f"{path} cannot be looked at: {error.strerror}", fix)
        return
    try:
        connection = ManagerConnection(path)
    except WorldGoneError as error:
        yield Finding("warning", "secure world", str(error), f"Start it again: it has left its socket. {_START}")
        return
    except TeeError as error:
        yield Finding("failure", "secure world", str(error), f"Find out who put it there, and remove {path}.")
        return
    try:
        yield from _identity(connection, path)
        yield from _strictness(connection)
    finally:
        connection.close()


def _identity(connection: ManagerConnection, path: Path) -> Iterator[Finding]:
    from edgeroot.tee.api import TeeError

    try:
        own_id = connection.hello()
    except TeeError as error:
        fix = "Nothing, if the service runs as another user; else start the secure world with --allow and this user."
        yield Finding("note", "secure world", f"one answers at {path}: {error}", fix)
    else:
        yield Finding("ok", "secure world", f"one answers at {path}; for it this user is {own_id:#06x}")


def _strictness(connection: ManagerConnection) -> Iterator[Finding]:
    from edgeroot.tee.api import TeeError

    try:
        lacking = json.loads(connection.status())["not_in_force"]
    except TeeError:
        fix = "Run doctor as root, or as the user who runs the secure world."
        yield Finding("note", "secure world", "it does not tell this user how well it is isolated", fix)
        return
    for measure in lacking:
        fix = "See to it and start the secure world anew; with --strict it does not start without."
        yield Finding("warning", "secure world", f"it runs, but {measure}", fix)
    if not lacking:
        yield Finding("ok", "secure world", "every measure of isolation is in force there")
