"""One exchange over HTTP with a verifier: JSON comes back, and what goes wrong is an error of the command."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from edgeroot.cli.errors import CommandError
from edgeroot.cli.output import printable

_TIMEOUT_S: Final = 30.0
_ANSWER_MAX_BYTES: Final = 1 << 20
_HERE: Final = frozenset({"127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``location`` is the header of this name, empty without one."""

    location: str
    content: Mapping[str, Any]


def post(url: str, body: bytes, headers: Mapping[str, str], *, ca_path: Path | None = None) -> Answer:
    """The answer of a 2xx. CommandError for a refusal, no answer, or an address that others could listen in on.

    ``ca_path`` has the certificates, in PEM, that are believed about the server; None for the system's.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or parts.hostname is None:
        raise CommandError(f"{url} is no address of a verifier: it begins with https://")
    if parts.scheme == "http" and parts.hostname not in _HERE:
        raise CommandError(f"a verifier is asked by https only, or on this machine itself, and not at {url}")
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    connection = None
    try:
        connection = _connection(parts, ca_path)
        connection.request("POST", path, body, dict(headers))
        response = connection.getresponse()
        content = json.loads(response.read(_ANSWER_MAX_BYTES))
    except (OSError, ValueError, HTTPException) as error:
        raise CommandError(f"{url} does not answer as a verifier should: {error}") from error
    finally:
        if connection is not None:
            connection.close()
    if not isinstance(content, dict):
        raise CommandError(f"{url} does not answer as a verifier should")
    if not 200 <= response.status < 300:
        detail = printable(str(content.get("detail", response.reason)))
        raise CommandError(f"the verifier refuses ({response.status}): {detail}")
    return Answer(location=response.headers.get("location", ""), content=content)


def _connection(parts: SplitResult, ca_path: Path | None) -> HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "http":
        return HTTPConnection(host, parts.port, timeout=_TIMEOUT_S)
    context = ssl.create_default_context(cafile=ca_path)
    return HTTPSConnection(host, parts.port, timeout=_TIMEOUT_S, context=context)
