"""The controller's reader at the genuine verifier's feed: results, revocations, restarts, a store that was set back."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sqlite3
from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from edgeroot.edge.controller.feed import FeedReader, FeedSettings
from edgeroot.edge.controller.feed_page import FeedError, Page
from edgeroot.edge.controller.records import Result, Tier
from edgeroot.evidence import Lifecycle
from edgeroot.verifier.corim import Endorsements, write_corim
from tests.integration.test_verifier_service import PSA, Fleet, submit
from tests.support.fleet import GATEWAY, FleetDevice, firmware, references
from tests.support.world import World

WAIT_S: Final = 30.0
DEVICES: Final = tuple(FleetDevice() for _ in range(3))
RUNS: Final = firmware("1.5.0")


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    one = Fleet(tmp_path, World(tmp_path))
    keys = {device.instance_id: device.endorsement() for device in DEVICES}
    known = {GATEWAY: references(RUNS)}
    (tmp_path / "device.corim").write_bytes(write_corim("fleet", Endorsements(keys=keys, references=known)))
    return one


@dataclass
class Reader:
    """What the controller would know."""

    results: dict[str, Result] = field(default_factory=dict)
    starts: int = 0
    failures: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def start_over(self) -> None:
        self.starts += 1
        self.results = {}
        self.news.set()

    def page(self, page: Page) -> None:
        self.results |= {one.device: one for one in page.results}
        self.news.set()

    def failed(self, _error: FeedError) -> None:
        self.failures += 1
        self.news.set()

    def tier(self, device: FleetDevice) -> Tier | None:
        found = self.results.get(device.instance_id.hex())
        return None if found is None else found.tier

    async def until(self, what: Callable[[], bool], words: str) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                while not what():
                    await self.news.wait()
                    self.news.clear()
        except TimeoutError:
            pytest.fail(f"{words}: {self}")


def attest(fleet: Fleet, url: str, device: FleetDevice) -> None:
    _status, path, session = fleet.ask(url, "POST", "/challenge-response/v1/newSession?nonceSize=32")
    nonce = urlsafe_b64decode(session["nonce"] + "=")
    status, _path, said = fleet.ask(url, "POST", path, device.token(nonce, RUNS, Lifecycle.UNKNOWN), content_type=PSA)
    assert status == 200, said


def test_the_reader_knows_what_the_verifier_knows(fleet: Fleet) -> None:
    first, second, third = DEVICES
    store = fleet.folder / "fleet.db"

    async def follow() -> None:
        reader = Reader()
        with contextlib.ExitStack() as stack:
            url, server = stack.enter_context(fleet.serving())
            port = str(urlsplit(url).port)
            submit(fleet, url)
            attest(fleet, url, first)
            settings = FeedSettings(url=url, token_path=fleet.folder / "look", ca_path=fleet.folder / "certificate.pem")
            told = FeedReader(settings, start_over=reader.start_over, page=reader.page, failed=reader.failed)
            reading = asyncio.create_task(told.read())
            try:
                await reader.until(lambda: reader.tier(first) is Tier.AFFIRMING, "what was there is not read")
                await asyncio.to_thread(attest, fleet, url, second)
                await reader.until(lambda: reader.tier(second) is Tier.AFFIRMING, "what is new is not read")
                server.send_signal(signal.SIGKILL)
                await asyncio.to_thread(server.wait, WAIT_S)
                back_up(store, fleet.folder / "copy.db")
                _, server = stack.enter_context(fleet.serving("--port", port))
                await asyncio.to_thread(revoke, fleet, first)
                await reader.until(lambda: reader.tier(first) is Tier.CONTRAINDICATED, "a revocation is not read")
                assert reader.starts == 1, "a restart loses nothing"
                server.terminate()
                await asyncio.to_thread(server.wait, WAIT_S)
                for path in fleet.folder.glob("fleet.db*"):
                    path.unlink()
                shutil.copy(fleet.folder / "copy.db", store)
                stack.enter_context(fleet.serving("--port", port))
                await asyncio.to_thread(attest, fleet, url, third)
                await reader.until(lambda: reader.tier(third) is Tier.AFFIRMING, "the restored store is not read")
                assert reader.starts == 2
                assert reader.tier(first) is Tier.AFFIRMING, "as the restored store has it"
            finally:
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading

    asyncio.run(follow())


def back_up(store: Path, copy: Path) -> None:
    with contextlib.closing(sqlite3.connect(store)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def revoke(fleet: Fleet, device: FleetDevice) -> None:
    fleet.run(*("verifier", "revoke", "--store", "fleet.db", "device", device.instance_id.hex(), "--reason", "stolen"))
