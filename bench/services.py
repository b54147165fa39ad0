"""The services under load: edgeroot with a store of its own, and upstream's service in one of its tunings."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.errors import BenchError
from peers import PeersUnavailableError, UpstreamService

# A Ping without body and credentials (Parsec book, "Wire protocol": the fixed common header).
_PING: Final = struct.pack("<IHBBHBQBBBIHIHBB", 0x5EC0A710, 30, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0)
_START_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 15.0
_POLL_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class Running:
    """A service that answers."""

    socket_path: Path
    pid: int
    start_s: float  # from starting the process to the first answered ping

    def processes(self) -> list[int]:
        """The service's process and all that descend from it."""
        found = [self.pid]
        for pid in found:
            try:
                tasks = list(Path(f"/proc/{pid}/task").iterdir())
                found += [int(child) for task in tasks for child in (task / "children").read_text().split()]
            except OSError:
                continue  # it has ended meanwhile
        return found

    def cpu_s(self) -> float:
        """Processor time that all its processes have used so far."""
        ticks = 0
        for pid in self.processes():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def ping(socket_path: Path, *, timeout_s: float) -> bool:
    """Whether the service answers a ping with success now."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(socket_path))
            connection.sendall(_PING)
            answer = connection.recv(36)
        except OSError:
            return False
    return len(answer) == len(_PING) and answer[32:34] == b"\0\0"


@contextmanager
def upstream(*, idle_sleep_ms: int | None, folder: Path, providers: str = "", token: bool = False) -> Iterator[Running]:
    """Upstream's service with this ``idle_listener_sleep_duration`` (None: its default), its keys below ``folder``.

    ``providers`` are further tables; with ``token`` it has a SoftHSM token, too.
    """
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    began = time.monotonic()
    try:
        with UpstreamService(idle_sleep_ms=idle_sleep_ms, providers=providers, token=token) as service:
            tempfile.tempdir = before
            while not ping(service.socket_path, timeout_s=1):
                if time.monotonic() - began > _START_TIMEOUT_S:
                    raise BenchError("upstream's service does not answer")
                time.sleep(_POLL_S)
            yield Running(service.socket_path, service.pid, time.monotonic() - began)
    except PeersUnavailableError as error:
        raise BenchError(f"upstream's service: {error}") from error
    finally:
        tempfile.tempdir = before


class Edgeroot:
    """Our service in its shipped default configuration, with named stores below one folder.

    Started by root it runs as ``uid``, a user without rights, and as nice as its systemd unit makes it; otherwise as
    the caller.
    """

    def __init__(self, command: list[str], *, folder: Path, uid: int) -> None:
        self._command = command
        self._folder = folder
        self.uid = uid
        self._as_user = ["setpriv", "--pdeathsig", "KILL", "--"]
        self.notes: list[str] = []
        if os.geteuid() == 0:
            self._as_user = self._change_of_user()

    def _change_of_user(self) -> list[str]:
        user = ["nice", "-n", "-10", "setpriv", "--reuid", str(self.uid), "--regid", str(self.uid), "--clear-groups"]
        end = ["--pdeathsig", "KILL", "--"]
        reading = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
        complaint = ""
        for extra in ([], reading):
            tried = subprocess.run([*user, *extra, *end, *self._command, "--help"], capture_output=True, check=False)
            if tried.returncode == 0:
                if extra:
                    self.notes.append(
                        f"user {self.uid} can't read the Python that runs edgeroot, so the service has the one "
                        "capability to read it (dac_read_search)"
                    )
                return [*user, *extra, *end]
            complaint = tried.stderr.decode(errors="replace").strip()
        raise BenchError(f"user {self.uid} can't run {' '.join(self._command)}: {complaint}")

    def _store(self, name: str, providers: str) -> Path:
        place = self._folder / name
        if not place.exists():
            place.mkdir(mode=0o755)
            if os.geteuid() == 0:
                os.chown(place, self.uid, self.uid)
            (place / "config.toml").write_text(
                '[core_settings]\n[[listener]]\nlistener_type = "DomainSocket"\ntimeout = 200\n'
                f'socket_path = "{place}/parsec.sock"\n[[authenticator]]\nauth_type = "UnixPeerCredentials"\n'
                f'[[key_manager]]\nname = "sqlite"\nmanager_type = "SQLite"\nsqlite_db_path = "{place}/keys.sqlite3"\n'
                '[[provider]]\nprovider_type = "MbedCrypto"\nkey_info_manager = "sqlite"\n' + providers
            )
        return place

    def discard(self, store: str) -> None:
        """Forget a store and its keys. The service that uses it must not run."""
        shutil.rmtree(self._folder / store, ignore_errors=True)

    @contextmanager
    def __call__(
        self, store: str = "main", *, providers: str = "", environment: Mapping[str, str] | None = None
    ) -> Iterator[Running]:
        """The service on this store, made empty if it is new. Raises BenchError if it does not get to answer.

        A new store has these further tables of ``providers``, whose key manager is ``sqlite``.
        """
        place = self._store(store, providers)
        socket_path = place / "parsec.sock"
        socket_path.unlink(missing_ok=True)
        with (place / "log").open("ab") as log:
            began = time.monotonic()
            process = subprocess.Popen(
                [*self._as_user, *self._command, "serve", "-c", str(place / "config.toml")],
                env={
                    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
                    "HOME": str(place),
                    "LC_ALL": "C.UTF-8",
                    **(environment or {}),
                },
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            while not (socket_path.exists() and ping(socket_path, timeout_s=5)):
                if process.poll() is not None or time.monotonic() - began > _START_TIMEOUT_S:
                    log_end = (place / "log").read_text(errors="replace")[-2000:].strip()
                    raise BenchError(f"edgeroot did not get to answer (exit code {process.returncode}):\n{log_end}")
                time.sleep(_POLL_S)
            yield Running(socket_path, process.pid, time.monotonic() - began)
        finally:
            self._stop(process)

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._note(f"edgeroot had to be killed: it did not stop within {_STOP_TIMEOUT_S:.0f} s")
        try:  # its own session, so nobody else is in the group
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        else:
            if process.returncode is not None:
                self._note("edgeroot left processes behind when it stopped")
        process.wait()

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
