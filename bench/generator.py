"""The load generator: building `load.c`, running it to its end or in the background, and reading what it reports."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.errors import BenchError

ROOT: Final = Path(__file__).resolve().parent.parent
_SOURCE: Final = Path(__file__).with_name("load.c")
_FLAGS: Final = ("-O2", "-Wall", "-Wextra", "-pthread")
_STOP_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one run of the generator saw. Latencies are of whole iterations, in microseconds."""

    op: str
    clients: int
    requests_per_connection: int
    seconds: float
    ok: int
    rate: float  # successful iterations a second
    p50_us: float
    p95_us: float
    p99_us: float
    max_us: float
    total: int  # iterations including warm-up and drain
    cpu_seconds: float  # the generator's own
    reconnects: int
    backlog_full: int
    errors: Mapping[str, int]  # status or kind of failure -> count

    @property
    def failed(self) -> int:
        return sum(self.errors.values())


@dataclass(frozen=True, slots=True)
class Load:
    """One load to put on a service. ``clients`` run at the same time, as user ``uid`` (None: this one).

    Each is a thread of its own unless ``threads`` says otherwise: clients are separate programs in reality.
    """

    op: str
    clients: int = 8
    threads: int = 0  # 0: one for each client
    requests_per_connection: int = 1
    count: int | None = None
    uid: int | None = None
    auth: str = "unix"  # or "token:" and a token
    key: str = "bench"
    provider: int = 1
    timeout_ms: int = 30_000
    drain_ms: int = 10_000

    def arguments(self, socket_path: Path, *, seconds: float, warm_up_s: float) -> list[str]:
        """The generator's arguments; ``seconds`` 0 means until it is stopped."""
        arguments = ["--socket", str(socket_path), "--op", self.op, "--clients", str(self.clients), "--keep"]
        arguments += ["--threads", str(self.threads)]
        arguments += ["--requests", str(self.requests_per_connection), "--key", self.key]
        arguments += ["--provider", str(self.provider), "--auth", self.auth]
        arguments += ["--timeout", str(self.timeout_ms), "--drain", str(self.drain_ms)]
        arguments += ["--seconds", str(seconds), "--warm-up", str(warm_up_s)]
        if self.count is not None:
            arguments += ["--count", str(self.count)]
        if self.uid is not None:
            arguments += ["--uid", str(self.uid)]
        return arguments


class Generator:
    """The compiled generator. Building it takes a C compiler the first time, or after `load.c` has changed."""

    def __init__(self) -> None:
        self.program = _build()

    def run(self, load: Load, socket_path: Path, *, seconds: float, warm_up_s: float) -> LoadResult:
        """Put the load on the service and wait for the result. Raises BenchError if there is none."""
        command = [str(self.program), *load.arguments(socket_path, seconds=seconds, warm_up_s=warm_up_s)]
        bulk = load.op in {"mkkeys", "rmkeys"}
        limit_s = None if bulk else seconds + warm_up_s + load.drain_ms / 1000 + 120
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"the load {load.op} did not end within {limit_s:.0f} s") from error
        if done.returncode != 0:
            raise BenchError(f"the load {load.op} failed: {done.stderr.decode(errors='replace').strip()}")
        return LoadResult(**json.loads(done.stdout))

    @contextmanager
    def background(self, load: Load, socket_path: Path) -> Iterator[dict[str, object]]:
        """Keep the load on the service inside the block; afterwards the yielded mapping holds what it reports."""
        command = [str(self.program), *load.arguments(socket_path, seconds=0, warm_up_s=0)]
        seen: dict[str, object] = {}
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        try:
            yield seen
            if process.poll() is not None:
                _, complaint = process.communicate()
                raise BenchError(f"the load {load.op} ended early: {complaint.decode(errors='replace').strip()}")
            process.send_signal(signal.SIGTERM)
            try:
                output, _ = process.communicate(timeout=load.drain_ms / 1000 + _STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                raise BenchError(f"the load {load.op} did not stop") from error
            if output:
                seen.update(json.loads(output))
        finally:
            process.kill()
            process.wait()


def _build() -> Path:
    name = f"load-{hashlib.sha256(_SOURCE.read_bytes() + ' '.join(_FLAGS).encode()).hexdigest()[:16]}"
    folders = [ROOT / "build" / "bench", _user_cache() / "edgeroot-bench"]
    for folder in folders:
        if os.access(folder / name, os.X_OK):
            return folder / name
    writable = next(filter(_writable, folders), None)
    if writable is None:
        raise BenchError(f"no place for the load generator: can't write to {folders[0]} or {folders[1]}")
    program = writable / name
    partial = program.with_suffix(f".{os.getpid()}")
    built = subprocess.run(
        [_compiler(), *_FLAGS, "-o", str(partial), str(_SOURCE)], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        raise BenchError(f"{_SOURCE.name} does not compile:\n{built.stderr}")
    partial.rename(program)
    return program


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _compiler() -> str:
    found = shutil.which("cc") or shutil.which("gcc")
    if found is None:
        installed = subprocess.run([ROOT / "scripts" / "debian_packages.sh", "gcc", "libc6-dev"], check=False)
        found = shutil.which("cc") or shutil.which("gcc")
        if installed.returncode != 0 or found is None:
            raise BenchError("no C compiler for the load generator: as root, apt-get install gcc libc6-dev")
    return found
