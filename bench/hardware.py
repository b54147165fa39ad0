"""Rows about keys in a TPM and in a PKCS#11 token: ours and upstream's service in turn over swtpm and SoftHSM."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.errors import BenchError
from bench.generator import Load, LoadResult
from bench.measure import OTHER_UID, Bench, Outcome, disturbed
from bench.services import Running, upstream

SOFTWARE: Final = 1
PKCS11: Final = 2
TPM: Final = 3
SLOW_COMMAND_S: Final = 0.05
QUEUE: Final = 64
_STORE: Final = "hardware"
_MODULE: Final = Path("/usr/lib/softhsm/libsofthsm2.so")
_PIN: Final = "123456"
_START_S: Final = 10.0
_RECEIVE_BYTES: Final = 1 << 16
_TPM_PROVIDER: Final = '[[provider]]\nprovider_type = "Tpm"\nkey_info_manager = "{}"\ntcti = "{}"\n'
_TOKEN_PROVIDER: Final = (
    '[[provider]]\nprovider_type = "Pkcs11"\nkey_info_manager = "sqlite"\nlibrary_path = "{}"\n'
    'token_label = "bench"\nuser_pin = "{}"\n'
)
Start = Callable[[], AbstractContextManager[Running]]


@dataclass(frozen=True, slots=True)
class _Measured:
    result: LoadResult
    cpu_us: float  # of the service's processes, a request


@contextmanager
def _swtpm(folder: Path) -> Iterator[int]:
    """A TPM in software; the port of its commands."""
    if shutil.which("swtpm") is None:
        raise BenchError("swtpm is not installed")
    state = folder / "swtpm"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir()
    port = _two_free_ports()
    command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--flags", "not-need-init,startup-clear"]
    command += ["--server", f"type=tcp,port={port}", "--ctrl", f"type=tcp,port={port + 1}"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_s = time.monotonic() + _START_S
        while not _listens(port + 1):
            if process.poll() is not None or time.monotonic() > until_s:
                raise BenchError("swtpm did not start")
            time.sleep(0.01)
        yield port
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _two_free_ports() -> int:
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


class _SlowTpm:
    """Stands before a TPM and holds back each of its answers, as a chip on a slow bus does."""

    def __init__(self, port: int) -> None:
        self.port = _two_free_ports()
        for offset, delay_s in ((0, SLOW_COMMAND_S), (1, 0.0)):
            listener = socket.create_server(("127.0.0.1", self.port + offset))
            threading.Thread(target=self._serve, args=(listener, port + offset, delay_s), daemon=True).start()

    def _serve(self, listener: socket.socket, port: int, delay_s: float) -> None:
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for source, target, wait_s in ((client, server, 0.0), (server, client, delay_s)):
                threading.Thread(target=self._pass, args=(source, target, wait_s), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, wait_s: float) -> None:
        try:
            while data := source.recv(_RECEIVE_BYTES):
                time.sleep(wait_s)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one of the two has ended


@contextmanager
def _token(bench: Bench) -> Iterator[dict[str, str]]:
    """A SoftHSM token of the service's user; the environment that leads to it."""
    assert bench.edgeroot is not None
    if not _MODULE.exists():
        raise BenchError("SoftHSM is not installed")
    folder = bench.folder / "softhsm"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tokens").mkdir(parents=True)
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    environment = {"SOFTHSM2_CONF": str(config)}
    command = ["softhsm2-util", "--init-token", "--free", "--label", "bench", "--pin", _PIN, "--so-pin", _PIN]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"SoftHSM made no token: {done.stdout}{done.stderr}")
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, bench.edgeroot.uid, bench.edgeroot.uid)
    yield environment


def _load(op: str, provider: int, clients: int = 8) -> Load:
    return Load(op, clients=clients, provider=provider, key=f"bench-{provider}")


def in_tpm(bench: Bench, op: str) -> Outcome:
    """Requests a second with keys in one TPM, against upstream as it is shipped."""
    assert bench.edgeroot is not None
    edgeroot = bench.edgeroot
    edgeroot.discard(_STORE)
    with _swtpm(bench.folder) as port:
        tcti = f"swtpm:host=127.0.0.1,port={port}"
        ours, theirs = (_TPM_PROVIDER.format(manager, tcti) for manager in ("sqlite", "store"))
        theirs += 'owner_hierarchy_auth = ""\n'
        return _against_upstream(
            bench,
            _load(op, TPM),
            lambda: edgeroot(_STORE, providers=ours),
            lambda: upstream(idle_sleep_ms=None, folder=bench.folder, providers=theirs),
        )


def in_token(bench: Bench, op: str) -> Outcome:
    """Requests a second with keys in a SoftHSM token, against upstream as it is shipped."""
    assert bench.edgeroot is not None
    edgeroot = bench.edgeroot
    edgeroot.discard(_STORE)
    with _token(bench) as environment:
        provider = _TOKEN_PROVIDER.format(_MODULE, _PIN)
        return _against_upstream(
            bench,
            _load(op, PKCS11),
            lambda: edgeroot(_STORE, providers=provider, environment=environment),
            lambda: upstream(idle_sleep_ms=None, folder=bench.folder, token=True),
        )


def _against_upstream(bench: Bench, load: Load, ours: Start, theirs: Start) -> Outcome:
    cases: list[_Measured] = []
    references: list[_Measured] = []
    for number in range(bench.rounds):
        cases.append(_measure(bench, load, ours))
        if bench.with_upstream:
            references.append(_measure(bench, load, theirs))
        seen = f"edgeroot {cases[-1].result.rate:,.0f}/s"
        seen += f", upstream {references[-1].result.rate:,.0f}/s" if references else ""
        bench.say(f"round {number + 1}/{bench.rounds}: {seen}")
    pairs = list(zip(cases, references, strict=False))
    errors = [dict(case.result.errors) for case in cases if case.result.errors or not case.result.ok]
    cpu = f"processor time a request: edgeroot {median(case.cpu_us for case in cases):,.0f} µs"
    cpu += f", upstream {median(one.cpu_us for one in references):,.0f} µs" if references else ""
    return Outcome(
        ours=median(case.result.rate for case in cases),
        reference=median(one.result.rate for one in references) if references else None,
        reference_name="upstream, as shipped",
        ratio=median(case.result.rate / one.result.rate for case, one in pairs) if pairs else None,
        rounds=[{"ours": asdict(case), "upstream": asdict(one)} for case, one in pairs],
        notes=(cpu,),
        faults=(f"edgeroot: errors {errors}",) if errors else (),
    )


def _measure(bench: Bench, load: Load, start: Start) -> _Measured:
    with start() as service:
        before_s = service.cpu_s()
        result = bench.run(load, service)
        return _Measured(result, (service.cpu_s() - before_s) / max(1, result.total) * 1e6)


def beside_slow_tpm(bench: Bench) -> Outcome:
    """Software signatures a second while others wait for a slow TPM, over those without."""
    assert bench.edgeroot is not None
    edgeroot = bench.edgeroot
    edgeroot.discard(_STORE)
    rounds: list[tuple[LoadResult, LoadResult]] = []
    with _swtpm(bench.folder) as port:
        tcti = f"swtpm:host=127.0.0.1,port={_SlowTpm(port).port}"
        with edgeroot(_STORE, providers=_TPM_PROVIDER.format("sqlite", tcti)) as service:
            waiting = Load(
                "sign", clients=QUEUE, provider=TPM, key="slow", uid=OTHER_UID, timeout_ms=120_000, drain_ms=60_000
            )
            for _ in range(bench.rounds):
                quiet = bench.run(_load("sign", SOFTWARE), service)
                with disturbed(bench, service, [waiting], 3.0):
                    beside = bench.run(_load("sign", SOFTWARE), service)
                rounds.append((beside, quiet))
                bench.say(f"quiet {quiet.rate:,.0f}/s, beside {QUEUE} requests for the TPM {beside.rate:,.0f}/s")
    faults = [dict(one.errors) for pair in rounds for one in pair if one.errors]
    return Outcome(
        ours=median(beside.rate for beside, _ in rounds),
        reference=median(quiet.rate for _, quiet in rounds),
        reference_name="the same without",
        ratio=median(beside.rate / quiet.rate for beside, quiet in rounds),
        rounds=[{"beside": asdict(beside), "quiet": asdict(quiet)} for beside, quiet in rounds],
        faults=(f"edgeroot: errors {faults}",) if faults else (),
    )
