"""Boot seeds that are remembered: a restart is told, and a step back is a doubt about which device it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgeroot.verifier.desk import Desk
from edgeroot.verifier.store import SqliteStorage, open_store
from edgeroot.verifier.store.boots import REMEMBERED
from edgeroot.verifier.trust import Status
from edgeroot.verifier.verdict import Appraisal
from tests.unit.verifier.test_appraisal import CLAIMS, FOREIGN, judged, token
from tests.unit.verifier.test_desk import PSA, desk, submodule, surroundings

__all__ = ["desk", "surroundings"]
FIRST, SECOND, THIRD = (bytes([number]) * 32 for number in (1, 2, 3))


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SqliteStorage]:
    with open_store(tmp_path / "fleet.db", create=True) as one:
        yield one


def booted(desk: Desk, boot_seed: bytes | None) -> Appraisal:
    session = desk.new_session()
    done, appraisal = desk.submit(
        session.session_id, PSA, token(replace(CLAIMS, nonce=session.nonce, boot_seed=boot_seed))
    )
    said = submodule(done.result)["ear.veraison.policy-claims"]["checks"]
    assert [one.get("warning", False) for one in said] == [one.warning for one in appraisal.checks]
    return appraisal


def said(appraisal: Appraisal) -> str:
    return next((one.words for one in appraisal.checks if one.name == "boot"), "")


def test_restarts_are_told(desk: Desk) -> None:
    for boot_seed, words in ((FIRST, "first boot"), (FIRST, "not restarted"), (SECOND, "was restarted")):
        appraisal = booted(desk, boot_seed)
        assert words in said(appraisal)
        assert appraisal.status is Status.AFFIRMING


def test_an_earlier_boot_is_a_doubt_until_there_is_a_new_one(desk: Desk) -> None:
    booted(desk, FIRST)
    booted(desk, SECOND)
    for _ in range(2):
        appraisal = booted(desk, FIRST)
        assert "copied or set back" in said(appraisal)
        assert (appraisal.status, appraisal.vector.instance_identity) == (Status.WARNING, 32)
        assert "not restarted" in said(booted(desk, SECOND)), "the copy took the device's place"
    assert booted(desk, THIRD).status is Status.AFFIRMING
    assert booted(desk, SECOND).status is Status.WARNING


def test_nothing_is_said_without_a_seed_or_without_a_memory(desk: Desk) -> None:
    assert said(booted(desk, None)) == ""
    assert said(judged(token(replace(CLAIMS, boot_seed=FIRST)))) == ""


def test_what_is_not_authentic_is_not_remembered(desk: Desk, storage: SqliteStorage) -> None:
    booted(desk, FIRST)
    session = desk.new_session()
    forged = replace(CLAIMS, nonce=session.nonce, boot_seed=SECOND)
    desk.submit(session.session_id, PSA, token(forged, FOREIGN))
    desk.submit(desk.new_session().session_id, PSA, token(forged))
    assert "not restarted" in said(booted(desk, FIRST))


def test_devices_do_not_share_boots_and_memory_is_bounded(storage: SqliteStorage) -> None:
    one, other = b"\1" + bytes(32), b"\1" * 33
    with storage.transaction():
        storage.remember_boot(other, FIRST)
        for number in range(REMEMBERED + 2):
            storage.remember_boot(one, number.to_bytes(32))
    assert storage.boot_seen(one, FIRST).name == "NEW"
    assert storage.boot_seen(one, (0).to_bytes(32)).name == "NEW"
    assert storage.boot_seen(one, (2).to_bytes(32)).name == "EARLIER"
    assert storage.boot_seen(one, (REMEMBERED + 1).to_bytes(32)).name == "LAST"
    assert storage.boot_seen(other, FIRST).name == "LAST"
    assert storage._execute("SELECT count(*) FROM boot").fetchone() == (REMEMBERED + 1,)
