"""One program of a cluster, which can be started, asked to stop, killed and started again."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from peers.kubernetes.machine import Machine, Running

_NO_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType({})
_STEP_S: Final = 0.05
_LAST_LINES: Final = 15


class ComponentError(AssertionError):
    """A program of the cluster does not do what it is there for; the message has the end of its log."""


class Component:
    """A program on a machine. ``ready`` says whether it answers; what it writes is in ``log``."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        machine: Machine,
        log: Path,
        ready: Callable[[], bool],
        environment: Mapping[str, str] = _NO_ENVIRONMENT,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.log = log
        self._machine = machine
        self._ready = ready
        self._environment = environment
        self._running: Running | None = None

    @property
    def running(self) -> bool:
        return self._running is not None and self._running.alive()

    @property
    def pid(self) -> int:
        assert self._running is not None, f"{self.name} was not started"
        return self._running.pid

    def start(self, *, timeout_s: float = 60.0) -> None:
        """Start it and wait until it answers. Raises ComponentError if it ends or does not answer in time."""
        self.launch()
        self.wait(timeout_s=timeout_s)

    def launch(self) -> None:
        """Start it and do not wait."""
        assert not self.running, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._running = self._machine.run(self.command, log=log, env=self._environment)

    def wait(self, *, timeout_s: float = 60.0) -> None:
        """Wait until it answers. Raises ComponentError if it ends or does not answer in time."""
        deadline_s = time.monotonic() + timeout_s
        while not self._ready():
            if not self.running:
                raise ComponentError(f"{self.name} ended:\n{self.last_words()}")
            if time.monotonic() > deadline_s:
                raise ComponentError(f"{self.name} did not answer within {timeout_s:.0f} s:\n{self.last_words()}")
            time.sleep(_STEP_S)

    def stop(self, *, timeout_s: float = 20.0) -> None:
        """Ask it to end, and kill it if it does not."""
        if self._running is None:
            return
        self._running.signal(signal.SIGTERM)
        try:
            self._running.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it without asking."""
        if self._running is not None:
            self._running.signal(signal.SIGKILL)
            self._running.wait(20.0)

    def restart(self) -> None:
        self.stop()
        self.start()

    def signal(self, number: signal.Signals) -> None:
        """For SIGSTOP and SIGCONT: a program that hangs."""
        assert self._running is not None, f"{self.name} was not started"
        self._running.signal(number)

    def last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
