"""The agent as a process: a thin shell around the schedule, which asks, attests and tells until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from edgeroot._version import __version__
from edgeroot.client import AsyncClient
from edgeroot.client.errors import ClientError, NotSupportedError
from edgeroot.edge.agent.exchange import COSE_SIGN1, ExchangeError, check_url, verifier_session
from edgeroot.edge.agent.inventory import Inventory, Reports
from edgeroot.edge.agent.report import ReportError, apply_status
from edgeroot.edge.agent.schedule import Failure, Schedule
from edgeroot.edge.agent.state import State, steady_now_s, write_state
from edgeroot.edge.agent.verdict import Verdict, VerdictError, one_line, read_verdict
from edgeroot.evidence import EvidenceError, read_tpm_evidence, write_tpm_evidence

_LONGEST_SLEEP_S: Final = 30.0
"""Sleep does not count the time for which the machine is suspended; the clock does."""
_CORE_PROVIDER: Final = 0
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``service`` makes a client of the node's service. ``node_name`` empty: nothing is reported to a cluster.

    ``state`` is the folder for probes. ValueError for an address that is no verifier's.
    """

    verifier: str
    service: Callable[[], AsyncClient]
    ca_path: Path | None = None
    interval_s: float = 600.0
    node_name: str = ""
    state: Path | None = None
    event_log: Path | None = None
    """Goes along with a TPM's quote."""
    has_provider: bool = False
    """The client has been told which provider attests: no other is tried."""

    def __post_init__(self) -> None:
        check_url(self.verifier)


@dataclass(slots=True)
class Agent:
    """One node's."""

    settings: Settings
    _schedule: Schedule = field(init=False)
    _reports: Reports = field(init=False)
    _state: State = field(default_factory=State)
    _inventory: Inventory | None = None
    _attesting: int | None = None

    def __post_init__(self) -> None:
        name = self.settings.node_name or socket.gethostname()
        self._schedule = Schedule(name=name, interval_s=self.settings.interval_s, chance=random.random)
        self._reports = Reports(chance=random.random)

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop`` is set. The first time at once: at a start nobody knows what was booted."""
        self._write(self._state)
        next_s = steady_now_s()
        while not stop.is_set():
            if steady_now_s() >= next_s:
                next_s = steady_now_s() + await self._once()
            await self._report()
            report_s = self._reports.next_s if self._inventory is not None and self.settings.node_name else next_s
            pause_s = min(next_s, report_s) - steady_now_s()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.0, min(pause_s, _LONGEST_SLEEP_S)))

    async def _once(self) -> float:
        """Ask for a verdict; seconds until the next time."""
        try:
            verdict = await self._verdict()
        except ExchangeError as error:
            pause_s = self._schedule.after_failure(error.failure, error.retry_after_s)
            self._tell_failure(f"the verifier: {error}", pause_s)
        except VerdictError as error:
            pause_s = self._schedule.after_failure(Failure.REFUSED)
            self._tell_failure(str(error), pause_s)
        except ClientError as error:
            pause_s = self._schedule.after_failure(Failure.LOCAL)
            self._tell_failure(one_line(f"the service: {error}"), pause_s)
        except (OSError, EvidenceError) as error:
            pause_s = self._schedule.after_failure(Failure.LOCAL)
            self._tell_failure(one_line(f"the event log: {error}"), pause_s)
        else:
            pause_s = self._schedule.after_result(
                time.time(), is_affirming=verdict.is_affirming, lifetime_s=verdict.lifetime_s
            )
            _log.log(
                logging.INFO if verdict.is_affirming else logging.WARNING,
                "the verifier says: %s; next time in %.0f s",
                verdict.words(),
                pause_s,
            )
            self._write(self._state.judged(verdict, time.time(), steady_now_s()))
        return pause_s

    def _tell_failure(self, words: str, pause_s: float) -> None:
        _log.warning("no result: %s; again in %.0f s", words, pause_s)
        self._write(self._state.failed(words, time.time()))

    async def _verdict(self) -> Verdict:
        async with self.settings.service() as service:
            # Before a challenge is asked for, which would be for nothing if there were no service.
            providers = [one for one in await service.list_providers() if one.id != _CORE_PROVIDER]
            names = tuple(one.name or one.description for one in providers)
            self._inventory = Inventory(providers=names, agent_version=__version__)
            async with verifier_session(self.settings.verifier, self.settings.ca_path) as session:
                challenge = await session.challenge()
                evidence = await self._evidence(service, [one.id for one in providers], challenge.nonce)
                if self.settings.event_log is not None and not evidence.startswith(COSE_SIGN1):
                    log = self.settings.event_log.read_bytes()
                    evidence = write_tpm_evidence(replace(read_tpm_evidence(evidence), event_log=log))
                return read_verdict(await session.submit(challenge, evidence))

    async def _evidence(self, service: AsyncClient, providers: list[int], nonce: bytes) -> bytes:
        """From the provider that was chosen, or from the first that attests. ClientError."""
        if self.settings.has_provider:
            return await service.attestation_token(nonce)
        ids = [self._attesting] if self._attesting in providers else providers
        for number in ids:
            try:
                evidence = await service.with_provider(number).attestation_token(nonce)
            except NotSupportedError:
                continue
            self._attesting = number
            return evidence
        self._attesting = None
        raise ClientError("none of its providers attests the device: it takes Trusted Services or a TPM")

    async def _report(self) -> None:
        """The inventory, if it is time. Whatever comes of that, attestation goes on."""
        inventory, name = self._inventory, self.settings.node_name
        if inventory is None or not name or not self._reports.due(inventory, steady_now_s()):
            return
        try:
            await apply_status(inventory.applied(name, time.time()))
        except ReportError as error:
            self._reports.failed(steady_now_s())
            _log.warning("the inventory is not reported: %s", one_line(str(error)))
        else:
            self._reports.sent(inventory, steady_now_s())
            _log.info("reported: %s", ", ".join(inventory.providers))

    def _write(self, state: State) -> None:
        self._state = state
        if self.settings.state is None:
            return
        try:
            write_state(self.settings.state, state)
        except OSError as error:
            _log.warning("probes are not told: %s", error)


def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT."""
    asyncio.run(_until_signalled(settings))


async def _until_signalled(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.create_task(Agent(settings).run(stop))
    ended = asyncio.create_task(stop.wait())
    # Nothing that hangs keeps it from ending.
    await asyncio.wait({running, ended}, return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    if not running.done():
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    else:
        running.result()
