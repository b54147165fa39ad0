"""What probes are told: the last result, and what has gone wrong since. No secret, and of use on this node only."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from edgeroot.edge.agent.verdict import AFFIRMING, Verdict

FILE: Final = "agent.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Times count from 1970. ``status`` empty: there was no result yet; ``expires_at_s`` None: it never expires.

    ``expires_steady_s`` is the same by the clock that only runs, so that one that is set back prolongs nothing.
    ``failure`` says why there is no newer result, ``failing_since_s`` since when.
    """

    status: str = ""
    reason: str = ""
    judged_at_s: float = 0.0
    expires_at_s: float | None = None
    expires_steady_s: float | None = None
    failure: str = ""
    failing_since_s: float | None = None

    def judged(self, verdict: Verdict, now_s: float, steady_s: float) -> State:
        judged = State(status=verdict.status, reason=verdict.reason, judged_at_s=now_s)
        if verdict.lifetime_s is None:
            return judged
        lifetime_s = verdict.lifetime_s
        return replace(judged, expires_at_s=now_s + lifetime_s, expires_steady_s=steady_s + lifetime_s)

    def failed(self, failure: str, now_s: float) -> State:
        since_s = now_s if self.failing_since_s is None else self.failing_since_s
        return replace(self, failure=failure, failing_since_s=since_s)

    def problem(self, now_s: float, steady_s: float) -> str | None:
        """In words, why the node is not affirmed now; None if it is. The stricter clock counts."""
        why = f"; {self.failure}" if self.failure else ""
        if not self.status:
            return f"there is no result yet{why}"
        if self.status != AFFIRMING:
            return f"the verifier says: {self.status}" + (f": {self.reason}" if self.reason else "")
        if self.expires_at_s is None or self.expires_steady_s is None:
            return None
        over_s = max(now_s - self.expires_at_s, steady_s - self.expires_steady_s)
        return f"the result expired {over_s:.0f} s ago{why}" if over_s >= 0 else None


def steady_now_s() -> float:
    """Goes on while the machine is suspended, and never back; the same for all processes since the boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def write_state(folder: Path, state: State) -> None:
    """All of it at once. OSError."""
    beside = folder / f"{FILE}.new"
    beside.write_text(json.dumps(asdict(state)))
    beside.replace(folder / FILE)


def read_state(folder: Path) -> State:
    """Nothing known for no file; ValueError for one that the agent did not write."""
    try:
        return State(**json.loads((folder / FILE).read_text()))
    except FileNotFoundError:
        return State()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / FILE} was not written by this release's agent") from error
