"""One exchange over HTTP, as the device has it with the service, and the service with the verifier."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from edgeroot.edge.enrolment.errors import AwayError, RefusedError

_TIMEOUT_S: Final = 30.0
_ANSWER_MAX_BYTES: Final = 1 << 20
_HERE: Final = frozenset({"127.0.0.1", "::1"})
_TOO_MANY: Final = 429


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """``location`` is the header of this name, empty without one; ``content`` the JSON, empty if it is no object."""

    status: int
    location: str
    content: Mapping[str, Any]

    def detail(self) -> str:
        """What went wrong, in words (RFC 9457)."""
        return str(self.content.get("detail", f"status {self.status}"))[:500]


def check_url(url: str) -> None:
    """RefusedError for an address at which others could listen in, or none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        raise RefusedError(f"{url} is no address: it begins with https://")
    if parts.scheme == "http" and parts.hostname not in _HERE:
        raise RefusedError(f"only https is spoken, or http on this machine itself, and not {url}")


def post(url: str, body: bytes, headers: Mapping[str, str], *, ca_path: Path | None) -> Reply:
    """AwayError if nothing comes that makes sense, or the server says that it cannot now. Redirects are not followed.

    ``ca_path`` has the certificates, in PEM, that are believed about the server; None for the system's.
    """
    check_url(url)
    parts = urlsplit(url)
    connection = None
    try:
        connection = _connection(parts, ca_path)
        connection.request("POST", f"{parts.path}?{parts.query}" if parts.query else parts.path, body, dict(headers))
        with connection.getresponse() as response:
            content = json.loads(response.read(_ANSWER_MAX_BYTES))
    except (OSError, ValueError, HTTPException) as error:
        raise AwayError(f"{parts.netloc} does not answer as it should: {error}") from error
    finally:
        if connection is not None:
            connection.close()
    reply = Reply(
        status=response.status,
        location=response.headers.get("location", ""),
        content=content if isinstance(content, dict) else {},
    )
    if reply.status >= 500 or reply.status == _TOO_MANY:
        raise AwayError(f"{parts.netloc} cannot now: {reply.detail()}", _seconds(response.headers.get("retry-after")))
    return reply


def _seconds(text: str | None) -> float:
    return float(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 6 else 0.0


def _connection(parts: SplitResult, ca_path: Path | None) -> HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "http":
        return HTTPConnection(host, parts.port, timeout=_TIMEOUT_S)
    context = ssl.create_default_context(cafile=ca_path)
    return HTTPSConnection(host, parts.port, timeout=_TIMEOUT_S, context=context)
