"""The row about TLS: handshakes of nginx with a key that the service holds, beside one with a key in a file."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from bench.errors import BenchError
from bench.measure import Bench, Outcome

_STORE: Final = "tls"
_EDGEROOT: Final = (sys.executable, "-m", "edgeroot")
_MODULE: Final = Path(__file__).parents[1] / "native/pkcs11/target/release/libedgeroot_pkcs11.so"
_CLIENTS: Final = 4
_START_S: Final = 10.0
_NGINX: Final = """\
user root;
daemon off; pid {folder}/pid; error_log {folder}/log; worker_processes auto;
env PARSEC_SERVICE_ENDPOINT; env OPENSSL_CONF;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_protocols TLSv1.3; ssl_session_tickets off;
    ssl_certificate {certificate}; ssl_certificate_key {key};
  }}
}}
"""


def handshakes(bench: Bench) -> Outcome:
    """Full TLS 1.3 handshakes a second, P-256, with a few clients."""
    if bench.edgeroot is None:
        raise BenchError("edgeroot is not there to be measured")
    folder = bench.folder / "nginx"
    folder.mkdir(exist_ok=True)
    bench.edgeroot.discard(_STORE)
    pairs: list[tuple[float, float]] = []
    with bench.edgeroot(_STORE) as service:
        endpoint = {"PARSEC_SERVICE_ENDPOINT": f"unix:{service.socket_path}", "EDGEROOT_PKCS11_MODULE": str(_MODULE)}
        environment = {**os.environ, **endpoint}
        _make_keys(folder, environment)
        held = {**environment, "OPENSSL_CONF": str(folder / "openssl.cnf")}
        with _nginx(folder / "held", held) as ours, _nginx(folder / "file", os.environ) as reference:
            for number in range(bench.rounds):
                order = (reference, ours) if number % 2 else (ours, reference)
                rates = {port: _rate(port, bench.seconds) for port in order}
                pairs.append((rates[ours], rates[reference]))
                bench.say(f"round {number + 1}/{bench.rounds}: {pairs[-1][0]:,.0f} /s, file {pairs[-1][1]:,.0f} /s")
    return Outcome(
        ours=median(case for case, _ in pairs),
        reference=median(case for _, case in pairs),
        reference_name="nginx with the key in a file",
        ratio=median(case / other for case, other in pairs),
        rounds=pairs,
    )


def _make_keys(folder: Path, environment: Mapping[str, str]) -> None:
    for name in ("held", "file"):
        (folder / name).mkdir(exist_ok=True)
    _write(folder / "openssl.cnf", environment, *_EDGEROOT, "pkcs11", "openssl-config")
    _run(environment, *_EDGEROOT, "create-ecc-key", "-k", "tls")
    made = _run(environment, *_EDGEROOT, "create-certificate", "-k", "tls", "--cn", "localhost", "--days", "2")
    (folder / "held/certificate").write_text(made)
    _write(folder / "held/key", environment, *_EDGEROOT, "pkcs11", "key-file", "-k", "tls")
    _write(folder / "file/key", environment, "openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout")
    request = ("openssl", "req", "-x509", "-new", "-key", str(folder / "file/key"), "-subj", "/CN=localhost")
    _write(folder / "file/certificate", environment, *request)


def _write(path: Path, environment: Mapping[str, str], *command: str) -> None:
    path.write_text(_run(environment, *command))


def _run(environment: Mapping[str, str], *command: str) -> str:
    try:
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    except OSError as error:
        raise BenchError(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise BenchError(f"`{' '.join(command)}`: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def _nginx(folder: Path, environment: Mapping[str, str]) -> Iterator[int]:
    """The port at which it serves with the key and the certificate of its folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    places = {"folder": folder, "port": port, "certificate": folder / "certificate", "key": folder / "key"}
    (folder / "nginx.conf").write_text(_NGINX.format(**places))
    command = ["/usr/sbin/nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "log")]
    with (folder / "out").open("wb") as output:
        process = subprocess.Popen(command, env=dict(environment), stdout=output, stderr=output)
    try:
        until_s = time.monotonic() + _START_S
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > until_s:
                raise BenchError(f"nginx did not start: {(folder / 'out').read_text()}")
            time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait()


def _rate(port: int, seconds: float) -> float:
    """Handshakes a second of all clients together."""
    whole = max(1, round(seconds))
    command = ["openssl", "s_time", "-new", "-connect", f"127.0.0.1:{port}", "-time", str(whole)]
    begun_s = time.monotonic()
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(_CLIENTS)]
    said = [client.communicate()[0].decode() for client in clients]
    took_s = time.monotonic() - begun_s
    counts = [re.search(r"(\d+) connections in \d+ real seconds", text) for text in said]
    if any(client.returncode != 0 for client in clients) or not all(counts):
        raise BenchError(f"openssl s_time failed: {said[0]}")
    return sum(int(count[1]) for count in counts if count) / took_s
