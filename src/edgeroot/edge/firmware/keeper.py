"""Brings a node to the firmware that its EdgeNode names, by ``edgeroot update``, one step at a time."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from edgeroot.edge.firmware.node import Decision, Found, Memory, Step, after_trouble, decide

_COMMAND_TIMEOUT_S: Final = 1800.0  # fetching 40 MB over a slow line
_MANAGER: Final = "manager"
# What decides before anything else, the first that any component is in.
_STATES: Final = ("STAGED", "TRIAL", "REJECTED", "FAILED")
_log: Final = logging.getLogger(__name__)


class StepError(Exception):
    """A step was refused, or could not be carried out; the message is the command's last line."""


class Steps(Protocol):
    """What the keeper asks of the device. Both raise StepError."""

    def status(self) -> Found: ...

    def carry_out(self, step: Step, version: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """The commands that carry out the steps. ``restart`` is the one that restarts the secure world on this node.

    ``update`` is how ``edgeroot update`` is called here; ``verifier`` are the options with which ``accept`` asks one,
    ``state`` those that say where its folder is.
    """

    restart: Sequence[str]
    verifier: Sequence[str]
    update: Sequence[str] = ("edgeroot", "update")
    state: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def status(self) -> Found:
        found = json.loads(self._run([*self.update, "status", "--json", *self.state]))
        components = {one["component"]: one for one in found["components"]}
        states = [one["state"] for one in components.values()]
        state = next((state for state in _STATES if state in states), "READY")
        return Found(running=components[_MANAGER]["version"] or "", state=state)

    def carry_out(self, step: Step, version: str) -> None:
        if step is Step.INSTALL:
            self._run([*self.update, "install", "--version", version, *self.state])
        elif step is Step.ACCEPT:
            self._run([*self.update, "accept", *self.verifier])
        elif step is Step.REJECT:
            self._run([*self.update, "reject"])
        elif step is Step.RESTART:
            self._run(self.restart)

    def _run(self, command: Sequence[str]) -> str:
        """What it printed; StepError with what it said."""
        try:
            done = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                timeout=_COMMAND_TIMEOUT_S,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StepError(f"{command[0]}: {error}") from error
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
            raise StepError(lines[-1].removeprefix("edgeroot: ")[:500])
        return done.stdout


class FirmwareKeeper:
    """Takes one step at each call, and remembers in a file what was tried."""

    def __init__(self, commands: Steps, memory_path: Path, clock_s: Callable[[], float]) -> None:
        self._commands = commands
        self._memory_path = memory_path
        self._clock_s = clock_s

    def advance(self, wanted: str) -> Decision:
        """Decide and carry out one step. What went wrong is in the report; StepError if not even that can be told."""
        found = self._commands.status()
        decision = decide(wanted, found, self._remembered(), self._clock_s())
        self._remember(decision.memory)
        if decision.step is Step.NOTHING:
            return decision
        _log.info("firmware %s: %s", wanted, decision.step.name.lower())
        try:
            self._commands.carry_out(decision.step, wanted)
        except StepError as error:
            _log.warning("firmware %s: %s: %s", wanted, decision.step.name.lower(), error)
            decision = after_trouble(decision, str(error))
            self._remember(decision.memory)
        return decision

    def _remembered(self) -> Memory | None:
        try:
            read: dict[str, Any] = json.loads(self._memory_path.read_bytes())
            return Memory(**read)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            # Of another release, or damaged: the device itself knows what runs, and is asked in each step.
            _log.warning("%s is not understood, and begins anew: %s", self._memory_path, error)
            return None

    def _remember(self, memory: Memory) -> None:
        beside = self._memory_path.with_suffix(".new")
        with beside.open("wb") as file:
            file.write(json.dumps(asdict(memory)).encode())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._memory_path)
