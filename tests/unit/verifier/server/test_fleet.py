"""The fleet's interface over a store that genuine tokens filled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeroot.evidence import SoftwareComponent
from edgeroot.psa import Secret
from edgeroot.verifier.desk import revoke
from edgeroot.verifier.ports import Revoked
from edgeroot.verifier.server.access import Access
from edgeroot.verifier.server.app import Application
from edgeroot.verifier.server.fleet import HISTORY_MAX, Fleet
from edgeroot.verifier.server.pages import FILES
from edgeroot.verifier.server.views import Stage, stage_of
from tests.support.fleet import (
    GATEWAY,
    NOBODY,
    SENSOR,
    FleetDevice,
    FleetMaker,
    component,
    firmware,
    made_fleet,
    measured,
    references,
)
from tests.unit.verifier.server.test_app import Answer, Web

NOW_S = 2_000_000
TOKEN = "v" * 32
GOOD, OLD, CHANGED, WARNED, SILENT, NEW = (FleetDevice() for _ in range(6))
CHANGED_CRYPTO = component("crypto", "1.5.0", measurement=measured("evil"))


def changed(parts: tuple[SoftwareComponent, ...]) -> list[SoftwareComponent]:
    return [CHANGED_CRYPTO if one.measurement_type == "crypto" else one for one in parts]


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[FleetMaker]:
    with made_fleet(tmp_path / "fleet.db", NOW_S) as one:
        sensor = FleetDevice(implementation_id=SENSOR)
        known = {GATEWAY: references([*firmware("1.4.0"), *firmware("1.5.0")])}
        one.endorse(GOOD, OLD, CHANGED, WARNED, SILENT, NEW, sensor, known=known)
        one.attest(GOOD, firmware("1.5.0"), at_s=NOW_S - 100)
        one.attest(OLD, firmware("1.4.0"), at_s=NOW_S - 200)
        one.attest(CHANGED, firmware("1.5.0"), at_s=NOW_S - 400)
        one.attest(CHANGED, changed(firmware("1.5.0")), at_s=NOW_S - 300)
        strange = SoftwareComponent(measurement=measured("overlay"), signer_id=NOBODY, measurement_type="device-tree")
        one.attest(WARNED, [*firmware("1.5.0"), strange], at_s=NOW_S - 400)
        one.attest(SILENT, firmware("1.5.0"), at_s=NOW_S - 86_400)
        yield one


@pytest.fixture
def web(maker: FleetMaker) -> Iterator[Web]:
    access = Access(words="takes the viewer's token", closed="", token=Secret(TOKEN.encode()))
    fleet = Fleet(records=maker.storage, feed=maker.storage, access=access, now_s=lambda: NOW_S)
    application = Application(
        maker.desk(), verification_key={}, provisioning_token=None, fleet=fleet, rate_per_s=10_000
    )
    yield Web(application)
    application.close()


def ask(web: Web, path: str) -> Answer:
    return web("GET", f"/fleet/v1/{path}", authorization=f"Bearer {TOKEN}")


def told(web: Web, path: str) -> dict[str, Any]:
    answer = ask(web, path)
    assert answer.status == 200, answer.body
    return answer.json()


def names(web: Web, query: str = "") -> list[str]:
    return [one["instance_id"] for one in told(web, f"devices?{query}")["devices"]]


def test_it_takes_the_viewers_token(web: Web) -> None:
    for path in ("summary", "devices", "rollout", f"device/{GOOD.instance_id.hex()}"):
        refused = web("GET", f"/fleet/v1/{path}")
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert refused.json()["detail"] == "takes the viewer's token"
        assert web("POST", f"/fleet/v1/{path}", authorization=f"Bearer {TOKEN}").status == 405


def test_the_summary(web: Web) -> None:
    assert told(web, "summary") == {
        "at": "1970-01-24T03:33:20Z",
        "window_s": 86_400,
        "devices": 7,
        "counts": {"affirming": 2, "warning": 1, "contraindicated": 1, "none": 0, "not-seen": 3},
    }


def test_the_list(web: Web) -> None:
    found = told(web, "devices")["devices"]
    assert [one["status"] for one in found] == [
        *("affirming", "affirming", "contraindicated", "warning", "not-seen", "not-seen", "not-seen"),
    ]
    assert found[2] == {
        "instance_id": CHANGED.instance_id.hex(),
        "implementation_id": GATEWAY.hex(),
        "status": "contraindicated",
        "verdict": "contraindicated",
        "last_seen": "1970-01-24T03:28:20Z",
        "results": 2,
        "failed": 1,
        "why": f"crypto was changed, or is signed by another: {CHANGED_CRYPTO.measurement.hex()}",
    }
    assert (found[4]["verdict"], found[4]["last_seen"]) == ("affirming", "1970-01-23T03:33:20Z")
    assert (found[5]["verdict"], found[5]["last_seen"], found[5]["why"]) == (None, None, "")


def test_filters(web: Web) -> None:
    assert names(web, "status=contraindicated") == [CHANGED.instance_id.hex()]
    assert names(web, f"search={OLD.instance_id.hex()[:9].upper()}") == [OLD.instance_id.hex()]
    assert names(web, "search=ff") == []
    assert len(names(web, f"implementation={SENSOR.hex()}")) == 1
    assert names(web, f"progress=behind&implementation={GATEWAY.hex()}") == [OLD.instance_id.hex()]
    assert len(names(web, f"progress=unreported&implementation={GATEWAY.hex()}")) == 1
    crypto = f"component=crypto&measurement={CHANGED_CRYPTO.measurement.hex()}"
    assert names(web, crypto) == [CHANGED.instance_id.hex()]
    assert names(web, f"{crypto}&status=affirming") == []
    assert names(web, "component=telemetry") == []


def test_pages(web: Web) -> None:
    everything = names(web)
    first = told(web, "devices?limit=3")
    assert first["previous"] is None
    second = told(web, f"devices?limit=3&after={first['next']}")
    third = told(web, f"devices?limit=3&after={second['next']}")
    assert third["next"] is None
    listed = [one["instance_id"] for page in (first, second, third) for one in page["devices"]]
    assert listed == everything
    back = told(web, f"devices?limit=3&before={third['previous']}")
    assert back["devices"] == second["devices"]
    top = told(web, f"devices?limit=3&before={back['previous']}")
    assert (top["devices"], top["previous"]) == (first["devices"], None)
    assert told(web, f"devices?limit=3&after={back['next']}")["devices"] == third["devices"]


def test_a_device_that_failed(web: Web) -> None:
    found = told(web, f"device/{CHANGED.instance_id.hex().upper()}")
    assert (found["revoked"], found["next"]) == (None, None)
    assert [one["verdict"] for one in found["history"]] == ["contraindicated", "affirming"]
    result = found["result"]
    assert (result["number"], result["policy"]) == (found["history"][0]["number"], "strictest")
    assert result["trustworthiness"]["executables"] == 96
    assert [one["check"] for one in result["checks"] if not one["passed"]] == ["component"]
    parts = {one["name"]: one for one in result["components"]}
    assert list(parts) == [one.measurement_type for one in firmware("1.5.0")]
    assert (parts["crypto"]["match"], parts["crypto"]["stage"]) == ("not-matched", "partition")
    assert parts["crypto"]["measurement"] == CHANGED_CRYPTO.measurement.hex()
    assert [one["version"] for one in parts["crypto"]["known"]] == ["1.5.0", "1.4.0"]
    assert (parts["manager"]["match"], parts["manager"]["known"]) == ("matched", [])


def test_a_result_of_the_past(web: Web) -> None:
    path = f"device/{CHANGED.instance_id.hex()}"
    last, first = told(web, path)["history"]
    then = told(web, f"{path}?result={first['number']}&before={last['number']}")
    assert (then["result"]["verdict"], then["history"]) == ("affirming", [first])
    assert then["device"]["status"] == "contraindicated"
    for number in (last["number"] + 1, 999):
        assert ask(web, f"{path}?result={number}").status == 404
    other = f"device/{GOOD.instance_id.hex()}?result={first['number']}"
    assert ask(web, other).status == 404, "a device shows another's result"


def test_a_long_history_comes_in_pages(web: Web, maker: FleetMaker) -> None:
    for at_s in range(HISTORY_MAX + 4):
        maker.attest(NEW, firmware("1.5.0"), at_s=NOW_S - 90 + at_s)
    path = f"device/{NEW.instance_id.hex()}"
    first = told(web, path)
    assert len(first["history"]) == HISTORY_MAX
    assert len(told(web, f"{path}?before={first['next']}")["history"]) == 4


def test_devices_that_were_not_heard_of_or_are_revoked(web: Web, maker: FleetMaker) -> None:
    name = NEW.instance_id.hex()
    found = told(web, f"device/{name}")
    assert (found["result"], found["history"], found["device"]["status"]) == (None, [], "not-seen")
    revoke(maker.storage, Revoked.DEVICE, name, "stolen", now_s=NOW_S)
    assert told(web, f"device/{name}")["revoked"] == "stolen"
    assert ask(web, f"device/{'ab' * 33}").status == 404
    for bad in ("xx", "abc", "ab" * 65, ""):
        assert ask(web, f"device/{bad}").status == 404


def test_the_roll_out(web: Web, maker: FleetMaker) -> None:
    revoke(maker.storage, Revoked.VERSION, "storage=1.4.0", "a hole", now_s=NOW_S)
    found = {one["implementation_id"]: one for one in told(web, "rollout")["implementations"]}
    gateway, sensor = found[GATEWAY.hex()], found[SENSOR.hex()]
    assert (gateway["devices"], gateway["failed"]) == (6, 1)
    assert gateway["progress"] == {"current": 2, "behind": 1, "unknown": 2, "unreported": 1}
    assert (sensor["devices"], sensor["progress"]["unreported"], sensor["components"]) == (1, 1, [])
    parts = {one["name"]: one["versions"] for one in gateway["components"]}
    assert list(parts)[:5] == ["kernel", "loader", "interpreter", "boot-stage", "manager"]
    assert [
        (one["version"], one["known"], one["newest"], one["devices"], one["failed"]) for one in parts["crypto"]
    ] == [
        ("1.5.0", True, True, 3, 0),
        ("1.4.0", True, False, 1, 0),
        ("1.5.0", False, None, 1, 1),
    ]
    assert [one["revoked"] for one in parts["storage"]] == [None, "a hole"]
    assert [(one["known"], one["devices"]) for one in parts["device-tree"]] == [(False, 1)]


@pytest.mark.parametrize(
    "query",
    [
        *("status=good", "progress=done", "search=xyz", "implementation=x", "measurement=0", "limit=0", "limit=201"),
        *("limit=x", "limit=-1", "after=1", "after=1-zz", "before=", "after=1-ab&before=1-ab", "sort=name"),
    ],
)
def test_queries_that_are_not_understood(web: Web, query: str) -> None:
    assert ask(web, f"devices?{query}").status == 400


def test_other_queries_that_are_not_understood(web: Web) -> None:
    for path in ("summary?x=1", "rollout?x=1", f"device/{GOOD.instance_id.hex()}?result=x"):
        assert ask(web, path).status == 400


def test_the_page_is_served_to_anybody_and_may_do_little(web: Web) -> None:
    for path, (_name, media_type) in FILES.items():
        answer = web("GET", path)
        assert (answer.status, answer.headers["content-type"]) == (200, media_type)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.body.strip()


def test_the_page_takes_nothing_from_elsewhere_and_parses_no_text() -> None:
    folder = Path(__file__).resolve().parents[4] / "src/edgeroot/verifier/server/page"
    assert sorted(one.name for one in folder.iterdir()) == sorted(name for name, _ in FILES.values())
    for path in folder.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        for word in (
            "://",
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            "style=",
            "onclick=",
        ):
            assert word not in text, (path.name, word)


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("BL", Stage.BOOT),
        ("BL_2", Stage.BOOT),
        ("boot-stage", Stage.BOOT),
        ("kernel", Stage.BOOT),
        ("blobs", Stage.PARTITION),
        ("PRoT", Stage.MANAGER),
        ("manager", Stage.MANAGER),
        ("partition-manager", Stage.MANAGER),
        ("SECURE_RT_EL2", Stage.MANAGER),
        ("ARoT", Stage.PARTITION),
        ("crypto", Stage.PARTITION),
        ("PCR 4", Stage.REGISTER),
        ("event of PCR 4", Stage.REGISTER),
        ("", Stage.PARTITION),
    ],
)
def test_where_in_the_boot_chain_a_name_belongs(name: str, stage: Stage) -> None:
    assert stage_of(name) is stage


def test_names_of_components_are_told_as_they_are(web: Web, maker: FleetMaker) -> None:
    name = '<img src=x onerror="alert(1)">\u202e'
    strange = replace(component("x", "1.0.0"), measurement_type=name)
    maker.attest(NEW, [*firmware("1.5.0"), strange], at_s=NOW_S)
    assert told(web, f"device/{NEW.instance_id.hex()}")["result"]["components"][-1]["name"] == name
