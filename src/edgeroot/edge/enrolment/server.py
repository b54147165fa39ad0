"""The ASGI application: what is asked of the desk over HTTP, and what its answers are there.

Requests wait for the verifier and for the API server, so they are answered in threads beside the event loop, a bounded
number at a time; who comes beyond that is told to come again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import ceil
from typing import Any, Final

from edgeroot.edge.enrolment.binding import DIGEST_BYTES
from edgeroot.edge.enrolment.desk import Desk, NoSessionError
from edgeroot.edge.enrolment.errors import AwayError, RefusedError
from edgeroot.edge.enrolment.tokens import time_of
from edgeroot.verifier.media_types import EVIDENCE, QUOTE, is_one_of
from edgeroot.verifier.server.http import (
    HttpError,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    json_response,
    read_body,
    request_of,
    send_response,
)
from edgeroot.verifier.server.limits import RateLimit

SESSIONS: Final = "/enrol/v1/sessions"
PEM: Final = "application/x-pem-file"
_HEALTH: Final = "/healthz"
_JSON_MAX_BYTES: Final = 4096
_BODY_MAX_BYTES: Final = {"sessions": _JSON_MAX_BYTES, "evidence": 256 * 1024, "certificate": 8192}
_THREADS: Final = 8
_MAX_PENDING: Final = 64
_RETRY_S: Final = 2
_NAMED: Final = re.compile(r"/enrol/v1/sessions/([0-9a-f]{32})/(evidence|certificate)")
_log: Final = logging.getLogger(__name__)


class Application:
    """``is_well`` says whether the parts beside it are; ``rate_per_s`` is for each address."""

    def __init__(self, desk: Desk, *, rate_per_s: float, is_well: Callable[[], bool]) -> None:
        self._desk = desk
        self._is_well = is_well
        self._limit = RateLimit(rate_per_s)
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="enrolment")
        self._pending = 0
        self._answers: Final = {"sessions": self._begin, "evidence": self._prove, "certificate": self._certify}

    def close(self) -> None:
        """Wait for what is being answered."""
        self._threads.shutdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"only HTTP is spoken here, not {scope['type']}")
        try:
            response = await self._respond(scope, receive)
        except HttpError as error:
            response = error.response()
        await send_response(response, send)

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        request = request_of(scope)
        if request.path == _HEALTH:
            return json_response(200 if self._is_well() else 503, {})
        if not self._limit.allows(request.client, time.monotonic()):
            raise HttpError(429, "too many requests from this address", {"retry-after": "1"})
        found = _NAMED.fullmatch(request.path)
        what = "sessions" if request.path == SESSIONS else found[2] if found else ""
        if not what:
            raise HttpError(404, f"there is nothing here: a device begins at {SESSIONS}")
        if request.method != "POST":
            raise HttpError(405, "here is only POST", {"allow": "POST"})
        request = replace(request, body=await read_body(request, receive, _BODY_MAX_BYTES[what]))
        if self._pending >= _MAX_PENDING:
            raise HttpError(503, "too many devices are joining", {"retry-after": str(_RETRY_S)})
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._answer, what, request, found[1] if found else ""
            )
        finally:
            self._pending -= 1

    def _answer(self, what: str, request: Request, session_id: str) -> Response:
        """In a thread."""
        try:
            return self._answers[what](request, session_id)
        except HttpError:
            raise
        except NoSessionError as error:
            raise HttpError(404, str(error)) from error
        except RefusedError as error:
            _log.warning("refused %s from %s: %s", what, request.client, error)
            raise HttpError(403, str(error)) from error
        except AwayError as error:
            _log.warning("%s from %s cannot be answered: %s", what, request.client, error)
            retry_s = ceil(error.retry_after_s) or _RETRY_S
            raise HttpError(503, str(error), {"retry-after": str(retry_s)}) from error
        except Exception as error:
            _log.exception("a request was not answered")
            raise HttpError(500, "the enrolment service failed: its log says why") from error

    def _begin(self, request: Request, _session_id: str) -> Response:
        asked = _object(request.body)
        name = asked.get("nodeName", "")
        digest = asked.get("publicKeySha256", "")
        if not isinstance(name, str) or not isinstance(digest, str) or set(asked) - {"nodeName", "publicKeySha256"}:
            raise HttpError(400, "a session is asked for with nodeName and publicKeySha256, both text, or without")
        session = self._desk.begin(node_name=name, key_digest=_digest(digest))
        said = {
            "session": session.session_id,
            "seed": urlsafe_b64encode(session.seed).rstrip(b"=").decode(),
            "expiresAt": time_of(session.expires_at_s),
        }
        return json_response(201, said, location=f"{SESSIONS}/{session.session_id}")

    def _prove(self, request: Request, session_id: str) -> Response:
        media_type = request.headers.get("content-type", "")
        if not is_one_of(media_type, EVIDENCE + QUOTE):
            accept = ", ".join(EVIDENCE + QUOTE)
            raise HttpError(415, "evidence is a PSA attestation token or a TPM's quote", {"accept": accept})
        joined = self._desk.prove(session_id, media_type, request.body)
        said = {
            "node": joined.node_name,
            "device": joined.device,
            "apiServer": self._desk.api_server.url,
            "certificateAuthority": self._desk.api_server.authority,
        }
        if joined.token is not None:
            said |= {"token": joined.token.text(), "tokenExpiresAt": time_of(joined.token.expires_at_s)}
        return json_response(200, said)

    def _certify(self, request: Request, session_id: str) -> Response:
        certificate = self._desk.certify(session_id, request.body)
        return json_response(200, {"certificate": certificate.decode("ascii")})


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HttpError(400, "the body is no JSON") from error
    if not isinstance(found, dict):
        raise HttpError(400, "the body is no JSON object")
    return found


def _digest(text: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError as error:
        raise HttpError(400, "publicKeySha256 is not hexadecimal") from error
    if len(digest) not in (0, DIGEST_BYTES):
        raise HttpError(400, f"publicKeySha256 has {DIGEST_BYTES} bytes")
    return digest
