"""How far firmware has come: of every implementation, how many devices run which version, and who is behind.

A version is newer by its numbers (:mod:`edgeroot.verifier.version`). What is no such version has no order: then nobody
is behind on its account. A revoked version is nobody's goal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from edgeroot.verifier.corim import ReferenceValue
from edgeroot.verifier.findings import ComponentVerdict, Match
from edgeroot.verifier.fleet import Firmware
from edgeroot.verifier.version import version_of

Reason: TypeAlias = Callable[[ReferenceValue], str | None]
"""Why a component is trusted no more; None if it is."""


class Progress(StrEnum):
    """Of what a device runs."""

    CURRENT = "current"
    """Everything is known, and nothing newer of it."""
    BEHIND = "behind"
    """Of some component something newer is known."""
    UNKNOWN = "unknown"
    """Some component is not one that is known, or is missing or revoked, and none is behind."""
    UNREPORTED = "unreported"
    """No result says what it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionState:
    """A version of a component, and who runs it. ``known``: it is endorsed; ``newest``: None if that has no order."""

    version: str
    measurement: bytes
    signer_id: bytes
    known: bool
    newest: bool | None = None
    revoked: str | None = None
    devices: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentState:
    """A component of an implementation, in whose order devices report them."""

    name: str
    versions: tuple[VersionState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImplementationState:
    """``progress`` counts each device once; ``failed`` are those whose last result is contraindicated."""

    implementation_id: bytes
    devices: int
    failed: int
    progress: Mapping[Progress, int]
    components: tuple[ComponentState, ...]


_Key: TypeAlias = tuple[str, bytes, bytes]
"""A component's name, measurement and signer id."""


@dataclass(slots=True)
class _Count:
    devices: int = 0
    failed: int = 0


@dataclass(slots=True)
class _Tally:
    """Of one implementation."""

    total: _Count = field(default_factory=_Count)
    progress: dict[Progress, int] = field(default_factory=lambda: dict.fromkeys(Progress, 0))
    running: dict[_Key, _Count] = field(default_factory=dict)
    said: dict[_Key, str] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)

    def add(self, firmware: Firmware, progress: Progress) -> None:
        _count(self.total, firmware)
        self.progress[progress] += firmware.devices
        for place, one in enumerate(firmware.components):
            self.places.setdefault(one.name, place)
            if one.match is not Match.MISSING:
                _count(self.running.setdefault(_key(one), _Count()), firmware)
                self.said.setdefault(_key(one), one.version)


def rollout(
    firmware: Iterable[Firmware], references: Mapping[bytes, set[ReferenceValue]], reason: Reason
) -> list[ImplementationState]:
    """The state of every implementation that somebody endorsed, or that devices say they are of."""
    tallies = {one: _Tally() for one in references}
    newest = {one: Newest.of(known, reason) for one, known in references.items()}
    for one in firmware:
        goal = newest.setdefault(one.implementation_id, Newest({}))
        tallies.setdefault(one.implementation_id, _Tally()).add(one, goal.progress(one.components))
    return [
        ImplementationState(
            implementation_id=implementation_id,
            devices=tally.total.devices,
            failed=tally.total.failed,
            progress=tally.progress,
            components=_components(tally, references.get(implementation_id, set()), newest[implementation_id], reason),
        )
        for implementation_id, tally in sorted(tallies.items())
    ]


@dataclass(frozen=True, slots=True)
class Newest:
    """Of each component, the reference values that nothing newer is known of; none if they have no order."""

    values: Mapping[str, frozenset[ReferenceValue]]

    @classmethod
    def of(cls, known: Iterable[ReferenceValue], reason: Reason) -> Newest:
        by_name: dict[str, list[ReferenceValue]] = {}
        for one in known:
            if reason(one) is None:
                by_name.setdefault(one.name or "", []).append(one)
        return cls({name: _newest_of(values) for name, values in by_name.items()})

    def is_newest(self, key: _Key) -> bool | None:
        """None if nobody can say."""
        name, measurement, signer_id = key
        values = self.values.get(name)
        if not values:
            return None
        return any(one.measurement == measurement and one.signer_id == signer_id for one in values)

    def progress(self, components: Sequence[ComponentVerdict]) -> Progress:
        if not components:
            return Progress.UNREPORTED
        if any(self._is_behind(one) for one in components):
            return Progress.BEHIND
        good = all(one.match is Match.MATCHED for one in components)
        return Progress.CURRENT if good else Progress.UNKNOWN

    def _is_behind(self, one: ComponentVerdict) -> bool:
        if one.match is Match.MATCHED:
            return self.is_newest(_key(one)) is False
        version = version_of(one.version)
        if one.match is not Match.REVOKED or version is None:
            return False
        goals = (version_of(goal.version or "") for goal in self.values.get(one.name, ()))
        return any(goal is not None and version < goal for goal in goals)


def _newest_of(values: Sequence[ReferenceValue]) -> frozenset[ReferenceValue]:
    if len(values) == 1:
        return frozenset(values)
    versions = {one: version_of(one.version or "") for one in values}
    ordered = [version for version in versions.values() if version is not None]
    if len(ordered) != len(values):
        return frozenset()
    return frozenset(one for one, version in versions.items() if version == max(ordered))


def _components(
    tally: _Tally, known: Collection[ReferenceValue], newest: Newest, reason: Reason
) -> tuple[ComponentState, ...]:
    states: dict[str, list[VersionState]] = {}
    running = dict(tally.running)
    # A reference value without a name is of whatever component has its measurement: it is told where it runs.
    anywhere = {(one.measurement, one.signer_id) for one in known if one.name is None}
    for one in sorted(known, key=lambda one: (one.name or "", one.measurement, one.signer_id)):
        key = (one.name or "", one.measurement, one.signer_id)
        if one.name is None and any(ran[1:] == key[1:] for ran in running):
            continue
        count = running.pop(key, _Count())
        states.setdefault(key[0], []).append(
            VersionState(
                version=one.version or "",
                measurement=one.measurement,
                signer_id=one.signer_id,
                known=True,
                newest=newest.is_newest(key),
                revoked=reason(one),
                devices=count.devices,
                failed=count.failed,
            )
        )
    for key, count in sorted(running.items()):
        name, measurement, signer_id = key
        states.setdefault(name, []).append(
            VersionState(
                version=tally.said[key],
                measurement=measurement,
                signer_id=signer_id,
                known=(measurement, signer_id) in anywhere,
                devices=count.devices,
                failed=count.failed,
            )
        )
    last = len(tally.places)
    return tuple(
        ComponentState(name=name, versions=tuple(sorted(states[name], key=_rank)))
        for name in sorted(states, key=lambda name: (tally.places.get(name, last), name))
    )


def _rank(one: VersionState) -> tuple[object, ...]:
    """Known ones first, the newest of them at the top."""
    version = version_of(one.version)
    parts = () if version is None else tuple(-part for part in version)
    return (not one.known, version is None, parts, one.version, one.measurement)


def _key(one: ComponentVerdict) -> _Key:
    return one.name, one.measurement, one.signer_id


def _count(count: _Count, firmware: Firmware) -> None:
    count.devices += firmware.devices
    count.failed += firmware.failed
