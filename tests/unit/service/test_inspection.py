"""Going round the keys that back ends keep: what is missing is told once, and nothing is changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeroot.keystore.records import KeyIdentity, KeyRecord, KeyStoreError
from edgeroot.keystore.writes import Insert, Mark, Remove, Reserve
from edgeroot.psa import PsaStatus
from edgeroot.service import inspection
from edgeroot.service.inspection import Inspection
from edgeroot.service.mounted import MountedProvider
from edgeroot.testing.keystore_kit import ATTRIBUTES
from tests.unit.keystore.keystore_support import Store
from tests.unit.service.pipeline_kit import BackEnd

NAME = "back-end"


class Forgetful(BackEnd):
    """``asked`` are the references that it was asked for, ``before`` what happens before each answer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[bytes] = []
        self.before: Callable[[], None] = lambda: None

    def exists(self, reference: bytes) -> bool:
        self.asked.append(reference)
        self.before()
        self._called("exists")
        return super().exists(reference)


class Inspected:
    """A store and a back end that begin with the same keys, and the inspection of them."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self.back_end = Forgetful()
        self.counts: list[int] = []
        self.mounted = MountedProvider(0, 1, NAME, 0, self.back_end)
        self.inspection = self.begin()

    def begin(self, *, log_details: bool = False) -> Inspection:
        return Inspection(self.mounted, self.store.reader, tell=self.counts.append, log_details=log_details)

    def add(self, key_name: str, *, application: str = "app", authenticator: int = 3, name: str = NAME) -> KeyRecord:
        identity = KeyIdentity(authenticator, application, name, key_name)
        reference = f"{authenticator} {application} {name} {key_name}".encode()
        record = KeyRecord(identity, reference, ATTRIBUTES[0])
        self.store.apply([Insert(record)])
        self.back_end.keys.add(reference)
        return record

    def go_round(self) -> list[bytes]:
        """The references of one round."""
        self.back_end.asked.clear()
        rounds = self.inspection._round
        while self.inspection._round is rounds:
            self.inspection.step()
        return self.back_end.asked


@pytest.fixture
def inspected(tmp_path: Path) -> Iterator[Inspected]:
    made = Inspected(tmp_path / "keys")
    yield made
    made.store.close()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO)

    def take() -> list[str]:
        messages = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return messages

    return take


def test_each_key_and_object_is_asked_for_once_a_round(inspected: Inspected) -> None:
    inspected.add("of another", name="another")
    records = [
        inspected.add("key"),
        inspected.add("key", application="other"),
        inspected.add("key", authenticator=1),
        inspected.add("object", name=inspected.mounted.objects_name),
        *(inspected.add(f"key {number:03}") for number in range(2 * inspection._PAGE + 1)),
    ]
    for _ in range(2):
        asked = inspected.go_round()
        assert sorted(asked) == sorted(record.reference for record in records)


def test_one_step_asks_for_one_key(inspected: Inspected) -> None:
    for number in range(5):
        inspected.add(f"key {number}")
    for count in range(1, 6):
        inspected.inspection.step()
        assert len(inspected.back_end.asked) == count


def test_what_is_missing_is_told_once_and_its_record_stays(inspected: Inspected, told: Callable[[], list[str]]) -> None:
    lost, kept = inspected.add("lost"), inspected.add("kept")
    inspected.go_round()
    assert (told(), inspected.counts[-1]) == ([], 0)
    inspected.back_end.keys.remove(lost.reference)
    inspected.go_round()
    assert told() == [f"the back end of provider {NAME} has lost a key; its record is kept"]
    for _ in range(3):
        inspected.go_round()
        assert inspected.counts[-1] == 1
    assert told() == []
    assert inspected.store.reader.find(lost.identity) == lost
    assert inspected.back_end.keys == {kept.reference}
    assert set(inspected.back_end.calls) == {"exists"}


def test_what_comes_back_may_be_missed_again(inspected: Inspected, told: Callable[[], list[str]]) -> None:
    record = inspected.add("key")
    for _ in range(2):
        inspected.back_end.keys.remove(record.reference)
        inspected.go_round()
        assert (len(told()), inspected.counts[-1]) == (1, 1)
        inspected.back_end.keys.add(record.reference)
        inspected.go_round()
        inspected.go_round()
        assert (told(), inspected.counts[-1]) == ([], 0)


def test_names_are_told_only_where_that_is_wanted(inspected: Inspected, told: Callable[[], list[str]]) -> None:
    record = inspected.add("secret", application="bank", name=inspected.mounted.objects_name)
    inspected.back_end.keys.remove(record.reference)
    inspected.go_round()
    [message] = told()
    assert message == f"the back end of provider {NAME} has lost an object; its record is kept"
    inspected.inspection = inspected.begin(log_details=True)
    inspected.go_round()
    [message] = told()
    assert message.endswith(": 'secret' of 'bank'")


def test_a_back_end_that_does_not_answer_has_lost_nothing(inspected: Inspected, told: Callable[[], list[str]]) -> None:
    lost = inspected.add("lost")
    inspected.add("kept")
    inspected.back_end.keys.remove(lost.reference)
    inspected.back_end.fails["exists"] = [PsaStatus.COMMUNICATION_FAILURE] * 2
    inspected.go_round()
    assert (told(), inspected.counts[-1]) == ([], 0)
    inspected.go_round()
    assert (len(told()), inspected.counts[-1]) == (1, 1)
    # And what it has lost it has not found because it is silent.
    inspected.back_end.fails["exists"] = [PsaStatus.COMMUNICATION_FAILURE] * 2
    inspected.go_round()
    inspected.go_round()
    assert (told(), inspected.counts[-1]) == ([], 1)


@pytest.mark.parametrize("becomes", ["destroyed", "about to be destroyed", "made anew"])
def test_what_changes_while_the_back_end_is_asked_is_not_missing(
    inspected: Inspected, told: Callable[[], list[str]], becomes: str
) -> None:
    record = inspected.add("key")
    inspected.back_end.keys.clear()

    def change() -> None:
        inspected.back_end.before = lambda: None
        if becomes == "about to be destroyed":
            inspected.store.apply([Mark(record.identity, "holder")])
            return
        inspected.store.apply([Remove(record.identity, record.reference)])
        if becomes == "made anew":
            inspected.store.apply([Insert(KeyRecord(record.identity, b"elsewhere", ATTRIBUTES[0]))])

    inspected.back_end.before = change
    inspected.go_round()
    assert (told(), inspected.counts[-1]) == ([], 0)


def test_what_is_destroyed_after_it_was_listed_is_not_asked_for(inspected: Inspected) -> None:
    first, second = inspected.add("1"), inspected.add("2")
    inspected.inspection.step()
    inspected.store.apply([Remove(second.identity, second.reference)])
    inspected.inspection.step()
    assert inspected.back_end.asked == [first.reference]


def test_a_key_that_is_only_reserved_is_not_asked_for(inspected: Inspected) -> None:
    identity = KeyIdentity(3, "app", NAME, "reserved")
    inspected.store.apply([Reserve(KeyRecord(identity, b"planned", ATTRIBUTES[0]), "holder")])
    assert inspected.go_round() == []


def test_a_back_end_that_lost_everything_costs_bounded_memory(
    inspected: Inspected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "_REMEMBERED", 3)
    for number in range(10):
        inspected.add(f"key {number}")
    inspected.back_end.keys.clear()
    inspected.go_round()
    assert len(inspected.inspection._known) == 3


def test_a_store_that_cannot_be_read_ends_nothing(inspected: Inspected, monkeypatch: pytest.MonkeyPatch) -> None:
    record = inspected.add("key")

    def unreadable(*_arguments: object) -> list[str]:
        raise KeyStoreError("torn")

    with monkeypatch.context() as patched:
        patched.setattr(type(inspected.store.reader), "list_applications", unreadable)
        inspected.inspection.step()
        inspected.inspection.step()
    assert inspected.go_round() == [record.reference]
