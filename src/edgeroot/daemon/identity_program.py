"""The identity process as a program of its own.

It speaks with others on the network and reads what strangers wrote. So it has nothing in its memory of what the other
processes of the service have, which come from one that has opened stores and back ends; and no file in its reach but
those that it needs.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from socket import socket
from typing import Final, NoReturn

from edgeroot.auth import KubernetesSettings, TokenSettings
from edgeroot.confinement import process as hardening
from edgeroot.confinement.service import confine_files
from edgeroot.daemon.control import ControlLine
from edgeroot.daemon.identity_process import StuckError, run_identity
from edgeroot.daemon.logging import setup_logging

_log: Final = logging.getLogger(__name__)
_PATHS: Final = ("ca_file", "token_file", "jwks_file", "pod_resources")
# Where /etc/resolv.conf leads to on most machines.
_RESOLVERS: Final = tuple(map(Path, ("/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager")))


@dataclass(frozen=True, slots=True)
class Task:
    """What the program is told: how to judge, how long that may take, how to log."""

    tokens: TokenSettings
    longest_s: float
    log_level: str | None
    log_format: str
    log_timestamps: bool

    def encode(self) -> bytes:
        return json.dumps(asdict(self), default=str).encode()

    @classmethod
    def decode(cls, data: bytes) -> Task:
        fields = json.loads(data)
        tokens = fields["tokens"]
        cluster = tokens["kubernetes"]
        if cluster is not None:
            paths = {name: None if cluster[name] is None else Path(cluster[name]) for name in _PATHS}
            tokens["kubernetes"] = KubernetesSettings(**{**cluster, **paths})
        return cls(**{**fields, "tokens": TokenSettings(**tokens)})


def become_identity_program(task: Task, control: ControlLine) -> NoReturn:
    """Go on as that program; of all descriptors it gets the control line."""
    described = os.memfd_create("edgeroot-identity")
    os.write(described, task.encode())
    os.lseek(described, 0, os.SEEK_SET)
    for descriptor in (control.fileno(), described):
        os.set_inheritable(descriptor, True)
    numbers = (str(control.fileno()), str(described))
    os.execv(sys.executable, [sys.executable, "-P", "-m", __name__, *numbers])


def confine(tokens: TokenSettings) -> list[str]:
    """Leave nothing in reach but what tokens are judged by. Returns what was refused, in words."""
    cluster = tokens.kubernetes
    read, written = set(_RESOLVERS), set()
    if cluster is not None:
        # Folders, since what is in them is renewed by putting another file in the place of the last.
        read |= {file.parent for file in (cluster.ca_file, cluster.token_file) if file is not None}
        written |= {file.parent for file in (cluster.jwks_file,) if file is not None}
    return confine_files(read=read, write=written)


def main(arguments: Sequence[str]) -> int:
    """The descriptors of the control line and of the task; the program's exit code."""
    control, described = map(int, arguments)
    hardening.name_process("edgeroot-identity")
    with os.fdopen(described, "rb") as file:
        task = Task.decode(file.read())
    setup_logging(level=task.log_level, log_format=task.log_format, timestamps=task.log_timestamps)
    for refused in [*hardening.protect_process(), *confine(task.tokens)]:
        _log.debug(refused)  # the service has said it at its start
    from edgeroot.identity.verifier import TokenVerifier  # what it takes to talk to others: within these bounds only

    verifier = TokenVerifier(task.tokens)
    try:
        run_identity(verifier.verify, ControlLine(socket(fileno=control)), longest_s=task.longest_s)
    except StuckError as error:
        _log.error("%s; starting anew", str(error))
        os._exit(1)  # without waiting for the thread that is stuck
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
