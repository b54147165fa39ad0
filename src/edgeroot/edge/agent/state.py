"""What probes are told: the last result, and what has gone wrong since. No secret, and of use on this node only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from edgeroot.edge.agent.verdict import AFFIRMING, Verdict

FILE: Final = "agent.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Times count from 1970. ``status`` empty: there was no result yet; ``expires_at_s`` None: it never expires.

    ``failure`` says why there is no newer result, ``failing_since_s`` since when.
    """

    status: str = ""
    reason: str = ""
    judged_at_s: float = 0.0
    expires_at_s: float | None = None
    failure: str = ""
    failing_since_s: float | None = None

    def judged(self, verdict: Verdict, now_s: float) -> State:
        expires_at_s = None if verdict.lifetime_s is None else now_s + verdict.lifetime_s
        return State(status=verdict.status, reason=verdict.reason, judged_at_s=now_s, expires_at_s=expires_at_s)

    def failed(self, failure: str, now_s: float) -> State:
        since_s = now_s if self.failing_since_s is None else self.failing_since_s
        return replace(self, failure=failure, failing_since_s=since_s)

    def problem(self, now_s: float) -> str | None:
        """In words, why the node is not affirmed now; None if it is."""
        why = f"; {self.failure}" if self.failure else ""
        if not self.status:
            return f"there is no result yet{why}"
        if self.status != AFFIRMING:
            return f"the verifier says: {self.status}" + (f": {self.reason}" if self.reason else "")
        if self.expires_at_s is not None and now_s >= self.expires_at_s:
            return f"the result expired {now_s - self.expires_at_s:.0f} s ago{why}"
        return None


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
