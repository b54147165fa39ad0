"""The parts that descriptions of the interface in OpenAPI 3.1 are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgeroot.verifier.server.http import PROBLEM

TEXT: Final = {"type": "string"}
TIME: Final = {"type": "string", "format": "date-time"}


def operation(
    summary: str, answers: Mapping[str, tuple[str, object]], *, takes: tuple[str, ...] = (), **more: object
) -> dict[str, Any]:
    """``answers``, by status, are media type and schema; ``takes`` the media types of the body."""
    responses: dict[str, Any] = {
        status: {"description": "done"} | ({"content": {media_type: {"schema": schema}}} if media_type else {})
        for status, (media_type, schema) in answers.items()
    }
    responses["default"] = {
        "description": "what is wrong, in words (RFC 9457)",
        "content": {PROBLEM: {"schema": {"type": "object", "properties": {"detail": TEXT}}}},
    }
    found: dict[str, Any] = {"summary": summary, "responses": responses, **more}
    if takes:
        binary = {"schema": {"type": "string", "format": "binary"}}
        found["requestBody"] = {"required": True, "content": dict.fromkeys(takes, binary)}
    return found


def parameter(name: str, schema: object) -> dict[str, object]:
    """Of the query; it may be left out."""
    return {"name": name, "in": "query", "required": False, "schema": schema}


def members(**properties: object) -> dict[str, object]:
    """An object that has all of these."""
    return {"type": "object", "required": list(properties), "properties": properties}


def array(items: object) -> dict[str, object]:
    return {"type": "array", "items": items}
