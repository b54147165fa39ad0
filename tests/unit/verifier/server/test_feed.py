"""The feed over HTTP: pages, cursors, and readers who wait for news."""

from __future__ import annotations

import asyncio
import time
from base64 import urlsafe_b64decode
from collections.abc import Coroutine, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from edgeroot.psa import Secret
from edgeroot.verifier.desk import revoke
from edgeroot.verifier.ports import Revoked
from edgeroot.verifier.server import waiting
from edgeroot.verifier.server.access import Access
from edgeroot.verifier.server.app import Application
from edgeroot.verifier.server.fleet import Fleet
from edgeroot.verifier.store import open_store
from tests.support.fleet import GATEWAY, TOKEN_TYPE, FleetDevice, FleetMaker, firmware, made_fleet, references
from tests.unit.verifier.server.test_app import Answer, Web

NOW_S = 2_000_000
TOKEN = "v" * 32
BEARER = f"Bearer {TOKEN}"
CHANGES = "/fleet/v1/changes"
DEVICES = tuple(FleetDevice() for _ in range(4))
RUNS = firmware("1.5.0")
LONG_S = 20
"""Waits in these tests are much shorter, unless nobody wakes the reader."""


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[FleetMaker]:
    with made_fleet(tmp_path / "fleet.db", NOW_S) as one:
        one.endorse(*DEVICES, known={GATEWAY: references(RUNS)})
        yield one


@pytest.fixture
def application(maker: FleetMaker) -> Iterator[Application]:
    access = Access(words="takes the viewer's token", closed="", token=Secret(TOKEN.encode()))
    fleet = Fleet(records=maker.storage, feed=maker.storage, access=access, now_s=lambda: NOW_S)
    one = Application(maker.desk(), verification_key={}, provisioning_token=None, fleet=fleet, rate_per_s=10_000)
    yield one
    one.close()


@pytest.fixture
def web(application: Application) -> Web:
    return Web(application)


def told(web: Web, query: str = "") -> dict[str, Any]:
    answer = web("GET", f"{CHANGES}?{query}", authorization=BEARER)
    assert answer.status == 200, answer.body
    return answer.json()


def names(page: dict[str, Any]) -> list[str]:
    return [one["device"] for one in page["devices"]]


def ids(*devices: FleetDevice) -> list[str]:
    return [one.instance_id.hex() for one in devices]


def test_a_page(web: Web, maker: FleetMaker) -> None:
    assert told(web)["devices"] == []
    maker.attest(DEVICES[0], RUNS, at_s=NOW_S)
    page = told(web)
    assert page.keys() == {"cursor", "more", "devices"}
    assert page["devices"] == [
        {
            "device": DEVICES[0].instance_id.hex(),
            "status": "affirming",
            "reason": "",
            "evaluated_at": "1970-01-24T03:33:20Z",
            "expires_at": "1970-01-24T04:03:20Z",
            "lifecycle": "secured",
            "components": [{"type": one.measurement_type, "version": one.version or ""} for one in RUNS],
        }
    ]


def test_two_readers_go_on_where_each_was(web: Web, maker: FleetMaker) -> None:
    for device in DEVICES[:3]:
        maker.attest(device, RUNS, at_s=NOW_S)
    slow = told(web, "limit=1")
    fast = told(web)
    assert (names(slow), slow["more"]) == (ids(DEVICES[0]), True)
    assert (names(fast), fast["more"]) == (ids(*DEVICES[:3]), False)
    maker.attest(DEVICES[1], RUNS[1:], at_s=NOW_S + 1)
    fast = told(web, f"after={fast['cursor']}")
    assert [(one["device"], one["status"], one["reason"]) for one in fast["devices"]] == [
        (DEVICES[1].instance_id.hex(), "contraindicated", "kernel is missing")
    ]
    rest = told(web, f"after={slow['cursor']}&limit=2")
    assert (names(rest), rest["more"]) == (ids(DEVICES[2], DEVICES[1]), False)


def test_a_device_that_is_revoked(web: Web, maker: FleetMaker) -> None:
    maker.attest(DEVICES[0], RUNS, at_s=NOW_S)
    cursor = told(web)["cursor"]
    revoke(maker.storage, Revoked.DEVICE, DEVICES[0].instance_id.hex(), "stolen", now_s=NOW_S + 5)
    (change,) = told(web, f"after={cursor}")["devices"]
    assert (change["status"], change["reason"]) == ("contraindicated", "the device was revoked: stolen")
    assert (change["evaluated_at"], change["expires_at"]) == ("1970-01-24T03:33:25Z", "9999-12-31T23:59:59Z")


def test_who_may_read_it(web: Web) -> None:
    for refused in (web("GET", CHANGES), web("GET", CHANGES, authorization=f"Bearer {'w' * 32}")):
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert web("POST", CHANGES, authorization=BEARER).status == 405


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("after=", 410),
        ("after=1-1-00", 410),
        (f"after=0-0-{'1' * 32}", 410),
        (f"after=7-0-{'0' * 32}", 410),
        (f"after=0-7-{'0' * 32}&wait=30", 410),
        ("after=%00%ff", 410),
        ("limit=0", 400),
        ("limit=1001", 400),
        ("limit=-1", 400),
        ("limit=1e3", 400),
        ("wait=31", 400),
        ("wait=-1", 400),
        ("wait=0.5", 400),
        ("wait=", 400),
        ("wait=%D9%A3", 400),
        ("since=0", 400),
    ],
)
def test_what_is_not_understood(web: Web, query: str, status: int) -> None:
    answer = web("GET", f"{CHANGES}?{query}", authorization=BEARER)
    assert answer.status == status, answer.body
    assert answer.json()["detail"]


async def asked(
    application: Application,
    path: str,
    *,
    method: str = "GET",
    body: bytes = b"",
    media_type: str = "",
    leaves: asyncio.Event | None = None,
) -> Answer:
    """In the event loop of the test. The client goes away when it ``leaves``."""
    path, _, query = path.partition("?")
    sent: list[MutableMapping[str, Any]] = []
    bodies = [body]

    async def receive() -> MutableMapping[str, Any]:
        if bodies:
            return {"type": "http.request", "body": bodies.pop()}
        await (leaves or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = {"authorization": BEARER, "content-type": media_type}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items() if value],
        "client": ("192.0.2.1", 1),
    }
    await application(scope, receive, send)
    start, end = sent
    return Answer(start["status"], {n.decode(): v.decode() for n, v in start["headers"]}, end["body"])


async def attested(application: Application, device: FleetDevice) -> None:
    begun = await asked(application, "/challenge-response/v1/newSession", method="POST")
    session = begun.json()
    nonce = urlsafe_b64decode(session["nonce"] + "=" * (-len(session["nonce"]) % 4))
    path = f"/challenge-response/v1/{begun.headers['location']}"
    token = device.token(nonce, RUNS)
    done = await asked(application, path, method="POST", body=token, media_type=TOKEN_TYPE)
    assert done.status == 200, done.body


async def waiting_reader(
    application: Application, cursor: str, leaves: asyncio.Event | None = None
) -> asyncio.Task[Answer]:
    """Who has got its place."""
    task = asyncio.create_task(asked(application, f"{CHANGES}?after={cursor}&wait={LONG_S}", leaves=leaves))
    while not application._waiting._waiting:
        await asyncio.sleep(0)
        assert not task.done(), task.result()
    return task


def run(test: Coroutine[None, None, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(LONG_S / 2):
            await test

    asyncio.run(bounded())


def test_a_result_wakes_whoever_waits(application: Application, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_S", LONG_S)  # Nobody looks by himself.
    cursor = told(web)["cursor"]

    async def test() -> None:
        readers = [await waiting_reader(application, cursor) for _ in range(3)]
        await attested(application, DEVICES[0])
        answers = [await one for one in readers]
        assert [names(one.json()) for one in answers] == [ids(DEVICES[0])] * 3
        reader = await waiting_reader(application, answers[0].json()["cursor"])
        await attested(application, DEVICES[1])
        assert names((await reader).json()) == ids(DEVICES[1])

    run(test())


def test_what_another_process_writes_is_seen(
    application: Application, web: Web, maker: FleetMaker, tmp_path: Path
) -> None:
    maker.attest(DEVICES[0], RUNS, at_s=NOW_S)
    cursor = told(web)["cursor"]

    async def test() -> None:
        reader = await waiting_reader(application, cursor)
        with open_store(tmp_path / "fleet.db") as other:
            revoke(other, Revoked.DEVICE, DEVICES[0].instance_id.hex(), "stolen", now_s=NOW_S)
        (change,) = (await reader).json()["devices"]
        assert change["status"] == "contraindicated"

    run(test())


def test_a_wait_ends(application: Application, web: Web, maker: FleetMaker) -> None:
    maker.attest(DEVICES[0], RUNS, at_s=NOW_S)
    first = told(web)

    async def test() -> None:
        began_s = time.monotonic()
        answer = await asked(application, f"{CHANGES}?after={first['cursor']}&wait=1")
        assert 1 <= time.monotonic() - began_s < LONG_S / 2
        assert answer.json() == {"cursor": first["cursor"], "more": False, "devices": []}
        answer = await asked(application, f"{CHANGES}?wait={LONG_S}")
        assert names(answer.json()) == ids(DEVICES[0])

    run(test())


def test_who_has_no_cursor_gets_one_at_once(application: Application) -> None:
    async def test() -> None:
        assert (await asked(application, f"{CHANGES}?wait={LONG_S}")).json()["devices"] == []

    run(test())


def test_only_so_many_wait(application: Application, web: Web) -> None:
    cursor = told(web)["cursor"]

    async def test() -> None:
        readers = [
            asyncio.create_task(asked(application, f"{CHANGES}?after={cursor}&wait={LONG_S}"))
            for _ in range(waiting.PLACES + 1)
        ]
        done, _ = await asyncio.wait(readers, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = (one.result() for one in done)
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert (await asked(application, f"{CHANGES}?after={cursor}")).status == 200, "who does not wait takes no place"
        await attested(application, DEVICES[0])
        assert {one.status for one in await asyncio.gather(*readers)} == {200, 503}
        assert application._waiting._taken == 0

    run(test())


def test_who_goes_away_leaves_his_place(application: Application, web: Web) -> None:
    cursor = told(web)["cursor"]

    async def test() -> None:
        leaves = asyncio.Event()
        reader = await waiting_reader(application, cursor, leaves=leaves)
        assert application._waiting._taken == 1
        leaves.set()
        assert (await reader).status == 400
        assert application._waiting._taken == 0

    run(test())


def test_nobody_waits_for_a_verifier_that_ends(application: Application, web: Web) -> None:
    cursor = told(web)["cursor"]

    async def test() -> None:
        reader = await waiting_reader(application, cursor)
        application.dismiss()
        assert (await reader).json()["devices"] == []
        assert (await asked(application, f"{CHANGES}?after={cursor}&wait={LONG_S}")).status == 200

    run(test())
