"""Requests and responses as values, and how they come from ASGI and go to it. Bodies are bounded in size and time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

from edgeroot.verifier.media_types import accepts

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PROBLEM: Final = "application/problem+json"
JSON: Final = "application/json"
BODY_TIMEOUT_S: Final = 10.0
_CLOSE: Final = {"connection": "close"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Header names are in lower case; of a header or parameter that comes twice the last counts."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    client: str = ""
    body: bytes = b""

    def accepts(self, media_type: str) -> bool:
        """Whether the client takes an answer of this type."""
        return accepts(self.headers.get("accept", "*/*"), media_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    status: int
    body: bytes = b""
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    hold_s: float = 0
    """It says nothing new: the request may be asked again for so long until it does."""


class HttpError(Exception):
    """The request is answered with a problem (RFC 9457): its status, and in words what is wrong."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})

    def response(self) -> Response:
        said = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        return Response(status=self.status, body=json.dumps(said).encode(), media_type=PROBLEM, headers=self.headers)


def json_response(status: int, value: object, media_type: str = JSON, **headers: str) -> Response:
    return Response(status=status, body=json.dumps(value).encode(), media_type=media_type, headers=headers)


def request_of(scope: Scope) -> Request:
    """The request without its body; HttpError for a query that is none."""
    try:
        query = dict(parse_qsl(scope["query_string"].decode("ascii"), keep_blank_values=True, max_num_fields=8))
    except ValueError as error:
        raise HttpError(400, "the query is not understood") from error
    client = scope.get("client")
    return Request(
        method=scope["method"],
        path=scope["path"],
        query=query,
        headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
        client=client[0] if client else "",
    )


async def read_body(request: Request, receive: Receive, max_bytes: int) -> bytes:
    """All of it; HttpError 413 if it is larger, 408 if it does not come in time, 400 if the client goes away."""
    length = request.headers.get("content-length", "0")
    too_large = HttpError(413, f"a body here has {max_bytes} bytes at most", _CLOSE)
    if not length.isascii() or not length.isdecimal() or int(length[:20]) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise HttpError(400, "the client went away")
                body += message.get("body", b"")
                if len(body) > max_bytes:
                    raise too_large
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as error:
        raise HttpError(408, "the body did not come in time", _CLOSE) from error


async def send_response(response: Response, send: Send) -> None:
    headers = {
        "content-type": response.media_type,
        "content-length": str(len(response.body)),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        **response.headers,
    }
    if not response.body:
        del headers["content-type"]
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": encoded})
    await send({"type": "http.response.body", "body": response.body})
