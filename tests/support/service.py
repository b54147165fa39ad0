"""A real service for tests: its own folder, its own socket, started and stopped like any other."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from edgeroot.client import Client

READY = "Parsec is ready."
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 30.0
_STEP_S = 0.01

CONFIG = """\
[core_settings]
allow_root = true
log_level = "info"
{core}
{listener}
{authenticator}
[[key_manager]]
name = "kim"
manager_type = "SQLite"
sqlite_db_path = "{folder}/store/kim.sqlite3"
{provider}
{extra}
"""
SOFTWARE_PROVIDER = """\
[[provider]]
provider_type = "MbedCrypto"
key_info_manager = "kim"
"""
LISTENER = """\
[listener]
listener_type = "DomainSocket"
timeout = {timeout_ms}
socket_path = "{folder}/run/parsec.sock"
{listener}
"""
UNIX = '[authenticator]\nauth_type = "UnixPeerCredentials"\n'


class Process(NamedTuple):
    pid: int
    name: str
    parent: int
    group: int


def processes() -> Iterator[Process]:
    """Every process that runs; those that have ended and are not yet reaped by their parent have no descriptors."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = entry.read_text()
        except OSError:
            continue
        name, rest = text[text.index("(") + 1 :].rsplit(")", 1)
        state, parent, group = rest.split()[:3]
        if state != "Z":
            yield Process(int(entry.parent.name), name, int(parent), int(group))


class Service:
    """A service process. ``folder`` holds ``config.toml``, ``log``, ``run/parsec.sock`` and ``store/``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket_path = folder / "run" / "parsec.sock"
        self.store_path = folder / "store" / "kim.sqlite3.edgeroot"
        self.config_path = folder / "config.toml"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"unix:{self.socket_path}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def client(self, **options: object) -> Client:
        return Client(self.endpoint, **options)  # type: ignore[arg-type] # the options are the client's own

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(
        self,
        *,
        wait: bool = True,
        launcher: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it, and wait for its word that it is ready; AssertionError with its log if it ends instead.

        ``launcher`` is a command that becomes the one behind it.
        """
        with (self.folder / "log").open("ab") as log:
            begun = log.tell()
            self.process = subprocess.Popen(
                [*launcher, sys.executable, "-m", "edgeroot", "serve", "-c", str(self.config_path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=pass_fds,
                env={**os.environ, **(environment or {})},
            )
        if wait:
            self.wait_for_log(READY, after=begun)

    def wait_for_log(self, text: str, *, after: int = 0, timeout_s: float = _START_TIMEOUT_S) -> None:
        deadline_s = time.monotonic() + timeout_s
        while text.encode() not in (self.folder / "log").read_bytes()[after:]:
            assert self.process is not None
            assert self.process.poll() is None, f"the service ended:\n{self.log()}"
            assert time.monotonic() < deadline_s, f"no {text!r} in time:\n{self.log()}"
            time.sleep(_STEP_S)

    def children(self, name: str = "") -> list[int]:
        """The process ids of the service's children whose name ends so: ``worker``, ``writer``, ``helper``."""
        return sorted(one.pid for one in processes() if one.parent == self.pid and one.name.endswith(name))

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(_STOP_TIMEOUT_S)

    def end(self) -> None:
        """Ask it to end, and make it end if it does not."""
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """``kill -9`` of all its processes at once; returns when none is left."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_STOP_TIMEOUT_S)
        deadline_s = time.monotonic() + _STOP_TIMEOUT_S
        while any(one.group == self.process.pid for one in processes()):
            assert time.monotonic() < deadline_s, "a killed service's processes do not go away"
            time.sleep(_STEP_S)


@contextmanager
def running_service(
    *,
    core: str = "",
    listener: str = "",
    authenticator: str = UNIX,
    provider: str = SOFTWARE_PROVIDER,
    extra: str = "",
    timeout_ms: int = 1000,
    start: bool = True,
) -> Iterator[Service]:
    """A service with these lines in its configuration, in a folder of its own that every user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="edgeroot-test-"))
    folder.chmod(0o755)
    (folder / "run").mkdir()
    (folder / "log").touch()
    service = Service(folder)
    table = LISTENER.format(folder=folder, listener=listener, timeout_ms=timeout_ms)
    service.config_path.write_text(
        CONFIG.format(
            core=core, listener=table, authenticator=authenticator, folder=folder, provider=provider, extra=extra
        )
    )
    try:
        if start:
            service.start()
        yield service
    finally:
        if service.process is not None and service.process.poll() is None:
            service.end()
        shutil.rmtree(folder, ignore_errors=True)
