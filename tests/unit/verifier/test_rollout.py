from __future__ import annotations

from edgeroot.verifier.corim import ReferenceValue
from edgeroot.verifier.findings import ComponentVerdict, Match
from edgeroot.verifier.fleet import Firmware
from edgeroot.verifier.rollout import ImplementationState, Progress, rollout

IMPLEMENTATION = b"\7" * 32
SIGNER = b"\2" * 32


def known(name: str | None, version: str | None, digit: int) -> ReferenceValue:
    return ReferenceValue(measurement=bytes([digit]) * 32, signer_id=SIGNER, name=name, version=version)


def runs(name: str, digit: int, match: Match = Match.MATCHED, version: str = "") -> ComponentVerdict:
    measurement = b"" if match is Match.MISSING else bytes([digit]) * 32
    signer = b"" if match is Match.MISSING else SIGNER
    return ComponentVerdict(name=name, match=match, measurement=measurement, signer_id=signer, version=version)


def state_of(
    references: set[ReferenceValue],
    *firmware: tuple[int, int, tuple[ComponentVerdict, ...]],
    revoked: frozenset[ReferenceValue] = frozenset(),
) -> ImplementationState:
    """Of firmware as (devices, failed, components)."""
    run = [
        Firmware(number=number, implementation_id=IMPLEMENTATION, components=what, devices=devices, failed=failed)
        for number, (devices, failed, what) in enumerate(firmware)
    ]
    reason = dict.fromkeys(revoked, "a hole")
    (found,) = rollout(run, {IMPLEMENTATION: references}, reason.get)
    return found


OLD, NEW, APP = known("BL", "1.9.0", 1), known("BL", "1.10.0", 2), known("App", "3.0.0", 3)


def versions(state: ImplementationState, name: str) -> list[tuple[str, bool | None, int, int]]:
    (component,) = [one for one in state.components if one.name == name]
    return [(one.version, one.newest, one.devices, one.failed) for one in component.versions]


def test_who_runs_what() -> None:
    state = state_of(
        {OLD, NEW, APP},
        (5, 1, (runs("BL", 1), runs("App", 3))),
        (3, 0, (runs("BL", 2), runs("App", 3))),
        (2, 2, (runs("BL", 9, Match.NOT_MATCHED, "1.0.0"), runs("App", 3))),
        (4, 0, ()),
    )
    assert (state.devices, state.failed) == (14, 3)
    assert state.progress == {
        Progress.CURRENT: 3,
        Progress.BEHIND: 5,
        Progress.UNKNOWN: 2,
        Progress.UNREPORTED: 4,
    }
    assert versions(state, "BL") == [("1.10.0", True, 3, 0), ("1.9.0", False, 5, 1), ("1.0.0", None, 2, 2)]
    assert versions(state, "App") == [("3.0.0", True, 10, 3)]
    (boot,) = [one for one in state.components if one.name == "BL"]
    assert [one.known for one in boot.versions] == [True, True, False]


def test_a_version_that_nobody_runs_yet_makes_everybody_behind() -> None:
    state = state_of({OLD, NEW}, (5, 0, (runs("BL", 1),)))
    assert state.progress[Progress.BEHIND] == 5
    assert versions(state, "BL") == [("1.10.0", True, 0, 0), ("1.9.0", False, 5, 0)]


def test_a_revoked_version_is_nobodys_goal() -> None:
    state = state_of(
        {OLD, NEW},
        (5, 0, (runs("BL", 1),)),
        (1, 1, (runs("BL", 2, Match.REVOKED, "1.10.0"),)),
        revoked=frozenset({NEW}),
    )
    assert (state.progress[Progress.CURRENT], state.progress[Progress.UNKNOWN]) == (5, 1)
    (boot,) = state.components
    assert [(one.version, one.revoked, one.newest) for one in boot.versions] == [
        ("1.10.0", "a hole", False),
        ("1.9.0", None, True),
    ]


def test_whoever_runs_a_revoked_version_is_behind_if_there_is_a_newer_one() -> None:
    old = (1, 1, (runs("BL", 1, Match.REVOKED, "1.9.0"),))
    assert state_of({OLD, NEW}, old, revoked=frozenset({OLD})).progress[Progress.BEHIND] == 1


def test_without_an_order_nobody_is_behind() -> None:
    state = state_of({known("PCR 4", None, 1), known("PCR 4", "2", 2)}, (5, 0, (runs("PCR 4", 1),)))
    assert state.progress[Progress.CURRENT] == 5
    assert versions(state, "PCR 4") == [("2", None, 0, 0), ("", None, 5, 0)]


def test_what_is_missing_or_extra() -> None:
    state = state_of({OLD, APP}, (1, 1, (runs("BL", 1), runs("X", 8, Match.EXTRA), runs("App", 0, Match.MISSING))))
    assert state.progress[Progress.UNKNOWN] == 1
    assert [(one.name, one.versions[0].devices, one.versions[0].known) for one in state.components] == [
        ("BL", 1, True),
        ("X", 1, False),
        ("App", 0, True),
    ]


def test_reference_values_without_a_name() -> None:
    state = state_of({known(None, "1.0.0", 1), known(None, "1.0.0", 2)}, (1, 0, (runs("BL", 1, version="1.0.0"),)))
    assert [(one.name, one.versions[0].known, one.versions[0].devices) for one in state.components] == [
        ("BL", True, 1),
        ("", True, 0),
    ]
    assert state.progress[Progress.CURRENT] == 1


def test_an_implementation_that_nobody_endorsed() -> None:
    firmware = Firmware(number=1, implementation_id=b"\1", components=(runs("BL", 1, Match.EXTRA),), devices=2)
    (state,) = rollout([firmware], {}, lambda _one: None)
    assert state.progress[Progress.UNKNOWN] == 2
