"""An EdgeFirmware (edgeroot.dev/v1alpha1): the wish that nodes run one release, and in which steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

DEFAULT_WAVES: Final = ("1", "10%", "50%", "100%")
DEFAULT_HEALTHY_S: Final = 600
DEFAULT_NODE_TIMEOUT_S: Final = 3600
_WAVE: Final = re.compile(r"([1-9][0-9]{0,5})|([1-9][0-9]?|100)%")
_VERSION: Final = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,5}(\+[0-9]{1,10})?")


class ResourceError(ValueError):
    """The resource cannot be carried out as it is; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeFirmware:
    """``waves`` are how many of the nodes have the release at the end of each: numbers, or percentages.

    ``failures_allowed``: with one more, the rollout goes back. ``component`` is the software component of appraisals
    whose version is the release's (the measurement type of RFC 9783, clause 4.4.1).
    """

    name: str
    generation: int
    version: str
    selector: Mapping[str, str]
    waves: tuple[str, ...] = DEFAULT_WAVES
    healthy_s: int = DEFAULT_HEALTHY_S
    node_timeout_s: int = DEFAULT_NODE_TIMEOUT_S
    failures_allowed: int = 0
    paused: bool = False
    component: str = "manager"

    def wave_sizes(self, total: int) -> tuple[int, ...]:
        """How many nodes have the release at the end of each wave: growing, and all of them at the end."""
        sizes: list[int] = []
        for wave in self.waves:
            count = -(-total * int(wave[:-1]) // 100) if wave.endswith("%") else int(wave)
            sizes.append(min(total, max(count, sizes[-1] if sizes else 0)))
        if not sizes or sizes[-1] < total:
            sizes.append(total)
        return tuple(sizes)


def read(resource: Mapping[str, Any]) -> EdgeFirmware:
    """The resource as the API server gives it. ResourceError says what it must have instead."""
    metadata, spec = resource["metadata"], resource.get("spec") or {}
    version = spec.get("version")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise ResourceError(f"spec.version: {version!r} is no version such as 1.2.3")
    waves = tuple(str(one) for one in spec.get("waves") or DEFAULT_WAVES)
    for wave in waves:
        if not _WAVE.fullmatch(wave):
            raise ResourceError(f"spec.waves: {wave!r} is neither a number of nodes nor a percentage such as 10%")
    return EdgeFirmware(
        name=metadata["name"],
        generation=metadata.get("generation", 0),
        version=version,
        selector=dict(spec.get("nodeSelector") or {}),
        waves=waves,
        healthy_s=_seconds(spec, "healthySeconds", DEFAULT_HEALTHY_S),
        node_timeout_s=_seconds(spec, "nodeTimeoutSeconds", DEFAULT_NODE_TIMEOUT_S),
        failures_allowed=_seconds(spec, "failuresAllowed", 0),
        paused=bool(spec.get("paused", False)),
        component=spec.get("component") or "manager",
    )


def _seconds(spec: Mapping[str, Any], field: str, default: int) -> int:
    value = spec.get(field, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 10_000_000:
        raise ResourceError(f"spec.{field}: must be a number from 0 on")
    return value
