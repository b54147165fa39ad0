from __future__ import annotations

from dataclasses import replace

from edgeroot.edge.controller.actions import read_status
from edgeroot.edge.controller.fleet import Fleet
from edgeroot.edge.controller.names import CONTRAINDICATED_TAINT, UNATTESTED_TAINT
from edgeroot.edge.controller.records import EdgeNode, Effect, Moment, Node, State, Status, Taint, Tier
from edgeroot.edge.controller.verdict import Policy
from edgeroot.edge.controller.work import Urgency
from tests.unit.edge.controller.test_verdict import EDGE, GOOD, NODE, NOW, later

BAD = replace(GOOD, tier=Tier.CONTRAINDICATED, reason="tampered with", evaluated_s=GOOD.evaluated_s + 1)


def fleet(*, results: bool = True) -> Fleet:
    """One node with its EdgeNode, and what the verifier says if it was read."""
    found = Fleet(Policy())
    found.list_nodes([NODE])
    found.list_edges([EDGE])
    if results:
        found.start_over()
        found.take([GOOD], more=False, now=NOW)
    return found


def state_of(found: Fleet, name: str = "gateway-7", now: Moment = NOW) -> str | None:
    """What is written into the status, which is then there."""
    actions = found.decide(name, now)
    if actions.status is None:
        return None
    edge = replace(EDGE, name=name, status=read_status(actions.status["status"]))
    found.put_edge(edge)
    return str(actions.status["status"]["state"])


def test_a_result_touches_the_node_of_its_device_alone() -> None:
    found = fleet(results=False)
    found.list_edges([EDGE, replace(EDGE, name="gateway-8", uid="e2", device="02cd")])
    found.start_over()
    found.take([], more=False, now=NOW)

    assert found.take([replace(GOOD, device="02cd"), replace(GOOD, device="unclaimed")], more=False, now=NOW) == {
        "gateway-8"
    }
    assert found.take([replace(GOOD, device="02cd")], more=False, now=NOW) == set()


def test_a_device_enrolled_after_its_result_came_finds_it() -> None:
    found = Fleet(Policy())
    found.start_over()
    found.take([GOOD], more=False, now=NOW)

    assert found.put_edge(EDGE) == {"gateway-7"}
    assert state_of(found) == "Affirmed"


def test_a_heartbeat_touches_nothing_but_its_version_counts() -> None:
    found = fleet()

    assert found.put_node(replace(NODE, version="2")) == set()
    found_node = found.decide("gateway-7", NOW).node
    assert found_node is not None
    assert found_node["metadata"]["resourceVersion"] == "2"


def test_a_watch_that_is_behind_what_was_written_is_not_believed() -> None:
    found = fleet()
    tainted = replace(NODE, version="12", taints=(Taint(UNATTESTED_TAINT, Effect.NO_SCHEDULE),))
    found.put_node(tainted)

    assert found.put_node(replace(NODE, version="11")) == set()
    assert found.put_edge(replace(EDGE, version="0")) == set()
    # Made anew it may have any version.
    assert found.put_node(replace(NODE, uid="n2", version="3")) == {"gateway-7"}


def test_a_list_is_believed_though_it_is_older() -> None:
    # etcd was restored from an older snapshot: versions go back, and the label is there again.
    found = fleet()
    found.put_node(replace(NODE, version="90", taints=(Taint(UNATTESTED_TAINT, Effect.NO_SCHEDULE),)))
    found.take([BAD], more=False, now=NOW)

    assert found.list_nodes([replace(NODE, version="40", attested="true")]) == {"gateway-7"}
    patch = found.decide("gateway-7", NOW).node
    assert patch is not None
    assert patch["metadata"]["resourceVersion"] == "40"
    assert [one["key"] for one in patch["spec"]["taints"]] == [CONTRAINDICATED_TAINT, UNATTESTED_TAINT]


def test_what_a_list_lacks_is_gone() -> None:
    found = fleet()

    assert found.list_nodes([]) == {"gateway-7"}
    assert found.decide("gateway-7", NOW).node is None
    assert found.list_edges([]) == {"gateway-7"}
    assert not found.decide("gateway-7", NOW)


def test_a_second_claim_takes_the_affirmation_from_both_and_its_end_gives_it_back() -> None:
    found = fleet()
    assert state_of(found) == "Affirmed"

    assert found.put_edge(replace(EDGE, name="gateway-8", uid="e2")) == {"gateway-7", "gateway-8"}
    assert state_of(found) == "Unattested"
    assert state_of(found, "gateway-8") == "Unattested"

    assert found.drop_edge("gateway-8") == {"gateway-7", "gateway-8"}
    assert state_of(found) == "Affirmed"


def test_another_device_ends_the_claim() -> None:
    found = fleet()
    found.put_edge(replace(EDGE, name="gateway-8", uid="e2"))

    assert found.put_edge(replace(EDGE, name="gateway-8", uid="e2", device="02cd")) == {"gateway-7", "gateway-8"}
    assert state_of(found) == "Affirmed"


def test_expiry_touches_a_node_when_its_time_has_come() -> None:
    found = fleet()
    found.tick(NOW)
    state_of(found)

    assert found.tick(later(1739)) == set()
    assert found.tick(later(1740)) == {"gateway-7"}
    assert state_of(found, now=later(1740)) == "Expired"
    assert found.tick(later(5000)) == set()


def test_a_later_result_moves_the_expiry() -> None:
    found = fleet()
    found.tick(NOW)
    state_of(found)
    fresh = replace(GOOD, evaluated_s=GOOD.evaluated_s + 600, expires_s=GOOD.expires_s + 600)
    found.take([fresh], more=False, now=later(600))
    state_of(found, now=later(600))

    assert found.tick(later(1741)) == set()
    assert found.tick(later(2340)) == {"gateway-7"}


def test_a_clock_that_was_set_has_everybody_looked_at() -> None:
    found = fleet()
    found.tick(NOW)
    state_of(found)

    assert found.tick(later(10, stepped=0.5)) == set()
    assert found.tick(later(20, stepped=86400)) == {"gateway-7"}
    assert state_of(found, now=later(20, stepped=86400)) == "Expired"
    # Set right again: nothing is affirmed by it, the next appraisal does that.
    assert found.tick(later(30)) == {"gateway-7"}
    assert state_of(found, now=later(30)) is None
    fresh = replace(GOOD, evaluated_s=GOOD.evaluated_s + 600, expires_s=GOOD.expires_s + 600)
    found.take([fresh], more=False, now=later(600))
    assert state_of(found, now=later(600)) == "Affirmed"


def test_an_outage_holds_for_the_grace_and_the_verifiers_return_is_given_time() -> None:
    found = fleet()
    found.tick(NOW)
    state_of(found)
    found.unreachable()

    assert found.tick(later(1740)) == {"gateway-7"}
    assert state_of(found, now=later(1740)) is None  # still affirmed
    found.take([], more=False, now=later(1800))
    assert found.tick(later(1801)) == set()
    assert state_of(found, now=later(1801)) is None
    assert found.tick(later(2100)) == {"gateway-7"}
    assert state_of(found, now=later(2100)) == "Expired"


def test_an_outage_longer_than_the_grace_ends_the_affirmation() -> None:
    found = fleet()
    found.tick(NOW)
    state_of(found)
    found.unreachable()
    found.tick(later(1740))
    state_of(found, now=later(1740))

    assert found.tick(later(1740 + 899)) == set()
    assert found.tick(later(1740 + 900)) == {"gateway-7"}
    assert state_of(found, now=later(1740 + 900)) == "Expired"


def test_devices_that_the_whole_state_lacks_have_no_result_any_more() -> None:
    found = fleet()
    state_of(found)
    found.start_over()

    # The state comes in pages: until the last nothing is missing.
    assert found.take([replace(GOOD, device="02cd")], more=True, now=NOW) == set()
    assert found.take([], more=False, now=NOW) == {"gateway-7"}
    assert state_of(found) == "Unattested"


def test_a_contraindication_in_the_midst_of_the_whole_state_counts_at_once() -> None:
    found = fleet()
    state_of(found)
    found.start_over()

    assert found.take([BAD], more=True, now=NOW) == {"gateway-7"}
    assert state_of(found) == "Contraindicated"


def test_only_the_whole_state_lets_a_device_be_without_result() -> None:
    found = fleet(results=False)
    affirmed = replace(EDGE, status=fleet_status(), version="2")
    found.put_edge(affirmed)
    found.start_over()

    found.take([replace(GOOD, device="02cd")], more=True, now=NOW)
    assert not found.decide("gateway-7", NOW)
    assert not found.complete
    assert "gateway-7" in found.take([], more=False, now=NOW)
    assert state_of(found) == "Unattested"


def fleet_status() -> Status | None:
    found = fleet()
    status = found.decide("gateway-7", NOW).status
    assert status is not None
    return read_status(status["status"])


def test_contraindications_are_urgent_until_their_taints_are_there() -> None:
    found = fleet()
    assert found.urgency("gateway-7", NOW) is Urgency.GAINED
    found.take([BAD], more=False, now=NOW)

    assert found.urgency("gateway-7", NOW) is Urgency.CONTRAINDICATED
    both = (Taint(UNATTESTED_TAINT, Effect.NO_SCHEDULE), Taint(CONTRAINDICATED_TAINT, Effect.NO_EXECUTE))
    found.put_node(replace(NODE, version="2", taints=both))
    assert found.urgency("gateway-7", NOW) is Urgency.LOST


def test_it_tells_how_many_stand_how() -> None:
    found = fleet()
    state_of(found)
    found.put_edge(EdgeNode(name="gateway-8", uid="e2", version="1", device="02cd"))
    found.put_node(Node(name="other", uid="n9", version="1"))

    assert found.counts() == {State.AFFIRMED: 1}
    assert found.feed_age_s(later(7)) == 7


def test_the_heap_of_deadlines_does_not_grow_with_the_results() -> None:
    found = fleet()
    for number in range(5000):
        fresh = replace(GOOD, evaluated_s=GOOD.evaluated_s + number, expires_s=GOOD.expires_s + number)
        found.take([fresh], more=False, now=later(number))
        found.decide("gateway-7", later(number))

    assert len(found._heap) < 2000
