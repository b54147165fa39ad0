"""Telling the service manager how far we are (the protocol of ``sd_notify(3)``)."""

from __future__ import annotations

import socket
import time
from collections.abc import MutableMapping
from typing import Final, Self

_VARIABLE: Final = "NOTIFY_SOCKET"


class Notifier:
    """Sends states to the socket of the service manager; does nothing if there is none.

    Messages are best effort, as the manager may be gone: no method raises OSError.
    """

    def __init__(self, address: str | None) -> None:
        """``address`` is a path, or a name in the abstract namespace after ``@``; others (vsock) are ignored."""
        self._address = None
        if address and address.startswith("@"):
            self._address = "\0" + address[1:]
        elif address and address.startswith("/"):
            self._address = address

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Self:
        """Takes NOTIFY_SOCKET out of the environment, so that programs we start do not speak for us."""
        return cls(environ.pop(_VARIABLE, None))

    def ready(self, status: str = "") -> None:
        """Start-up or reload is complete."""
        self._send("READY=1", *_status(status))

    def reloading(self, status: str = "") -> None:
        """A reload begins; ``ready`` must follow, also if the old configuration stays."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", *_status(status))

    def stopping(self, status: str = "") -> None:
        self._send("STOPPING=1", *_status(status))

    def status(self, text: str) -> None:
        """One line for people who look at the service's state."""
        self._send(*_status(text))

    def _send(self, *assignments: str) -> None:
        if self._address is None or not assignments:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            try:
                # A manager that does not read must not hold us up.
                manager.sendto("\n".join(assignments).encode(), socket.MSG_DONTWAIT, self._address)
            except OSError:
                pass


def _status(text: str) -> tuple[str, ...]:
    return (f"STATUS={' '.join(text.split())}",) if text else ()
