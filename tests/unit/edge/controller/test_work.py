from __future__ import annotations

from edgeroot.edge.controller.work import LONGEST_DELAY_S, LONGEST_URGENT_S, Urgency, WorkQueue


def queue() -> WorkQueue:
    return WorkQueue(spread=lambda longest_s: longest_s)


def taken(work: WorkQueue) -> list[str]:
    names = []
    while (name := work.take()) is not None:
        names.append(name)
        work.done(name)
    return names


def test_the_urgent_come_first_and_the_others_in_the_order_they_came() -> None:
    work = queue()
    for number in range(5000):
        work.add(f"n{number}", Urgency.GAINED)
    work.add("late", Urgency.LOST)
    work.add("bad", Urgency.CONTRAINDICATED)

    assert taken(work) == ["bad", "late", *(f"n{number}" for number in range(5000))]


def test_a_name_waits_once_at_its_highest_urgency() -> None:
    work = queue()
    for name, urgency in [("a", Urgency.GAINED), ("b", Urgency.GAINED), ("b", Urgency.CONTRAINDICATED)]:
        work.add(name, urgency)
    work.add("b", Urgency.GAINED)

    assert len(work) == 2
    assert taken(work) == ["b", "a"]


def test_a_name_in_work_is_not_given_to_another_but_done_again() -> None:
    work = queue()
    work.add("a", Urgency.GAINED)
    assert work.take() == "a"
    work.add("a", Urgency.GAINED)
    work.add("a", Urgency.LOST)

    assert work.take() is None
    work.done("a")
    assert taken(work) == ["a"]


def test_failures_are_tried_again_later_and_ever_later() -> None:
    work = queue()
    delays = []
    for _ in range(9):
        work.add("a", Urgency.GAINED)
        assert work.take() == "a"
        delays.append(work.failed("a", Urgency.GAINED, 100.0))

    assert delays == [0.5, 1, 2, 4, 8, 16, LONGEST_DELAY_S, LONGEST_DELAY_S, LONGEST_DELAY_S]
    work.ripen(100.4)
    assert work.take() is None
    work.ripen(100.5)
    assert taken(work) == ["a"]
    # It succeeded: the next failure is the first.
    work.add("a", Urgency.GAINED)
    work.take()
    assert work.failed("a", Urgency.GAINED, 200.0) == 0.5


def test_a_contraindication_is_tried_again_soon() -> None:
    work = queue()
    delays = []
    for _ in range(20):
        work.add("a", Urgency.CONTRAINDICATED)
        work.take()
        delays.append(work.failed("a", Urgency.CONTRAINDICATED, 0.0))

    assert max(delays) == LONGEST_URGENT_S


def test_what_comes_while_a_name_waits_for_its_next_try_is_not_kept_waiting() -> None:
    work = queue()
    work.add("a", Urgency.GAINED)
    work.take()
    work.failed("a", Urgency.GAINED, 0.0)
    work.add("a", Urgency.CONTRAINDICATED)

    assert taken(work) == ["a"]


def test_who_takes_the_urgent_only_leaves_the_others_waiting() -> None:
    work = queue()
    work.add("a", Urgency.GAINED)
    work.add("b", Urgency.LOST)
    work.add("c", Urgency.CONTRAINDICATED)

    assert work.take(Urgency.CONTRAINDICATED) == "c"
    assert work.take(Urgency.CONTRAINDICATED) is None
    assert work.take() == "b"
