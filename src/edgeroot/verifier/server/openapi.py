"""The description of the interface in OpenAPI 3.1, which the server hands out."""

from __future__ import annotations

from typing import Any, Final

from edgeroot._version import __version__
from edgeroot.verifier import media_types
from edgeroot.verifier.server.fleet_schema import fleet_paths
from edgeroot.verifier.server.http import JSON
from edgeroot.verifier.server.operations import TEXT, operation, parameter
from edgeroot.verifier.server.pages import FILES

_SESSION_SCHEMA: Final = {
    "type": "object",
    "required": ["status", "nonce", "expiry", "accept"],
    "properties": {
        "status": {"enum": ["waiting", "complete"]},
        "nonce": {"type": "string", "description": "base64url without padding"},
        "expiry": {"type": "string", "format": "date-time"},
        "accept": {"type": "array", "items": TEXT},
        "evidence": {"type": "object", "properties": {"type": TEXT, "value": TEXT}},
        "result": {
            "type": "string",
            "description": "an EAR in a JWT, signed with ES256. Who accepts only an EAR, in a JWT or a CWT, and not "
            "this document, gets that as the whole answer",
        },
    },
}
_PROVISIONING_SCHEMA: Final = {
    "type": "object",
    "required": ["status", "expiry"],
    "properties": {
        "status": {"enum": ["success", "failed"]},
        "expiry": {"type": "string", "format": "date-time"},
        "failure-reason": TEXT,
    },
}
_DISCOVERY_SCHEMA: Final = {
    "type": "object",
    "required": ["media-types", "version", "service-state", "api-endpoints"],
}
_ID: Final = {"name": "session_id", "in": "path", "required": True, "schema": TEXT}


def _or_its_result(found: dict[str, Any]) -> dict[str, Any]:
    """To who accepts nothing but a result."""
    content = found["responses"]["200"]["content"]
    content[media_types.EAR_JWT] = {"schema": TEXT}
    content[media_types.EAR_CWT] = {"schema": {"type": "string", "format": "binary"}}
    return found


def describe() -> dict[str, Any]:
    """The whole description; every route of the application is in it."""
    session = (media_types.SESSION, _SESSION_SCHEMA)
    discovery = {"200": (media_types.DISCOVERY, _DISCOVERY_SCHEMA)}
    paths = {
        "/challenge-response/v1/newSession": {
            "post": operation(
                "Begin a session with a challenge",
                {"201": session},
                parameters=[
                    parameter("nonceSize", {"type": "integer", "minimum": 8, "maximum": 64}),
                    parameter("nonce", TEXT),
                ],
            )
        },
        "/challenge-response/v1/session/{session_id}": {
            "get": _or_its_result(operation("The session as it is", {"200": session}, parameters=[_ID])),
            "post": _or_its_result(
                operation(
                    "Hand in the session's one piece of evidence",
                    {"200": session},
                    takes=media_types.ALL_EVIDENCE,
                    parameters=[_ID],
                )
            ),
            "delete": operation("End the session", {"204": ("", None)}, parameters=[_ID]),
        },
        "/endorsement-provisioning/v1/submit": {
            "post": operation(
                "Hand in a CoRIM",
                {"200": (media_types.PROVISIONING_SESSION, _PROVISIONING_SCHEMA)},
                takes=media_types.CORIM + media_types.SIGNED_CORIM,
                security=[{"token": []}],
            )
        },
        "/.well-known/veraison/verification": {"get": operation("What verification offers", discovery)},
        "/.well-known/veraison/provisioning": {"get": operation("What provisioning offers", discovery)},
        "/metrics": {"get": operation("Counters for Prometheus", {"200": ("text/plain", TEXT)})},
        "/openapi.json": {"get": operation("This description", {"200": (JSON, {"type": "object"})})},
        **fleet_paths(),
        **{
            path: {"get": operation("A part of the page", {"200": (media_type, TEXT)})}
            for path, (_, media_type) in FILES.items()
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "edgeroot verifier", "version": __version__},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "the provisioning token"},
                "viewer": {"type": "http", "scheme": "bearer", "description": "the viewer's token"},
            }
        },
    }
