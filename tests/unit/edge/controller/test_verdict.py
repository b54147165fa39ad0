from __future__ import annotations

from dataclasses import replace

import pytest

from edgeroot.edge.controller.records import EdgeNode, Moment, Node, Result, State, Status, Tier, time_of
from edgeroot.edge.controller.verdict import Held, Judgement, Knowledge, Policy, hold, judge

NOON_S = time_of("2026-11-27T12:00:00Z")
NOW = Moment(NOON_S, 1000.0)
POLICY = Policy(grace_s=900, recovery_s=300, skew_s=60)
GOOD = Result(
    device="01ab",
    tier=Tier.AFFIRMING,
    reason="everything is known",
    evaluated_s=NOON_S - 60,
    expires_s=NOON_S + 1740,
    lifecycle="secured",
    components=(("BL", "1.0"),),
)
EDGE = EdgeNode(name="gateway-7", uid="e1", version="1", device="01ab")
NODE = Node(name="gateway-7", uid="n1", version="1")


def later(seconds: float, *, stepped: float = 0.0) -> Moment:
    """``stepped``: by how much the clock was set meanwhile."""
    return Moment(NOW.wall_s + seconds + stepped, NOW.steady_s + seconds)


def taken(result: Result = GOOD, at: Moment = NOW) -> Held:
    return hold(None, result, at, POLICY)


def judged(
    held: Held | None,
    now: Moment = NOW,
    *,
    edge: EdgeNode | None = EDGE,
    node: Node | None = NODE,
    complete: bool = True,
    away: bool = False,
    rivals: tuple[str, ...] = (),
    policy: Policy = POLICY,
) -> Judgement:
    known = Knowledge(held=held, complete=complete, away=away, rivals=rivals)
    return judge(edge, node, known, now=now, policy=policy)


def having(state: State, result: Result | None = GOOD, *, reason: str = "before", node_uid: str = "") -> EdgeNode:
    return replace(EDGE, status=Status(state=state, reason=reason, result=result, node_uid=node_uid))


def test_an_affirming_result_affirms_until_it_expires() -> None:
    found = judged(taken())

    assert found == Judgement(state=State.AFFIRMED, reason="everything is known", result=GOOD, recheck_s=1740)


def test_it_expires_at_its_time_and_not_before() -> None:
    assert judged(taken(), later(1739)).state is State.AFFIRMED

    expired = judged(taken(), later(1740))

    assert expired.state is State.EXPIRED
    assert "expired at 2026-11-27T12:29:00Z" in expired.reason


def test_a_verifier_that_is_away_gives_grace_and_no_more_than_that() -> None:
    held = taken()

    assert judged(held, later(1740), away=True) == replace(judged(held), recheck_s=900)
    assert judged(held, later(1740 + 899), away=True).state is State.AFFIRMED
    lost = judged(held, later(1740 + 900), away=True)
    assert lost.state is State.EXPIRED
    assert "cannot be reached" in lost.reason
    assert judged(held, later(1741), away=False).state is State.EXPIRED


@pytest.mark.parametrize("stepped", [-7200.0, -1.0])
def test_a_clock_set_back_prolongs_no_result(stepped: float) -> None:
    assert judged(taken(), later(1740, stepped=stepped)).state is State.EXPIRED


def test_a_clock_set_forward_lets_results_expire_rather_than_last() -> None:
    assert judged(taken(), later(10, stepped=86400)).state is State.EXPIRED


def test_the_same_result_read_again_after_a_step_keeps_its_deadline() -> None:
    held = taken()

    assert hold(held, GOOD, later(1700, stepped=-3600), POLICY) is held


def test_an_expired_node_is_affirmed_by_a_later_appraisal_only() -> None:
    # As after a restart with the clock set back: nothing but the status remembers.
    expired = having(State.EXPIRED, reason="it expired")

    assert judged(taken(), edge=expired) == Judgement(state=State.EXPIRED, reason="it expired", result=GOOD)
    anew = replace(GOOD, evaluated_s=GOOD.evaluated_s + 1)
    assert judged(taken(anew), edge=expired).state is State.AFFIRMED


def test_a_result_from_the_future_is_not_taken() -> None:
    future = replace(GOOD, evaluated_s=NOON_S + 61, expires_s=NOON_S + 3600)

    assert judged(taken(future)).state is State.UNATTESTED
    assert "future" in judged(taken(future)).reason
    assert judged(taken(replace(GOOD, evaluated_s=NOON_S + 60))).state is State.AFFIRMED


def test_a_result_from_the_future_leaves_the_one_before_to_expire() -> None:
    held = hold(taken(), replace(GOOD, evaluated_s=NOON_S + 600, expires_s=NOON_S + 9000), NOW, POLICY)

    assert judged(held).result == GOOD
    assert judged(held, later(600)).state is State.AFFIRMED
    assert "future" in judged(held, later(1740)).reason


def test_a_contraindication_counts_at_once_whatever_its_time() -> None:
    bad = replace(GOOD, tier=Tier.CONTRAINDICATED, reason="the device is revoked", evaluated_s=NOON_S + 86400)
    held = hold(taken(), bad, NOW, POLICY)

    found = judged(held)

    assert (found.state, found.reason) == (State.CONTRAINDICATED, "the device is revoked")
    assert judged(held, later(10**6)).state is State.CONTRAINDICATED


def test_an_earlier_appraisal_replaces_no_later_one() -> None:
    # A verifier whose store was restored.
    bad = replace(GOOD, tier=Tier.CONTRAINDICATED, evaluated_s=NOON_S)
    held = hold(taken(bad), GOOD, NOW, POLICY)

    assert judged(held).state is State.CONTRAINDICATED
    assert judged(hold(held, replace(GOOD, evaluated_s=NOON_S + 1), NOW, POLICY)).state is State.AFFIRMED


@pytest.mark.parametrize(
    ("held", "complete"), [(None, True), (taken(), True), (taken(Result(device="01ab", tier=Tier.NONE)), True)]
)
def test_a_contraindicated_node_is_not_set_free_by_what_is_no_later_appraisal(
    held: Held | None, complete: bool
) -> None:
    bad = replace(GOOD, tier=Tier.CONTRAINDICATED, reason="tampered with")

    found = judged(held, edge=having(State.CONTRAINDICATED, bad, reason="tampered with"), complete=complete)

    assert (found.state, found.reason) == (State.CONTRAINDICATED, "tampered with")


def test_another_device_in_the_node_starts_without_what_the_one_before_did() -> None:
    swapped = replace(having(State.CONTRAINDICATED, replace(GOOD, tier=Tier.CONTRAINDICATED)), device="02cd")

    assert judged(taken(replace(GOOD, device="02cd")), edge=swapped).state is State.AFFIRMED


def test_a_warning_is_no_affirmation_unless_somebody_says_so() -> None:
    held = taken(replace(GOOD, tier=Tier.WARNING, reason="debug is open"))

    found = judged(held)

    assert found.state is State.UNATTESTED
    assert "debug is open" in found.reason
    assert judged(held, policy=replace(POLICY, accept_warning=True)).state is State.AFFIRMED


def test_without_a_result_nothing_is_affirmed() -> None:
    assert judged(None).state is State.UNATTESTED
    unknown = taken(Result(device="01ab", tier=Tier.NONE, reason="it was never appraised"))
    assert judged(unknown).reason == "it was never appraised"


def test_a_device_that_two_claim_affirms_neither() -> None:
    found = judged(taken(), rivals=("gateway-8",))

    assert found.state is State.UNATTESTED
    assert "gateway-8" in found.reason
    bad = taken(replace(GOOD, tier=Tier.CONTRAINDICATED))
    assert judged(bad, rivals=("gateway-8",)).state is State.CONTRAINDICATED


def test_a_node_without_an_edge_node_is_unattested() -> None:
    assert judged(taken(), edge=None).state is State.UNATTESTED


def test_a_node_made_anew_waits_for_the_next_appraisal() -> None:
    affirmed = having(State.AFFIRMED, node_uid="n1")
    anew = replace(NODE, uid="n2")

    assert judged(taken(), edge=affirmed).state is State.AFFIRMED
    waiting = judged(taken(), edge=affirmed, node=anew)
    assert waiting.state is State.UNATTESTED
    assert "made anew" in waiting.reason
    next_one = replace(GOOD, evaluated_s=GOOD.evaluated_s + 1)
    assert judged(taken(next_one), edge=affirmed, node=anew).state is State.AFFIRMED


def test_a_node_that_is_gone_and_made_anew_does_not_use_what_came_meanwhile() -> None:
    # The agent of the deleted node goes on; its result is written into the status, and affirms the Node of before.
    between = replace(GOOD, evaluated_s=GOOD.evaluated_s + 1)

    found = judged(taken(between), edge=having(State.AFFIRMED, between, node_uid="n1"), node=replace(NODE, uid="n2"))

    assert found.state is State.UNATTESTED


class TestBeforeTheVerifierWasHeard:
    def test_what_stands_is_left_standing_but_nothing_is_affirmed_on_its_account(self) -> None:
        found = judged(None, edge=having(State.AFFIRMED, node_uid="n1"), complete=False)

        assert (found.state, found.confirmed, found.recheck_s) == (State.AFFIRMED, False, 1740 + 900)

    def test_it_expires_after_the_grace(self) -> None:
        found = judged(None, later(1740 + 900), edge=having(State.AFFIRMED, node_uid="n1"), complete=False)

        assert (found.state, found.confirmed) == (State.EXPIRED, True)

    def test_a_node_made_anew_is_not_left_standing(self) -> None:
        affirmed = having(State.AFFIRMED, node_uid="n1")

        assert judged(None, edge=affirmed, node=replace(NODE, uid="n2"), complete=False).state is State.UNATTESTED

    @pytest.mark.parametrize("state", [State.CONTRAINDICATED, State.EXPIRED, State.UNATTESTED])
    def test_what_does_not_stand_stays_as_it_is(self, state: State) -> None:
        found = judged(None, edge=having(state), complete=False)

        assert (found.state, found.reason) == (state, "before")

    def test_a_new_one_is_unattested(self) -> None:
        assert judged(None, complete=False).state is State.UNATTESTED
