"""The row about a verifier with many devices, under half of the load that it can bear."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.errors import BenchError
from bench.fleet import PLAYED_DEVICES, endorse
from bench.generator import ROOT
from bench.measure import Bench, Outcome
from bench.verifier_client import Report

CONNECTIONS: Final = 200
# Enough for the verifier to be busy all the time, and few enough for a short run to see many iterations of each.
CONNECTIONS_AT_CAPACITY: Final = 16
SHARE_OF_CAPACITY: Final = 0.5
MEMORY_GROWTH_LIMIT: Final = 0.1
# A rate of requests for each address, far above what can be reached.
_RATE_THAT_LIMITS_NOTHING: Final = "1000000"
_SAMPLE_S: Final = 0.1
_STOP_TIMEOUT_S: Final = 20.0


@contextmanager
def serving(folder: Path, *options: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """``edgeroot verifier serve`` over the store in the folder, and its port."""
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "sign.pem").write_bytes(pem)
    command = [sys.executable, "-I", "-m", "edgeroot", "verifier", "serve", "--port", str(port)]
    command += ["--store", str(folder / "fleet.db"), "--sign", str(folder / "sign.pem")]
    command += ["--rate", _RATE_THAT_LIMITS_NOTHING, *options]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line:
            raise BenchError(f"the verifier did not start:\n{(folder / 'log').read_text()[-2000:]}")
        yield server, int(line.rpartition(":")[2])
    finally:
        server.terminate()
        try:
            server.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        if server.stdout is not None:
            server.stdout.close()


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Devices:
    """Who drives the verifier: a process of its own for each run. ``resident_mb`` is the verifier's meanwhile."""

    def __init__(self, server: subprocess.Popen[str], port: int, devices: int) -> None:
        self._server = server
        self._fixed = ["--port", str(port), "--devices", str(min(PLAYED_DEVICES, devices))]
        self.resident_mb: list[float] = []

    def drive(self, *, connections: int, seconds: float, warm_up_s: float, rate: float = 0.0) -> Report:
        """BenchError if either process ends before its time."""
        command = [sys.executable, "-m", "bench.verifier_client", *self._fixed, "--connections", str(connections)]
        command += ["--seconds", str(seconds), "--warm-up-s", str(warm_up_s), "--rate", str(rate)]
        self.resident_mb = []
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
            try:
                while client.poll() is None:
                    if self._server.poll() is not None:
                        raise BenchError(f"the verifier ended with code {self._server.returncode}")
                    self.resident_mb.append(_resident_mb(self._server.pid))
                    time.sleep(_SAMPLE_S)
                said, complaint = client.communicate()
            finally:
                client.kill()
        if client.returncode:
            raise BenchError(f"the verifier's load generator failed: {complaint.strip()[-500:]}")
        return Report(**json.loads(said))


def growth(resident_mb: Sequence[float]) -> float:
    """By which share the last third's median exceeds the first's; 0 for fewer than three samples."""
    third = len(resident_mb) // 3
    return median(resident_mb[-third:]) / median(resident_mb[:third]) - 1 if third else 0.0


def load(bench: Bench) -> Outcome:
    """p99 of judging a device at half of the verifier's capacity, over the quiet median of a single connection.

    The capacity is that of a closed loop. Latencies count from when an iteration is due.
    """
    folder = bench.folder / "verifier"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    began = time.monotonic()
    endorse(folder / "fleet.db", bench.many_keys)
    bench.say(f"endorsed {bench.many_keys} devices in {time.monotonic() - began:.0f} s")
    rounds: list[dict[str, Report]] = []
    resident_mb: list[float] = []
    with serving(folder) as (server, port):
        devices = Devices(server, port, bench.many_keys)
        for number in range(bench.rounds):
            warm_up_s = bench.warm_up_s
            quiet = devices.drive(connections=1, seconds=2 * bench.seconds, warm_up_s=warm_up_s)
            full = devices.drive(connections=CONNECTIONS_AT_CAPACITY, seconds=2 * bench.seconds, warm_up_s=warm_up_s)
            if not quiet.ok or not full.ok:
                raise BenchError(f"the verifier judged nobody: {quiet.errors} {full.errors}")
            rate = SHARE_OF_CAPACITY * full.rate
            half = devices.drive(connections=CONNECTIONS, seconds=10 * bench.seconds, warm_up_s=warm_up_s, rate=rate)
            resident_mb += devices.resident_mb
            rounds.append({"quiet": quiet, "full": full, "half": half})
            bench.say(
                f"round {number + 1}/{bench.rounds}: capacity {full.rate:,.0f}/s; at {rate:,.0f}/s p99 "
                f"{half.p99_us / 1000:,.1f} ms, quiet p50 {quiet.p50_us / 1000:,.1f} ms"
            )
    return _outcome(rounds, resident_mb)


def _outcome(rounds: Sequence[dict[str, Report]], resident_mb: Sequence[float]) -> Outcome:
    errors = [f"{name}: errors {one.errors}" for each in rounds for name, one in each.items() if one.errors]
    errors += ["nothing was judged under load" for each in rounds if not each["half"].ok]
    grown = growth(resident_mb)
    if grown > MEMORY_GROWTH_LIMIT:
        errors.append(f"the verifier's resident memory grew by {grown:.0%}")
    halves = [each["half"] for each in rounds]
    fulls = [each["full"] for each in rounds]
    capacity, offered = median(one.rate for one in fulls), f"{SHARE_OF_CAPACITY:.0%}"
    p50_ms, worst_ms = median(one.p50_us for one in halves) / 1000, max(one.max_us for one in halves) / 1000
    busy, busiest = (median(one.cpu_s / one.seconds for one in runs) for runs in (halves, fulls))
    making = median(one.making_s / one.seconds for one in halves)
    return Outcome(
        ours=median(one.p99_us for one in halves) / 1000,
        reference=median(each["quiet"].p50_us for each in rounds) / 1000,
        reference_name="one connection, quiet, p50",
        ratio=median(each["half"].p99_us / each["quiet"].p50_us for each in rounds),
        rounds=[{name: asdict(one) for name, one in each.items()} for each in rounds],
        notes=(
            f"capacity {capacity:,.0f}/s; at {offered} of it p50 {p50_ms:,.1f} ms, worst {worst_ms:,.1f} ms",
            f"load generator: {busy:.0%} of a core ({making:.0%} for the devices' tokens), {busiest:.0%} at capacity",
            f"resident memory {median(resident_mb):.0f} MB, grown by {grown:.1%}",
        ),
        faults=tuple(errors),
    )
