"""The facts that decisions are made of: a node, its EdgeNode, and what the verifier says about a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias

from edgeroot.edge.controller.names import EDGE, EDGE_LABEL

Component: TypeAlias = tuple[str, str]
"""A component of the firmware, and its version."""


class State(StrEnum):
    """How a node stands, as its EdgeNode says."""

    AFFIRMED = "Affirmed"
    UNATTESTED = "Unattested"
    EXPIRED = "Expired"
    CONTRAINDICATED = "Contraindicated"


class Tier(StrEnum):
    """The status of an attestation result (AR4SI, clause 2.3.2, as EAR has it); ``none``: there is no result."""

    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"
    NONE = "none"


class Effect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    NO_EXECUTE = "NoExecute"


@dataclass(frozen=True, slots=True)
class Taint:
    """As the node has it; effects of others than us may be of any kind."""

    key: str
    effect: str
    value: str = ""
    time_added: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What is kept of a Node object, which is about 20 kB.

    ``version`` is its resourceVersion, ``selected`` whether the controller's selector names it, ``attested`` the value
    of our label.
    """

    name: str
    uid: str
    version: str
    attested: str | None = None
    selected: bool = False
    taints: tuple[Taint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the verifier says about a device. Times are of the verifier's clock."""

    device: str
    tier: Tier
    reason: str = ""
    evaluated_s: int = 0
    expires_s: int = 0
    lifecycle: str = ""
    components: tuple[Component, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What of an EdgeNode's status is the controller's.

    ``node_uid``: the Node that was last affirmed. ``since_s``: when the condition last changed its side.
    """

    state: State
    reason: str
    result: Result | None = None
    node_uid: str = ""
    since_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeNode:
    """Says which device a node is. ``status`` None: the controller has written none yet."""

    name: str
    uid: str
    version: str
    device: str
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, by two clocks: ``wall_s`` since 1970, which may be set; ``steady_s``, which only ever runs."""

    wall_s: float
    steady_s: float


@dataclass(frozen=True, slots=True)
class Selector:
    """Which nodes are ours without an EdgeNode: those with all these labels; none of them: every node."""

    labels: tuple[tuple[str, str], ...] = ((EDGE_LABEL, EDGE),)

    @classmethod
    def parse(cls, text: str) -> Selector:
        """From ``key=value,key=value``. ValueError."""
        pairs = []
        for part in filter(None, (one.strip() for one in text.split(","))):
            key, equals, value = part.partition("=")
            if not key or not equals or key.endswith("!") or value.startswith("="):
                raise ValueError(f"{part!r} is no label: a selector is written key=value,key=value")
            pairs.append((key, value))
        if not pairs:
            raise ValueError("a selector without a label selects every node: say --all-nodes if that is meant")
        return cls(tuple(pairs))

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.labels)


EVERY_NODE = Selector(())


def time_text(at_s: int) -> str:
    """A time as Kubernetes writes it (RFC 3339)."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_of(text: str) -> int:
    """Whole seconds of a time in RFC 3339. ValueError, also for a time without a zone."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} does not say its time zone")
    return int(at.timestamp())
