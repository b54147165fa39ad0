"""Running the emulated secure world beside the service, for ``edgeroot up``.

A keeper process starts it and starts it anew should it end. As root the keeper stays root, because partitions are users
of their own; it does nothing else, and ends with the service.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from time import monotonic, sleep
from typing import Final

from edgeroot.confinement import process as hardening
from edgeroot.tee.places import WorldPlaces

_MANAGER: Final = "edgeroot.secure.spm"
_START_S: Final = 30.0
_RESTART_S: Final = 1.0
_READY: Final = b"ready\n"


class WorldError(Exception):
    """The secure world did not start; it has said why on standard error."""


def keep_world(places: WorldPlaces, *, users: Sequence[int], options: Sequence[str]) -> socket.socket:
    """Start the secure world and keep it running for as long as the returned socket is open.

    ``options`` are the manager's further ones. WorldError if it does not start at all.
    """
    ours, theirs = socket.socketpair()
    arguments = [sys.executable, "-I", "-m", _MANAGER, "--state", str(places.state), "--runtime", str(places.runtime)]
    arguments += [part for user in users for part in ("--allow", str(user))]
    arguments += options
    if os.fork() == 0:
        ours.close()
        try:
            hardening.protect_process()
            hardening.name_process("edgeroot-keeper")
            _keep(arguments, theirs)
        finally:
            os._exit(1)
    theirs.close()
    ours.settimeout(_START_S)
    try:
        said = ours.recv(len(_READY))
    except TimeoutError:
        said = b""
    if said != _READY:
        ours.close()
        raise WorldError("the secure world did not start (see above); --software-only does without it")
    return ours


def _keep(arguments: Sequence[str], owner: socket.socket) -> None:
    """Run it again and again until the other end of ``owner``, who waits for its first word, is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the service's business, with which this process ends
    first = True
    while True:
        began_s = monotonic()
        lifeline, theirs = socket.socketpair()
        process = subprocess.Popen(
            [*arguments, "--owner-fd", str(theirs.fileno())], pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL
        )
        theirs.close()
        with lifeline:
            if first:
                said = lifeline.recv(len(_READY))
                owner.send(said or b"-")
                if not said:
                    break
                first = False
            while lifeline in select.select([owner, lifeline], [], [])[0] and lifeline.recv(len(_READY)):
                pass  # it says that it is ready again
        if select.select([owner], [], [], 0)[0]:
            break
        process.wait()
        sleep(max(0.0, _RESTART_S - (monotonic() - began_s)))
    process.wait()
