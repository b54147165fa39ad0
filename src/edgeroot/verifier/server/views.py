"""The fleet's records as JSON has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from edgeroot.verifier.corim import ReferenceValue
from edgeroot.verifier.feed import Change
from edgeroot.verifier.findings import ComponentVerdict, Match
from edgeroot.verifier.fleet import Device, Result
from edgeroot.verifier.rollout import ImplementationState, VersionState


class Stage(StrEnum):
    """Where in the boot chain a component belongs, by its name: tokens say the order, not who starts whom."""

    BOOT = "boot"
    """The first stage, and what that itself stands on."""
    MANAGER = "manager"
    PARTITION = "partition"
    REGISTER = "register"
    """A TPM's PCR, which is no stage: it measures several."""


# Names as in RFC 9783, clause 4.4.1 (BL, PRoT), of Trusted Firmware-A's event log (BL_2, SECURE_RT_EL2), and ours.
_STAGES: Final = (
    (Stage.REGISTER, re.compile(r"(.* )?pcr \d+")),
    (Stage.BOOT, re.compile(r"(bl|boot|mcuboot|rom|secure_rt_el3)([-_ 0-9].*)?|kernel|loader|interpreter|libraries")),
    (Stage.MANAGER, re.compile(r"prot|spm[cd]?|tfm_s|secure_rt_el[12]|(.*[-_ ])?manager")),
)


def stage_of(name: str) -> Stage:
    return next((stage for stage, pattern in _STAGES if pattern.fullmatch(name.lower())), Stage.PARTITION)


def time_of(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def device_view(one: Device, seen_after_s: int) -> dict[str, object]:
    """``status`` is how it stands now, ``verdict`` what the last result said, however old."""
    return {
        "instance_id": one.instance_id.hex(),
        "implementation_id": one.implementation_id.hex(),
        "status": one.standing(seen_after_s),
        "verdict": one.status.name.lower() if one.result else None,
        "last_seen": time_of(one.at_s) if one.result else None,
        "results": one.results,
        "failed": one.failed,
        "why": one.why,
    }


def change_view(one: Change) -> dict[str, object]:
    return {
        "device": one.device.hex(),
        "status": one.status.name.lower(),
        "reason": one.reason,
        "evaluated_at": time_of(one.evaluated_at_s),
        "expires_at": time_of(one.expires_at_s),
        "lifecycle": one.lifecycle,
        "components": [{"type": part.name, "version": part.version} for part in one.components],
    }


def history_view(one: Result) -> dict[str, object]:
    return {
        "number": one.number,
        "at": time_of(one.at_s),
        "verdict": one.status.name.lower(),
        "failed": len(one.findings.failed()),
        "why": one.findings.why(),
    }


def result_view(
    one: Result, references: Collection[ReferenceValue], reason: Callable[[ReferenceValue], str | None]
) -> dict[str, object]:
    """All of a result. What is known of a component is what is known of it now."""
    appraisal = _appraisal(one.claims)
    return {
        **history_view(one),
        "policy": str(appraisal.get("ear.appraisal-policy-id", "")),
        "trustworthiness": appraisal.get("ear.trustworthiness-vector", {}),
        "checks": [check.as_json() for check in one.findings.checks],
        "components": [_component_view(part, references, reason) for part in one.findings.components],
    }


def _appraisal(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """That of the result's one submodule."""
    found: Mapping[str, Any] = next(iter(claims.get("submods", {}).values()), {})
    return found


def _component_view(
    part: ComponentVerdict, references: Collection[ReferenceValue], reason: Callable[[ReferenceValue], str | None]
) -> dict[str, object]:
    differs = part.match in {Match.NOT_MATCHED, Match.MISSING, Match.REVOKED}
    known = [one for one in references if one.name == part.name and reason(one) is None] if differs else []
    return {
        "name": part.name,
        "stage": stage_of(part.name),
        "match": part.match,
        "version": part.version,
        "measurement": part.measurement.hex(),
        "signer_id": part.signer_id.hex(),
        "known": [
            {"version": one.version or "", "measurement": one.measurement.hex(), "signer_id": one.signer_id.hex()}
            for one in sorted(known, key=lambda one: (one.version or "", one.measurement), reverse=True)
        ],
    }


def implementation_view(one: ImplementationState) -> dict[str, object]:
    return {
        "implementation_id": one.implementation_id.hex(),
        "devices": one.devices,
        "failed": one.failed,
        "progress": dict(one.progress),
        "components": [
            {
                "name": component.name,
                "stage": stage_of(component.name),
                "versions": [_version_view(version) for version in component.versions],
            }
            for component in one.components
        ],
    }


def _version_view(one: VersionState) -> dict[str, object]:
    return {
        "version": one.version,
        "measurement": one.measurement.hex(),
        "signer_id": one.signer_id.hex(),
        "known": one.known,
        "newest": one.newest,
        "revoked": one.revoked,
        "devices": one.devices,
        "failed": one.failed,
    }
