"""What the agent says of its node, and when. It is trusted for nothing. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from edgeroot.edge.agent.verdict import one_line

API_VERSION: Final = "edgeroot.dev/v1alpha1"
KIND: Final = "EdgeNode"
UNCHANGED_S: Final = 3_600.0
RETRY_S: Final = 60.0
RETRY_MAX_S: Final = 900.0
_PROVIDERS_MAX: Final = 64
_NAME_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """``providers`` are the service's back ends by name, in the order of its preference."""

    providers: tuple[str, ...]
    agent_version: str

    def applied(self, node_name: str, now_s: float) -> dict[str, Any]:
        """As the API server is given it: of the EdgeNode's status nothing but what is ours."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": node_name},
            "status": {
                "inventory": {
                    "providers": [one_line(one)[:_NAME_MAX] for one in self.providers[:_PROVIDERS_MAX]],
                    "agentVersion": self.agent_version,
                    "reportedAt": datetime.fromtimestamp(int(now_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                }
            },
        }


@dataclass(slots=True, kw_only=True)
class Reports:
    """When to say it. Times are of a clock that never goes back; ``chance`` gives a number from 0 to below 1."""

    chance: Callable[[], float]
    next_s: float = 0.0
    _said: Inventory | None = None
    _failures: int = 0

    def due(self, inventory: Inventory, now_s: float) -> bool:
        """At once if it has changed; otherwise from time to time, to show that it is still so."""
        return now_s >= self.next_s or (self._said is not None and inventory != self._said)

    def sent(self, inventory: Inventory, now_s: float) -> None:
        self._said, self._failures = inventory, 0
        self.next_s = now_s + UNCHANGED_S * (1 + 0.1 * self.chance())

    def failed(self, now_s: float) -> None:
        """Until then not even a change is told: the API server has other worries, and many agents."""
        self._said = None
        self.next_s = now_s + min(RETRY_MAX_S, RETRY_S * 2.0 ** min(self._failures, 8)) * (0.5 + 0.5 * self.chance())
        self._failures += 1
