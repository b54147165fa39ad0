"""Who holds which slot, asked of a double of the kubelet over a Unix socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgeroot.auth import AuthenticationError
from edgeroot.auth.claims import Pod
from edgeroot.identity import holders
from edgeroot.identity.holders import SlotHolders
from tests.support.pod_resources import RESOURCE, PodResourcesDouble, serving

TILL = Pod("shop", "till-0", "uid")
VAULT = Pod("bank", "vault-0", "uid")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(holders, "monotonic", found)
    return found


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[PodResourcesDouble]:
    with serving(PodResourcesDouble(), tmp_path / "kubelet.sock") as double:
        double.holders = {3: "shop/till-0", 12: "bank/vault-0"}
        yield double


@pytest.fixture
def slots(kubelet: PodResourcesDouble, tmp_path: Path) -> Iterator[SlotHolders]:
    found = SlotHolders(tmp_path / "kubelet.sock", RESOURCE)
    yield found
    found.close()


def holds(slots: SlotHolders, slot: int, pod: Pod) -> bool:
    try:
        slots.check(slot, pod)
    except AuthenticationError:
        return False
    return True


def test_a_pod_holds_its_slot_and_no_other(clock: Clock, slots: SlotHolders) -> None:
    assert slots.check(3, TILL) == 0
    assert slots.check(12, VAULT) == 0

    for slot, pod in ((12, TILL), (3, VAULT), (4, TILL), (0, TILL), (312, TILL)):
        with pytest.raises(AuthenticationError, match=f"{pod.namespace}/{pod.name}, which does not hold slot {slot}"):
            slots.check(slot, pod)


def test_the_namespace_is_part_of_a_pods_name(clock: Clock, slots: SlotHolders) -> None:
    assert not holds(slots, 3, Pod("bank", "till-0", "uid"))
    assert not holds(slots, 3, Pod("shop", "till-00", "uid"))


def test_other_resources_are_no_slots(clock: Clock, slots: SlotHolders, kubelet: PodResourcesDouble) -> None:
    kubelet.other_devices = {"slot-05": "shop/till-0"}

    assert not holds(slots, 5, TILL)


def test_a_list_is_used_for_a_second(clock: Clock, slots: SlotHolders, kubelet: PodResourcesDouble) -> None:
    slots.check(3, TILL)
    clock.now_s += 0.9
    assert slots.check(3, TILL) == pytest.approx(0.9)
    assert kubelet.questions == 1

    kubelet.holders = {3: "bank/vault-0"}
    clock.now_s += 0.2
    assert not holds(slots, 3, TILL)


def test_a_pod_that_was_just_started_need_not_wait(
    clock: Clock, slots: SlotHolders, kubelet: PodResourcesDouble
) -> None:
    slots.check(3, TILL)
    kubelet.holders[4] = "shop/till-1"
    clock.now_s += 0.01

    assert slots.check(4, Pod("shop", "till-1", "uid")) == 0
    assert kubelet.questions == 2


def test_who_is_refused_does_not_make_us_ask_all_the_time(
    clock: Clock, slots: SlotHolders, kubelet: PodResourcesDouble
) -> None:
    for _ in range(100):
        clock.now_s += 0.01
        assert not holds(slots, 12, TILL)

    assert kubelet.questions <= 5
    kubelet.holders[12] = "shop/till-0"
    clock.now_s += 0.3
    assert holds(slots, 12, TILL)


def test_a_slot_that_two_pods_are_said_to_hold_is_nobodys(
    clock: Clock, slots: SlotHolders, kubelet: PodResourcesDouble
) -> None:
    kubelet.more = {3: "shop/till-9"}

    assert not holds(slots, 3, TILL)
    assert not holds(slots, 3, Pod("shop", "till-9", "uid"))
    assert holds(slots, 12, VAULT)


def test_without_the_kubelet_nobody_holds_anything(clock: Clock, tmp_path: Path) -> None:
    slots = SlotHolders(tmp_path / "kubelet.sock", RESOURCE)
    with pytest.raises(AuthenticationError, match=r"kubelet\.sock does not answer \(UNAVAILABLE\)"):
        slots.check(3, TILL)

    with serving(PodResourcesDouble(), tmp_path / "kubelet.sock") as double:
        double.holders = {3: "shop/till-0"}
        # The connection is tried again by itself, within a second.
        deadline = threading.Event()
        for _ in range(40):
            clock.now_s += 1
            if holds(slots, 3, TILL):
                break
            deadline.wait(0.05)
        assert holds(slots, 3, TILL)
    clock.now_s += 1.1
    assert not holds(slots, 3, TILL)
    slots.close()


def test_a_kubelet_that_hangs_holds_up_one_question_and_not_the_next(
    slots: SlotHolders, kubelet: PodResourcesDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holders, "_TIMEOUT_S", 0.1)
    kubelet.may_answer.clear()

    with pytest.raises(AuthenticationError, match="DEADLINE_EXCEEDED"):
        slots.check(3, TILL)
    with pytest.raises(AuthenticationError, match="DEADLINE_EXCEEDED"):
        slots.check(12, VAULT)
    assert kubelet.questions == 1


def test_many_who_ask_at_once_share_an_answer(slots: SlotHolders, kubelet: PodResourcesDouble) -> None:
    kubelet.may_answer.clear()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(slots.check, 3, TILL) for _ in range(8)]
        kubelet.may_answer.set()
        for one in asked:
            one.result()

    assert kubelet.questions <= 2
