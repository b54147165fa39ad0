"""The description of the fleet's interface."""

from __future__ import annotations

from typing import Any, Final

from edgeroot.evidence import Lifecycle
from edgeroot.verifier.findings import Match
from edgeroot.verifier.fleet import Standing
from edgeroot.verifier.rollout import Progress
from edgeroot.verifier.server.feed import CHANGES_DEFAULT, CHANGES_MAX, CHANGES_ROUTE, WAIT_MAX_S
from edgeroot.verifier.server.fleet import DEVICE_ROUTE, LIST_DEFAULT, LIST_MAX
from edgeroot.verifier.server.http import JSON, PROBLEM
from edgeroot.verifier.server.operations import TEXT, TIME, array, members, operation, parameter
from edgeroot.verifier.server.views import Stage
from edgeroot.verifier.trust import Status

_COUNT: Final = {"type": "integer", "minimum": 0}
_HEX: Final = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}
_MAYBE_TIME: Final = {"type": ["string", "null"], "format": "date-time"}
_MAYBE_TEXT: Final = {"type": ["string", "null"]}
_STANDING: Final = {"enum": [one.value for one in Standing]}
_VERDICT: Final = {"enum": [one.name.lower() for one in Status]}
_PROGRESS: Final = {"enum": [one.value for one in Progress]}
_STAGE: Final = {"enum": [one.value for one in Stage]}
_SECURITY: Final[list[dict[str, list[str]]]] = [{"viewer": []}]
_DEVICE: Final = members(
    instance_id=_HEX,
    implementation_id=_HEX,
    status=_STANDING,
    verdict={"enum": [*_VERDICT["enum"], None]},
    last_seen=_MAYBE_TIME,
    results=_COUNT,
    failed=_COUNT,
    why=TEXT,
)
_PAST: Final = {"number": _COUNT, "at": TIME, "verdict": _VERDICT, "failed": _COUNT, "why": TEXT}
_KNOWN: Final = members(version=TEXT, measurement=_HEX, signer_id=_HEX)
_COMPONENT: Final = members(
    name=TEXT,
    stage=_STAGE,
    match={"enum": [one.value for one in Match]},
    version=TEXT,
    measurement=_HEX,
    signer_id=_HEX,
    known=array(_KNOWN),
)
_CHECK: Final = {
    **members(check=TEXT, passed={"type": "boolean"}, words=TEXT),
    "description": "with the member `warning` if it did not pass and that alone refuses nobody",
}
_RESULT: Final = members(
    **_PAST,
    policy=TEXT,
    trustworthiness={"type": "object", "additionalProperties": {"type": "integer"}},
    checks=array(_CHECK),
    components=array(_COMPONENT),
)
_CHANGE: Final = members(
    device=_HEX,
    status=_VERDICT,
    reason=TEXT,
    evaluated_at=TIME,
    expires_at=TIME,
    lifecycle={"enum": ["", *(one.words for one in Lifecycle)]},
    components=array(members(type=TEXT, version=TEXT)),
)
_VERSION: Final = members(
    version=TEXT,
    measurement=_HEX,
    signer_id=_HEX,
    known={"type": "boolean"},
    newest={"type": ["boolean", "null"]},
    revoked=_MAYBE_TEXT,
    devices=_COUNT,
    failed=_COUNT,
)
_IMPLEMENTATION: Final = members(
    implementation_id=_HEX,
    devices=_COUNT,
    failed=_COUNT,
    progress=members(**{one.value: _COUNT for one in Progress}),
    components=array(members(name=TEXT, stage=_STAGE, versions=array(_VERSION))),
)


def fleet_paths() -> dict[str, Any]:
    """By path, as the whole description has it."""
    summary = members(at=TIME, window_s=_COUNT, devices=_COUNT, counts=members(**dict.fromkeys(Standing, _COUNT)))
    devices = members(at=TIME, devices=array(_DEVICE), next=_MAYBE_TEXT, previous=_MAYBE_TEXT)
    device = members(
        at=TIME,
        device=_DEVICE,
        revoked=_MAYBE_TEXT,
        result={"oneOf": [_RESULT, {"type": "null"}]},
        history=array(members(**_PAST)),
        next={"type": ["integer", "null"]},
    )
    limit = {"type": "integer", "minimum": 1, "maximum": LIST_MAX, "default": LIST_DEFAULT}
    filters = {
        "status": _STANDING,
        "search": {"type": "string", "description": "how the instance id begins, in hexadecimal"},
        "implementation": _HEX,
        "progress": _PROGRESS,
        "component": TEXT,
        "measurement": _HEX,
        "after": {"type": "string", "description": "`next` of the page before"},
        "before": {"type": "string", "description": "`previous` of the page after"},
        "limit": limit,
    }
    name = {"name": "instance_id", "in": "path", "required": True, "schema": _HEX}
    number = {"type": "integer", "minimum": 1}
    return {
        "/fleet/v1/summary": {"get": _get("How many devices stand how", summary)},
        "/fleet/v1/devices": {
            "get": _get("Devices, those seen last first", devices, *(parameter(*one) for one in filters.items()))
        },
        DEVICE_ROUTE: {
            "get": _get(
                "A device, a result of it (the last one, unless another is asked for), and its history",
                device,
                *(name, parameter("result", number), parameter("before", number)),
            )
        },
        "/fleet/v1/rollout": {
            "get": _get("Who runs which firmware", members(at=TIME, implementations=array(_IMPLEMENTATION)))
        },
        CHANGES_ROUTE: {"get": _changes()},
    }


def _changes() -> dict[str, Any]:
    found = _get(
        "Devices in the order of their last change: the first part without a cursor, or what lies behind one",
        members(cursor=TEXT, more={"type": "boolean"}, devices=array(_CHANGE)),
        parameter("after", {"type": "string", "description": "`cursor` of the part before"}),
        parameter("wait", {"type": "integer", "minimum": 0, "maximum": WAIT_MAX_S, "default": 0}),
        parameter("limit", {"type": "integer", "minimum": 1, "maximum": CHANGES_MAX, "default": CHANGES_DEFAULT}),
    )
    found["responses"]["410"] = {
        "description": "the store has not had what the cursor stands for: start over without one",
        "content": {PROBLEM: {"schema": {"type": "object", "properties": {"detail": TEXT}}}},
    }
    return found


def _get(summary: str, schema: object, *parameters: object) -> dict[str, Any]:
    return operation(summary, {"200": (JSON, schema)}, security=_SECURITY, parameters=list(parameters))
