"""How a node stands: judged from the verifier's result, the clocks, and what was judged before."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from edgeroot.edge.controller.records import EdgeNode, Moment, Node, Result, State, Status, Tier, time_text

NEVER: Final = float("inf")
_ANEW: Final = "the node was made anew, and its device has not been appraised since"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """``grace_s``: for how long an expired result holds while the verifier is away; ``recovery_s``: for how long after
    an outage it still counts as away, since agents come back one by one; ``skew_s``: by how much clocks may differ.
    """

    grace_s: float = 900
    recovery_s: float = 300
    skew_s: float = 60
    accept_warning: bool = False
    evict_expired: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """The result that counts for a device.

    ``expires_steady_s``: when it expires by the clock that only runs, so that a clock set back prolongs nothing.
    ``refused``: why a later result was not taken.
    """

    result: Result
    received_s: float
    expires_steady_s: float
    refused: str = ""

    def lasts_s(self, now: Moment) -> float:
        """Seconds until it expires, by the stricter of both clocks; 0 or less if it did."""
        return min(self.result.expires_s - now.wall_s, self.expires_steady_s - now.steady_s)


def hold(held: Held | None, new: Result, now: Moment, policy: Policy) -> Held:
    """What counts once the verifier has said ``new``; ``held`` itself if that changes nothing.

    A contraindication always counts. Anything else only if it is not from the future, and from no earlier appraisal
    than what is held: a verifier whose store was restored does not make a device better than it was found.
    """
    if held is not None and held.result == new:
        return held
    if new.tier is not Tier.CONTRAINDICATED:
        if new.evaluated_s > now.wall_s + policy.skew_s:
            words = f"a result of {time_text(new.evaluated_s)} lies in the future: check the clocks"
            if held is not None:
                return replace(held, refused=words)
            nothing = Result(device=new.device, tier=Tier.NONE, reason=words)
            return Held(nothing, now.steady_s, now.steady_s)
        if held is not None and new.evaluated_s < held.result.evaluated_s:
            return held
    return Held(new, now.steady_s, now.steady_s + new.expires_s - now.wall_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """``recheck_s``: after how many seconds it has to be judged anew though nothing happens.

    ``confirmed`` False: the verifier has not been heard since the controller started. What stands is left standing,
    but nothing is affirmed on its account.
    """

    state: State
    reason: str
    result: Result | None = None
    recheck_s: float = NEVER
    confirmed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What is known besides the node and its EdgeNode.

    ``complete``: the verifier's whole state was read. ``away``: it cannot be reached. ``rivals``: other EdgeNodes that
    claim the same device.
    """

    held: Held | None
    complete: bool
    away: bool
    rivals: Collection[str] = ()


def judge(edge: EdgeNode | None, node: Node | None, known: Knowledge, *, now: Moment, policy: Policy) -> Judgement:
    """How the node stands now."""
    if edge is None:
        return Judgement(state=State.UNATTESTED, reason="no EdgeNode says which device this node is")
    before = edge.status if _is_about(edge.status, edge.device) else None
    if known.held is None and not known.complete:
        return _unheard(node, before, now, policy)
    result = known.held.result if known.held is not None else None
    if result is not None and result.tier is Tier.CONTRAINDICATED:
        return Judgement(
            state=State.CONTRAINDICATED, reason=result.reason or "the verifier contraindicates it", result=result
        )
    if known.rivals:
        names = ", ".join(sorted(known.rivals)[:3])
        reason = f"the device is claimed by other EdgeNodes, too: {names}"
        return Judgement(state=State.UNATTESTED, reason=reason, result=result)
    if (worse := _as_before(before, result)) is not None:
        return worse
    if known.held is None or result is None or result.tier is Tier.NONE:
        said = result.reason if result is not None else ""
        reason = said or "the verifier has no result about the device"
        return Judgement(state=State.UNATTESTED, reason=reason, result=result)
    if result.tier is Tier.WARNING and not policy.accept_warning:
        reason = f"the verifier warns: {result.reason or 'it does not say of what'}"
        return Judgement(state=State.UNATTESTED, reason=reason, result=result)
    if _is_anew(node, before, result):
        return Judgement(state=State.UNATTESTED, reason=_ANEW, result=result)
    return _by_time(known.held, away=known.away, now=now, policy=policy)


def _is_about(status: Status | None, device: str) -> bool:
    """Whether the status was written about this device, and not about one that the EdgeNode named before."""
    return status is not None and (status.result is None or status.result.device == device)


def _as_before(before: Status | None, result: Result | None) -> Judgement | None:
    """The worse state, which is left only by an appraisal later than it: neither a clock set back nor a verifier whose
    store was restored improves a node.
    """
    if before is None or before.result is None:
        return None
    unsaid = result is None or result.tier is Tier.NONE
    lasting = before.state is State.CONTRAINDICATED or (before.state is State.EXPIRED and not unsaid)
    if not lasting or (result is not None and result.evaluated_s > before.result.evaluated_s):
        return None
    return Judgement(state=before.state, reason=before.reason, result=before.result)


def _unheard(node: Node | None, before: Status | None, now: Moment, policy: Policy) -> Judgement:
    """Before the verifier was heard the status says how the node stands, and what it affirms goes on to expire."""
    waiting = "the verifier has not been heard yet"
    if before is None:
        return Judgement(state=State.UNATTESTED, reason=waiting, confirmed=False)
    if before.state is not State.AFFIRMED or before.result is None:
        return Judgement(state=before.state, reason=before.reason, result=before.result, confirmed=False)
    if _is_anew(node, before, before.result):
        return Judgement(state=State.UNATTESTED, reason=_ANEW, result=before.result)
    lasts_s = before.result.expires_s + policy.grace_s - now.wall_s
    if lasts_s <= 0:
        reason = _expired(before.result, "and the verifier cannot be reached")
        return Judgement(state=State.EXPIRED, reason=reason, result=before.result)
    return Judgement(
        state=State.AFFIRMED, reason=before.reason, result=before.result, recheck_s=lasts_s, confirmed=False
    )


def _is_anew(node: Node | None, before: Status | None, result: Result) -> bool:
    """Whether the Node is another than the one that was affirmed, and the device not appraised since."""
    if node is None or before is None or before.result is None or before.node_uid in {"", node.uid}:
        return False
    return result.evaluated_s <= before.result.evaluated_s


def _by_time(held: Held, *, away: bool, now: Moment, policy: Policy) -> Judgement:
    result, own_s = held.result, held.lasts_s(now)
    lasts_s = own_s + (policy.grace_s if away else 0)
    if lasts_s <= 0:
        why = held.refused or ("and the verifier cannot be reached" if away else "and none came after it")
        return Judgement(state=State.EXPIRED, reason=_expired(result, why), result=result)
    # With grace the reason stays the same: no status is written because a verifier is away.
    reason = result.reason or "the verifier affirms it"
    recheck_s = own_s if own_s > 0 else lasts_s
    return Judgement(state=State.AFFIRMED, reason=reason, result=result, recheck_s=recheck_s)


def _expired(result: Result, why: str) -> str:
    return f"the result of {time_text(result.evaluated_s)} expired at {time_text(result.expires_s)}, {why}"
