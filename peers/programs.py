"""Running programs of the peers' root: ``parsec-tool`` against any service, and upstream's service itself."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from peers.root import PeersRoot, PeersUnavailableError

# Where a program in the root finds the folder that was shared with it; each has its own, in its own namespace.
SHARED: Final = "/mnt"
_START_TIMEOUT_S: Final = 20.0
_STOP_TIMEOUT_S: Final = 10.0
_PIN: Final = "123456"


def _command(root: PeersRoot, shared: Path, uid: int, gid: int, program: list[str]) -> list[str]:
    """A command that enters the root as this user, with ``shared`` at SHARED, and becomes the program.

    Everything on the way execs, so the process that runs is the program itself. It dies with the thread that started
    it (setpriv sets that last, for a change of user would clear it).
    """
    place = shlex.quote(str(root.path))
    script = (
        f"mount -t proc proc {place}/proc && mount --rbind /dev {place}/dev"
        f" && mount --bind {shlex.quote(str(shared))} {place}{SHARED}"
        f" && exec chroot {place} setpriv --reuid {uid} --regid {gid} --clear-groups --pdeathsig KILL -- "
        + shlex.join(program)
    )
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "LC_ALL": "C.UTF-8", **extra}


def run_in_root(
    program: list[str],
    *,
    shared: Path,
    uid: int = 0,
    gid: int | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout_s: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """Run a program of the peers' root to its end; ``shared`` is a folder that it sees as ``/mnt``.

    The exit code is the caller's to judge. Raises PeersUnavailableError where the root can't be used.
    """
    command = _command(PeersRoot.ready(), shared.resolve(), uid, uid if gid is None else gid, program)
    return subprocess.run(
        command,
        env=_environment(env or {}),
        capture_output=True,
        text=True,
        input="" if stdin is None else stdin,
        timeout=timeout_s,
        check=False,
    )


def run_parsec_tool(
    socket_path: Path, *args: str, uid: int = 0, timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run the genuine ``parsec-tool`` as user ``uid`` against the service that listens on ``socket_path``.

    The socket's folder is shared with the tool as ``/mnt``, which is also how files get in and out; as for any client,
    folder and socket must be open to that user.
    """
    endpoint = {"PARSEC_SERVICE_ENDPOINT": f"unix:{SHARED}/{socket_path.name}"}
    return run_in_root(["parsec-tool", *args], shared=socket_path.parent, uid=uid, env=endpoint, timeout_s=timeout_s)


class UpstreamService:
    """Upstream's own service (Mbed Crypto, SQLite, Unix peer credentials) on a socket and keys of its own.

    ``idle_sleep_ms`` is its ``idle_listener_sleep_duration``; None leaves upstream's default of 10. ``settings`` is
    TOML appended to its ``[core_settings]``, ``providers`` are further tables, whose key manager is ``store``. With
    ``token`` it has a SoftHSM token of its own, as a PKCS#11 provider. A context manager: inside, the service answers;
    afterwards it and its keys are gone.
    """

    def __init__(
        self, *, idle_sleep_ms: int | None = None, settings: str = "", providers: str = "", token: bool = False
    ) -> None:
        self._idle_sleep_ms = idle_sleep_ms
        self._settings = settings
        self._providers = providers
        self._token = token
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket_path(self) -> Path:
        """Where clients outside of the root find it; open to every user."""
        return self.folder / "parsec.sock"

    @property
    def folder(self) -> Path:
        """Its working folder with configuration, log, store and keys."""
        if self._folder is None:
            raise RuntimeError("the upstream service is not running")
        return self._folder

    @property
    def pid(self) -> int:
        """Its one process."""
        if self._process is None:
            raise RuntimeError("the upstream service is not running")
        return self._process.pid

    def log(self) -> str:
        """What it has printed so far."""
        return (self.folder / "log").read_text(errors="replace")

    def __enter__(self) -> Self:
        root = PeersRoot.ready()
        uid, gid = root.user("parsec")
        self._folder = Path(tempfile.mkdtemp(prefix="upstream-"))
        try:
            self._folder.chmod(0o755)
            os.chown(self._folder, uid, gid)
            token = self._make_token(uid, gid) if self._token else ""
            (self._folder / "config.toml").write_text(self._config() + self._providers + token)
            self._start(root, uid, gid)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _config(self) -> str:
        idle = "" if self._idle_sleep_ms is None else f"idle_listener_sleep_duration = {self._idle_sleep_ms}\n"
        return (
            f'[core_settings]\nlog_level = "warn"\nallow_deprecated = true\n{idle}{self._settings}\n'
            f'[listener]\nlistener_type = "DomainSocket"\ntimeout = 200\nsocket_path = "{SHARED}/parsec.sock"\n'
            '[authenticator]\nauth_type = "UnixPeerCredentials"\n'
            f'[[key_manager]]\nname = "store"\nmanager_type = "SQLite"\nsqlite_db_path = "{SHARED}/store.sqlite3"\n'
            '[[provider]]\nprovider_type = "MbedCrypto"\nkey_info_manager = "store"\n'
        )

    def _make_token(self, uid: int, gid: int) -> str:
        """Make a SoftHSM token in the working folder; the table of its provider."""
        (self.folder / "tokens").mkdir()
        os.chown(self.folder / "tokens", uid, gid)
        (self.folder / "softhsm2.conf").write_text(f"directories.tokendir = {SHARED}/tokens\nlog.level = ERROR\n")

        def util(*arguments: str) -> str:
            program = ["softhsm2-util", *arguments]
            done = run_in_root(program, shared=self.folder, uid=uid, gid=gid, env=self._hsm)
            if done.returncode != 0:
                raise PeersUnavailableError(f"SoftHSM made no token: {done.stdout}{done.stderr}")
            return done.stdout

        util("--init-token", "--free", "--label", "token", "--pin", _PIN, "--so-pin", _PIN)
        serial = next(line.split()[-1] for line in util("--show-slots").splitlines() if "Serial number" in line)
        return (
            '[[provider]]\nprovider_type = "Pkcs11"\nkey_info_manager = "store"\n'
            f'library_path = "/usr/lib/softhsm/libsofthsm2.so"\nserial_number = "{serial}"\nuser_pin = "{_PIN}"\n'
        )

    @property
    def _hsm(self) -> dict[str, str]:
        return {"SOFTHSM2_CONF": f"{SHARED}/softhsm2.conf"} if self._token else {}

    def _start(self, root: PeersRoot, uid: int, gid: int) -> None:
        # Upstream keeps Mbed Crypto's keys in its working folder, and tells systemd's way when it is ready.
        program = ["sh", "-c", f"cd {SHARED} && exec /usr/bin/parsec -c {SHARED}/config.toml"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify_path = self.folder / "notify.sock"
            notify.bind(str(notify_path))
            os.chown(notify_path, uid, gid)
            with (self.folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    _command(root, self.folder, uid, gid, program),
                    env=_environment({"NOTIFY_SOCKET": f"{SHARED}/notify.sock", **self._hsm}),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            ended = os.pidfd_open(self._process.pid)
            try:
                poller = select.poll()
                poller.register(notify, select.POLLIN)
                poller.register(ended, select.POLLIN)
                events = {descriptor for descriptor, _ in poller.poll(_START_TIMEOUT_S * 1000)}
            finally:
                os.close(ended)
            if notify.fileno() not in events:
                raise PeersUnavailableError(f"upstream's service did not get ready:\n{self.log()}")

    def _stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
