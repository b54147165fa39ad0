"""A real emulated secure world for tests: its own folders, started and stopped like any other."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeroot.tee.transports.emulated import EmulatedTransport, ManagerConnection

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0


class World:
    """The partition manager's process. ``folder`` holds ``state/``, ``run/spm.sock`` and ``output``."""

    def __init__(
        self, folder: Path, *, allow: Sequence[str] = (), manager: Sequence[str] = ("-m", "edgeroot.secure.spm")
    ) -> None:
        """``manager`` is what the interpreter runs."""
        self._manager = tuple(manager)
        self.folder = folder
        self.state = folder / "state"
        self.socket = folder / "run" / "spm.sock"
        self.log_path = folder / "run" / "log"
        self.allow = tuple(allow) or (str(os.geteuid()),)
        self.process: subprocess.Popen[bytes] | None = None
        self._owner: socket.socket | None = None

    def start(self, *options: str) -> None:
        """Start it, and wait until every partition runs; AssertionError with what it said if it ends instead."""
        ours, theirs = socket.socketpair()
        arguments = [sys.executable, *self._manager, "--state", str(self.state)]
        arguments += ["--runtime", str(self.folder / "run"), "--owner-fd", str(theirs.fileno()), *options]
        arguments += [part for user in self.allow for part in ("--allow", user)]
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=(theirs.fileno(),)
            )
        theirs.close()
        ours.settimeout(_START_TIMEOUT_S)
        self._owner = ours
        try:
            said = ours.recv(64)
        except TimeoutError:
            said = b""
        if said != b"ready\n":
            self.stop()
            raise AssertionError(f"the secure world did not start:\n{self.said()}")

    def stop(self) -> None:
        """Ask it to stop; kill it if it does not."""
        if self._owner is not None:
            self._owner.close()
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def kill(self) -> None:
        """End the manager as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def said(self) -> str:
        """What manager and partitions have said so far."""
        texts = [path.read_text(errors="replace") for path in (self.folder / "output", self.log_path) if path.exists()]
        return "\n".join(texts)

    def status(self) -> dict[str, Any]:
        connection = ManagerConnection(self.socket)
        try:
            status: dict[str, Any] = json.loads(connection.status())
        finally:
            connection.close()
        return status

    def partition(self, name: str) -> dict[str, Any]:
        """The status of one partition."""
        found: dict[str, Any] = next(one for one in self.status()["partitions"] if one["name"] == name)
        return found

    def kill_partition(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to every process of a partition, the outermost last."""
        pids = descendants(self.partition(name)["pid"])
        for pid in reversed(pids):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def transport(self) -> EmulatedTransport:
        return EmulatedTransport(self.socket)


def with_world(world: World) -> str:
    """What a service's configuration needs to have keys in this world, as provider 4."""
    return f'[[provider]]\nprovider_type = "TrustedService"\nkey_info_manager = "kim"\nsocket_path = "{world.socket}"\n'


def descendants(pid: int) -> list[int]:
    """A process and all below it, parents first."""
    found = [pid]
    for one in found:
        try:
            children = Path(f"/proc/{one}/task/{one}/children").read_text().split()
        except OSError:
            continue
        found += map(int, children)
    return found


@contextmanager
def running_world(
    *options: str, allow: Sequence[str] = (), manager: Sequence[str] = ("-m", "edgeroot.secure.spm")
) -> Iterator[World]:
    """A world in a temporary folder that other users may pass through."""
    with tempfile.TemporaryDirectory(prefix="edgeroot-world-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        world = World(folder, allow=allow, manager=manager)
        try:
            world.start(*options)
            yield world
        finally:
            world.stop()
