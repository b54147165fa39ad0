"""Rows about the emulated secure world: the service with keys there, and the partitions by themselves."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

from bench.errors import BenchError
from bench.generator import Load, LoadResult
from bench.measure import CLIENT_UID, OTHER_UID, Bench, Outcome
from bench.services import Running, upstream
from edgeroot.abi.services import CRYPTO, INTERNAL_TRUSTED_STORAGE
from edgeroot.tee.api import TeeError
from edgeroot.tee.transports.emulated import EmulatedTransport

SOFTWARE: Final = 1
TRUSTED_SERVICES: Final = 4
CROSSING_LIMIT_US: Final = 150.0
START_LIMIT_MS: Final = 1500.0
_STORE: Final = "world"
_PROVIDER: Final = '[[provider]]\nprovider_type = "TrustedService"\nkey_info_manager = "sqlite"\nsocket_path = "{}"\n'
_START_TIMEOUT_S: Final = 30.0
_WRITES: Final = 300
_OBJECT_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class World:
    """A running secure world. ``start_s``: from starting its process to the first answered call."""

    socket_path: Path
    start_s: float


@contextmanager
def running(bench: Bench, *, prepare: Callable[[Path], None] | None = None) -> Iterator[World]:
    """A new secure world, on the disk that everything is measured on.

    ``prepare`` is given the state folder, which is not there yet, before anything starts.
    """
    if bench.edgeroot is None:
        raise BenchError("edgeroot is not there to be measured")
    folder = bench.folder / "secure-world"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o755)
    arguments = [sys.executable, "-I", "-m", "edgeroot.secure.spm", "--state", str(folder / "state")]
    arguments += ["--runtime", str(folder / "run")]
    for user in (bench.edgeroot.uid, CLIENT_UID, OTHER_UID, os.geteuid()):
        arguments += ["--allow", str(user)]
    socket_path = folder / "run" / "spm.sock"
    if prepare is not None:
        prepare(folder / "state")
    began = time.monotonic()
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        while not _answers(socket_path):
            if process.poll() is not None or time.monotonic() - began > _START_TIMEOUT_S:
                raise BenchError(f"the secure world did not start:\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.002)
        start_s = time.monotonic() - began
        yield World(socket_path, start_s)
    finally:
        process.terminate()
        process.wait(20)


def _answers(socket_path: Path) -> bool:
    """Whether the crypto partition gives random bytes."""
    try:
        with EmulatedTransport(socket_path, start_timeout_s=0) as transport, transport.open_session(CRYPTO) as session:
            return session.call(0x010C, (8).to_bytes(4, "little"))[0] == 0
    except TeeError:
        return False


def _service(bench: Bench, world: World) -> AbstractContextManager[Running]:
    assert bench.edgeroot is not None
    bench.edgeroot.discard(_STORE)
    return bench.edgeroot(_STORE, providers=_PROVIDER.format(world.socket_path))


def _by(provider: int, clients: int = 8) -> Load:
    return Load("sign", clients=clients, provider=provider, key=f"bench-{provider}")


def _errors(name: str, results: list[LoadResult]) -> tuple[str, ...]:
    errors = [dict(result.errors) for result in results if result.errors or not result.ok]
    return (f"{name}: errors {errors}",) if errors else ()


def signing_against_software(bench: Bench) -> Outcome:
    """Signatures a second through the secure world, over those of the software provider of the same service."""
    pairs = []
    with running(bench) as world, _service(bench, world) as service:
        for number in range(bench.rounds):
            case, reference = bench.run(_by(TRUSTED_SERVICES), service), bench.run(_by(SOFTWARE), service)
            pairs.append((case, reference))
            bench.say(f"round {number + 1}/{bench.rounds}: secure world {case.rate:,.0f}/s, {reference.rate:,.0f}/s")
    return Outcome(
        ours=median(case.rate for case, _ in pairs),
        reference=median(reference.rate for _, reference in pairs),
        reference_name="edgeroot, software provider",
        ratio=median(case.rate / reference.rate for case, reference in pairs),
        rounds=[{"case": asdict(case), "reference": asdict(reference)} for case, reference in pairs],
        faults=_errors("edgeroot", [result for pair in pairs for result in pair]),
    )


def signing_against_upstream(bench: Bench) -> Outcome:
    """Signatures a second through the secure world, over upstream's Mbed Crypto provider in its better tuning."""
    ours: list[LoadResult] = []
    theirs: dict[int, list[LoadResult]] = {0: [], 1: []}
    for number in range(bench.rounds):
        with running(bench) as world, _service(bench, world) as service:
            ours.append(bench.run(_by(TRUSTED_SERVICES), service))
        for idle_sleep_ms, results in theirs.items() if bench.with_upstream else ():
            with upstream(idle_sleep_ms=idle_sleep_ms, folder=bench.folder) as service:
                results.append(bench.run(Load("sign"), service))
        bench.say(f"round {number + 1}/{bench.rounds}: secure world {ours[-1].rate:,.0f}/s")
    best = max(theirs, key=lambda one: median(result.rate for result in theirs[one]) if theirs[one] else 0)
    pairs = list(zip(ours, theirs[best], strict=False))
    return Outcome(
        ours=median(result.rate for result in ours),
        reference=median(reference.rate for _, reference in pairs) if pairs else None,
        reference_name=f"upstream, idle {best} ms",
        ratio=median(case.rate / reference.rate for case, reference in pairs) if pairs else None,
        rounds=[asdict(result) for result in ours],
        faults=_errors("edgeroot", ours),
    )


def crossing(bench: Bench) -> Outcome:
    """Microseconds that a crossing adds to a lone client's median signature, against the limit."""
    added = []
    with running(bench) as world, _service(bench, world) as service:
        for _ in range(bench.rounds):
            inside, outside = bench.run(_by(TRUSTED_SERVICES, 1), service), bench.run(_by(SOFTWARE, 1), service)
            added.append(inside.p50_us - outside.p50_us)
    extra = median(added)
    return Outcome(extra, CROSSING_LIMIT_US, "limit", extra / CROSSING_LIMIT_US, rounds=added)


def storage(bench: Bench) -> Outcome:
    """Microseconds of a durable set and a get of 64 bytes, over a commit of SQLite with synchronous FULL.

    SQLite keeps its rollback journal, as it comes; the notes have the figure for its write-ahead log.
    """
    rounds = []
    data = bytes(_OBJECT_BYTES)
    with (
        running(bench) as world,
        EmulatedTransport(world.socket_path) as transport,
        transport.open_session(INTERNAL_TRUSTED_STORAGE) as session,
    ):
        for _ in range(bench.rounds):
            began = time.perf_counter()
            for number in range(1, _WRITES + 1):
                uid = number.to_bytes(8, "little")
                stored, _ = session.call(0x100, uid + len(data).to_bytes(8, "little") + bytes(4) + data)
                read, _ = session.call(0x101, uid + bytes(8) + len(data).to_bytes(8, "little"))
                if stored or read:
                    raise BenchError(f"storage answered {stored} and {read}")
            ours = (time.perf_counter() - began) / _WRITES * 1e6
            rounds.append({"ours": ours} | {mode: _sqlite(bench, mode) for mode in ("delete", "wal")})
    ratios = [one["ours"] / one["delete"] for one in rounds]
    return Outcome(
        ours=median(one["ours"] for one in rounds),
        reference=median(one["delete"] for one in rounds),
        reference_name="SQLite commit",
        ratio=median(ratios),
        rounds=rounds,
        notes=(f"SQLite with a write-ahead log: {median(one['wal'] for one in rounds):,.0f} µs",),
    )


def _sqlite(bench: Bench, journal_mode: str) -> float:
    path = bench.folder / f"commit-{journal_mode}.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(f"PRAGMA journal_mode = {journal_mode}")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE IF NOT EXISTS object (uid INTEGER PRIMARY KEY, data BLOB)")
        began = time.perf_counter()
        for number in range(_WRITES):
            database.execute("INSERT OR REPLACE INTO object VALUES (?, ?)", (number, bytes(_OBJECT_BYTES)))
        return (time.perf_counter() - began) / _WRITES * 1e6


def start(bench: Bench) -> Outcome:
    """Milliseconds from starting the secure world to its first answer, against the limit."""
    taken_ms = []
    for _ in range(bench.rounds):
        with running(bench) as world:
            taken_ms.append(world.start_s * 1000)
    taken = median(taken_ms)
    return Outcome(taken, START_LIMIT_MS, "limit", taken / START_LIMIT_MS, rounds=taken_ms)


_GENERATE: Final = """
import os, sys
from pathlib import Path
from edgeroot.abi.crypto import OPERATIONS
from edgeroot.abi.crypto_messages import GenerateKeyRequest, KeyIdRequest
from edgeroot.abi.key_attributes import AbiKeyAttributes
from edgeroot.abi.services import CRYPTO
from edgeroot.tee.transports.emulated import EmulatedTransport
user = int(sys.argv[2])
os.setgroups([]); os.setresgid(user, user, user); os.setresuid(user, user, user)
session = EmulatedTransport(Path(sys.argv[1])).open_session(CRYPTO)
asked = AbiKeyAttributes(key_type=0x7001, key_bits=4096, usage=0x1000, algorithm=0x06000209)
print("ready", flush=True)
while True:
    status, key = session.call(0x0101, OPERATIONS[0x0101].request.encode(GenerateKeyRequest(asked)))
    assert status == 0, status
    session.call(0x0102, key)
"""


def beside_key_generation(bench: Bench) -> Outcome:
    """p99 of signing through the secure world while another source makes RSA-4096 keys there, over its quiet p99."""
    pairs = []
    seconds = max(bench.seconds, 2.0)
    with running(bench) as world, _service(bench, world) as service:
        load = replace(_by(TRUSTED_SERVICES), uid=CLIENT_UID)
        for number in range(bench.rounds):
            quiet = bench.run(load, service, seconds=seconds)
            arguments = [sys.executable, "-c", _GENERATE, str(world.socket_path), str(OTHER_UID)]
            others = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(4)]
            try:
                for other in others:
                    assert other.stdout is not None
                    other.stdout.readline()
                beside = bench.run(load, service, seconds=seconds)
                if any(other.poll() is not None for other in others):
                    raise BenchError("the other source stopped generating keys")
            finally:
                for other in others:
                    other.kill()
                    other.wait()
                    assert other.stdout is not None
                    other.stdout.close()
            pairs.append((beside, quiet))
            bench.say(f"round {number + 1}/{bench.rounds}: p99 {beside.p99_us:,.0f} µs, quiet {quiet.p99_us:,.0f} µs")
    return Outcome(
        ours=median(beside.p99_us for beside, _ in pairs),
        reference=median(quiet.p99_us for _, quiet in pairs),
        reference_name="edgeroot, quiet",
        ratio=median(beside.p99_us / quiet.p99_us for beside, quiet in pairs),
        rounds=[{"case": asdict(beside), "reference": asdict(quiet)} for beside, quiet in pairs],
        faults=_errors("edgeroot", [result for pair in pairs for result in pair]),
    )
