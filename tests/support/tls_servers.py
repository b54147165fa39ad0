"""Genuine servers for TLS on a free port of this machine."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.clients import wait_until

_WORKERS: Final = 2


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def listening(
    command: Sequence[str | Path], port: int, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A server's process, once it takes connections at the port."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(one) for one in command], env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        deadline_s = time.monotonic() + 20
        while True:
            assert process.poll() is None, f"{command[0]} ended:\n{log.read_text()}"
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline_s, f"{command[0]} does not listen:\n{log.read_text()}"
                time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def nginx(
    folder: Path, environment: Mapping[str, str], *, certificate: Path, key: Path, clients: Path
) -> Iterator[tuple[int, list[int]]]:
    """Which lets clients in that prove themselves, and tells them who they are. Its port, and its processes."""
    port = free_port()
    passed = " ".join(f"env {name};" for name in ("PARSEC_SERVICE_ENDPOINT", "OPENSSL_CONF"))
    configuration = folder / "nginx.conf"
    configuration.write_text(f"""\
# A key belongs to the user who asks for it: the master reads it, and the workers use it.
user root;
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; worker_processes {_WORKERS}; {passed}
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_client_certificate {clients};
    ssl_verify_client on;
    location / {{ return 200 "hello $ssl_client_s_dn\\n"; }}
  }}
}}
""")
    command: list[str | Path] = ["/usr/sbin/nginx", "-c", configuration, "-e", folder / "nginx.log"]
    with listening(command, port, environment, folder / "nginx.out") as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        # It listens before it has any.
        wait_until(lambda: len(children.read_text().split()) == _WORKERS, "nginx has its workers")
        yield port, [process.pid, *map(int, children.read_text().split())]
