"""The description of the interface in OpenAPI 3.1, which the server hands out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgeroot._version import __version__
from edgeroot.verifier import media_types
from edgeroot.verifier.server.http import JSON, PROBLEM

_TEXT: Final = {"type": "string"}
_SESSION_SCHEMA: Final = {
    "type": "object",
    "required": ["status", "nonce", "expiry", "accept"],
    "properties": {
        "status": {"enum": ["waiting", "complete"]},
        "nonce": {"type": "string", "description": "base64url without padding"},
        "expiry": {"type": "string", "format": "date-time"},
        "accept": {"type": "array", "items": _TEXT},
        "evidence": {"type": "object", "properties": {"type": _TEXT, "value": _TEXT}},
        "result": {"type": "string", "description": "an EAR in a JWT, signed with ES256"},
    },
}
_PROVISIONING_SCHEMA: Final = {
    "type": "object",
    "required": ["status", "expiry"],
    "properties": {
        "status": {"enum": ["success", "failed"]},
        "expiry": {"type": "string", "format": "date-time"},
        "failure-reason": _TEXT,
    },
}
_DISCOVERY_SCHEMA: Final = {
    "type": "object",
    "required": ["media-types", "version", "service-state", "api-endpoints"],
}
_ID: Final = {"name": "session_id", "in": "path", "required": True, "schema": _TEXT}


def _operation(
    summary: str, answers: Mapping[str, tuple[str, object]], *, takes: tuple[str, ...] = (), **more: object
) -> dict[str, Any]:
    responses: dict[str, Any] = {
        status: {"description": "done"} | ({"content": {media_type: {"schema": schema}}} if media_type else {})
        for status, (media_type, schema) in answers.items()
    }
    responses["default"] = {
        "description": "what is wrong, in words (RFC 9457)",
        "content": {PROBLEM: {"schema": {"type": "object", "properties": {"detail": _TEXT}}}},
    }
    operation: dict[str, Any] = {"summary": summary, "responses": responses, **more}
    if takes:
        binary = {"schema": {"type": "string", "format": "binary"}}
        operation["requestBody"] = {"required": True, "content": dict.fromkeys(takes, binary)}
    return operation


def _parameter(name: str, schema: object) -> dict[str, object]:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def describe() -> dict[str, Any]:
    """The whole description; every route of the application is in it."""
    session = (media_types.SESSION, _SESSION_SCHEMA)
    discovery = {"200": (media_types.DISCOVERY, _DISCOVERY_SCHEMA)}
    paths = {
        "/challenge-response/v1/newSession": {
            "post": _operation(
                "Begin a session with a challenge",
                {"201": session},
                parameters=[
                    _parameter("nonceSize", {"type": "integer", "minimum": 8, "maximum": 64}),
                    _parameter("nonce", _TEXT),
                ],
            )
        },
        "/challenge-response/v1/session/{session_id}": {
            "get": _operation("The session as it is", {"200": session}, parameters=[_ID]),
            "post": _operation(
                "Hand in the session's one piece of evidence",
                {"200": session},
                takes=media_types.ALL_EVIDENCE,
                parameters=[_ID],
            ),
            "delete": _operation("End the session", {"204": ("", None)}, parameters=[_ID]),
        },
        "/endorsement-provisioning/v1/submit": {
            "post": _operation(
                "Hand in a CoRIM",
                {"200": (media_types.PROVISIONING_SESSION, _PROVISIONING_SCHEMA)},
                takes=media_types.CORIM + media_types.SIGNED_CORIM,
                security=[{"token": []}],
            )
        },
        "/.well-known/veraison/verification": {"get": _operation("What verification offers", discovery)},
        "/.well-known/veraison/provisioning": {"get": _operation("What provisioning offers", discovery)},
        "/metrics": {"get": _operation("Counters for Prometheus", {"200": ("text/plain", _TEXT)})},
        "/openapi.json": {"get": _operation("This description", {"200": (JSON, {"type": "object"})})},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "edgeroot verifier", "version": __version__},
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }
