"""The row about an outage: all agents of a large fleet come back within a minute, and so does the verifier.

It was away while the first of them ask, so some wait and try again; the others ask at once. All of it takes its real
time, six minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.agents_client import Node
from bench.errors import BenchError
from bench.fleet import PLAYED_DEVICES, endorse, instance_id
from bench.generator import ROOT
from bench.measure import Bench, Outcome
from bench.verifier_load import serving

WITHIN_S: Final = 60.0
"""So long their return takes."""
AWAY_S: Final = 20.0
"""So long the verifier is still away then."""
BACK_LIMIT_S: Final = 300.0
"""Until then everybody has a result, and all is as before."""
WATCHED_S: Final = 360.0
BUSIEST_LIMIT: Final = 0.1
STEADY_LIMIT: Final = 0.006
"""Attempts in a second, for each agent: all in one second are 1, and everybody in turn in ten minutes 0.0017."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """``back_s``: when the last agent had its first result; None if one has none. ``patience_s``: the longest wait.

    ``busiest``: the most attempts in a second since the verifier was back, and ``steady`` after the time allowed.
    """

    agents: int
    back_s: float | None
    patience_s: float
    busiest: int
    busiest_at_s: int
    steady: int
    results: int
    failures: Mapping[str, int]
    faults: tuple[str, ...]


def summary(nodes: Sequence[Node], accepted: Mapping[int, int]) -> Return:
    """What came of it. ``accepted``: how many results the verifier has kept of which agent."""
    seconds = Counter(int(at_s) for node in nodes for at_s in node.attempts_s)
    failures = Counter[str]()
    for node in nodes:
        failures.update(node.failures)
    waits_s = [node.results[0][0] - node.returned_s for node in nodes if node.results]
    back_s = max(node.results[0][0] for node in nodes if node.results) if waits_s else None
    busiest, busiest_at_s = _most(seconds, AWAY_S, WATCHED_S)
    steady, _ = _most(seconds, BACK_LIMIT_S, WATCHED_S)
    faults = []
    if missing := len(nodes) - len(waits_s):
        faults.append(f"{missing} agents have no result")
    if lost := [node.number for node in nodes if accepted.get(node.number, 0) != len(node.results)]:
        faults.append(f"{len(lost)} agents know of other results than the verifier")
    if doubted := sum(status != "affirming" for node in nodes for _, status in node.results):
        faults.append(f"{doubted} results do not affirm")
    if busiest > BUSIEST_LIMIT * len(nodes):
        faults.append(f"{busiest} asked in one second")
    if steady > STEADY_LIMIT * len(nodes):
        faults.append(f"after {BACK_LIMIT_S:.0f} s still {steady} asked in one second")
    return Return(
        agents=len(nodes),
        back_s=None if missing else back_s,
        patience_s=max(waits_s, default=0.0),
        busiest=busiest,
        busiest_at_s=busiest_at_s,
        steady=steady,
        results=sum(len(node.results) for node in nodes),
        failures=failures,
        faults=tuple(faults),
    )


def _most(seconds: Mapping[int, int], begin_s: float, end_s: float) -> tuple[int, int]:
    """How many in the busiest second, and which it was."""
    return max(((count, second) for second, count in seconds.items() if begin_s <= second < end_s), default=(0, 0))


def measure(bench: Bench) -> Outcome:
    """Seconds until the last agent has a result, over the time allowed; whatever else is promised makes faults."""
    agents = min(PLAYED_DEVICES, bench.many_keys // 20)
    folder = bench.folder / "agents"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    endorse(folder / "fleet.db", agents)
    tls = _make_certificate(folder)
    with serving(folder, *tls) as (_, port):
        bench.say(f"{agents} agents are endorsed; now the verifier goes away")
    command = [sys.executable, "-m", "bench.agents_client", "--url", f"https://127.0.0.1:{port}"]
    command += ["--ca-path", str(folder / "certificate.pem"), "--agents", str(agents)]
    command += ["--within-s", str(WITHIN_S), "--seconds", str(WATCHED_S)]
    environment = {**os.environ, "KUBECONFIG": str(folder / "none")}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as client:
        try:
            assert client.stdout is not None
            client.stdout.readline()
            time.sleep(AWAY_S)
            with serving(folder, *tls, port=port) as (server, _):
                said, _ = client.communicate()
                used_s = _cpu_s(server.pid)
        finally:
            client.kill()
    if client.returncode:
        raise BenchError("the agents failed")
    nodes = [Node(**one) for one in json.loads(said)]
    found = summary(nodes, _accepted(folder / "fleet.db", range(agents)))
    return _outcome(found, used_s)


def _outcome(found: Return, used_s: float) -> Outcome:
    tried = ", ".join(f"{count} × {words}" for words, count in sorted(found.failures.items())) or "none"
    return Outcome(
        ours=found.back_s,
        reference=BACK_LIMIT_S,
        reference_name="the time allowed",
        ratio=None if found.back_s is None else found.back_s / BACK_LIMIT_S,
        rounds=[{"failures": dict(found.failures), "results": found.results, "patience_s": found.patience_s}],
        notes=(
            f"{found.agents} agents within {WITHIN_S:.0f} s, the verifier after {AWAY_S:.0f} s",
            f"{found.results} results; longest wait of one {found.patience_s:.0f} s",
            f"busiest second: the {found.busiest_at_s}th with {found.busiest}; at the end {found.steady}",
            f"verifier: {used_s:.0f} s of processor time",
            f"tried in vain: {tried}",
        ),
        faults=found.faults,
    )


def _accepted(store: Path, numbers: Iterable[int]) -> dict[int, int]:
    """From the verifier's own store, once it has ended."""
    with closing(sqlite3.connect(store)) as connection:
        kept = dict(connection.execute("SELECT instance_id, COUNT(*) FROM result GROUP BY instance_id"))
    return {number: kept.get(instance_id(number), 0) for number in numbers}


def _cpu_s(pid: int) -> float:
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def _make_certificate(folder: Path) -> tuple[str, ...]:
    """For this machine; the verifier's options."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "verifier")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    made = builder.add_extension(address, False).sign(key, hashes.SHA256())
    certificate, private = folder / "certificate.pem", folder / "tls.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return ("--tls-certificate", str(certificate), "--tls-key", str(private))
