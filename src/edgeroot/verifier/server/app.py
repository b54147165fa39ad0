"""The ASGI application: which request is whose, and what the desk's answers are in HTTP.

The store is used by one thread at a time, and judging takes a processor, so requests are answered one after another in
one thread beside the event loop. That loop only reads and writes, and holds those requests that wait for news.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
import time
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, Final

from edgeroot._version import __version__
from edgeroot.psa import Secret
from edgeroot.verifier import desk as work
from edgeroot.verifier import media_types
from edgeroot.verifier.desk import Desk
from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.ports import Session
from edgeroot.verifier.server.access import Access
from edgeroot.verifier.server.fleet import DEVICE_ROUTE, Fleet
from edgeroot.verifier.server.http import (
    JSON,
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
from edgeroot.verifier.server.metrics import Metrics
from edgeroot.verifier.server.openapi import describe
from edgeroot.verifier.server.pages import page_routes
from edgeroot.verifier.server.routes import Route, Routes
from edgeroot.verifier.server.views import time_of
from edgeroot.verifier.server.waiting import WaitingRoom

EVIDENCE_MAX_BYTES: Final = 256 * 1024  # event logs of a boot are long
CORIM_MAX_BYTES: Final = 1 << 20
_log: Final = logging.getLogger(__name__)
_STATUSES: Final[dict[type[work.DeskError], int]] = {
    work.BadRequestError: 400,
    work.NoSessionError: 404,
    work.ConflictError: 409,
    work.MediaTypeError: 415,
    work.NoResultError: 406,
    work.FullError: 503,
}
_SESSION_ROUTE: Final = "/challenge-response/v1/session/{session_id}"
_NAMED: Final = (
    (re.compile(r"/challenge-response/v1/session/([0-9a-f]{32})"), _SESSION_ROUTE),
    (re.compile(r"/fleet/v1/device/((?:[0-9a-fA-F]{2}){1,64})"), DEVICE_ROUTE),
)
"""Paths that name something, and their routes."""


class Application:
    """``verification_key`` is the JWK of the key that signs results; without a token nobody provisions."""

    def __init__(
        self,
        desk: Desk,
        *,
        verification_key: Mapping[str, Any],
        provisioning_token: Secret | None,
        fleet: Fleet,
        rate_per_s: float,
    ) -> None:
        self._desk = desk
        self._verification_key = dict(verification_key)
        provisioning = Access(
            words="provisioning takes the verifier's provisioning token",
            closed="provisioning is switched off: the verifier has no provisioning token",
            token=provisioning_token,
        )
        self._limit = RateLimit(rate_per_s)
        self._metrics = Metrics()
        self._waiting = WaitingRoom()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="verifier")
        session, discovery = media_types.SESSION, media_types.DISCOVERY
        self.routes: Final[Routes] = {
            ("POST", "/challenge-response/v1/newSession"): Route("new-session", self._new_session, 0, session),
            ("GET", _SESSION_ROUTE): Route("get-session", self._get_session, 0, session, gives_result=True),
            ("POST", _SESSION_ROUTE): Route(
                "submit-evidence", self._submit, EVIDENCE_MAX_BYTES, session, gives_result=True, brings_news=True
            ),
            ("DELETE", _SESSION_ROUTE): Route("end-session", self._end_session),
            ("POST", "/endorsement-provisioning/v1/submit"): Route(
                "provision", self._provision, CORIM_MAX_BYTES, media_types.PROVISIONING_SESSION, provisioning
            ),
            ("GET", "/.well-known/veraison/verification"): Route("discovery", self._verification, 0, discovery),
            ("GET", "/.well-known/veraison/provisioning"): Route("discovery", self._provisioning, 0, discovery),
            ("GET", "/metrics"): Route("metrics", self._count),
            ("GET", "/openapi.json"): Route("openapi", lambda _request, _id: json_response(200, describe())),
            **fleet.routes(),
            **page_routes(),
        }

    def dismiss(self) -> None:
        """In the event loop: who waits for news is answered now, and nobody waits from now on."""
        self._waiting.close()

    def close(self) -> None:
        """Wait for what is being answered."""
        self._thread.shutdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"only HTTP is spoken here, not {scope['type']}")
        began_s = time.monotonic()
        operation = "none"
        try:
            request = request_of(scope)
            if not self._limit.allows(request.client, began_s):
                raise HttpError(429, "too many requests from this address", {"retry-after": "1"})
            route, argument = self._route(request)
            operation = route.operation
            self._admit(request, route)
            body = await read_body(request, receive, route.body_max_bytes)
            request = replace(request, body=body)
            response = await self._waiting.answer(partial(self._ask, route, request, argument), receive)
            if route.brings_news:
                self._waiting.ring()
        except HttpError as error:
            response = error.response()
        self._metrics.requests.labels(operation, str(response.status)).inc()
        self._metrics.seconds.labels(operation).observe(time.monotonic() - began_s)
        await send_response(response, send)

    async def _ask(self, route: Route, request: Request, argument: str) -> Response:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, route, request, argument)

    def _route(self, request: Request) -> tuple[Route, str]:
        path, argument = request.path, ""
        for pattern, named in _NAMED:
            if found := pattern.fullmatch(request.path):
                path, argument = named, found[1]
        methods = sorted(method for method, one in self.routes if one == path)
        if not methods or ("{" in path and not argument):
            raise HttpError(404, "there is nothing here: /openapi.json says what there is")
        if request.method not in methods:
            raise HttpError(405, f"here is only {', '.join(methods)}", {"allow": ", ".join(methods)})
        return self.routes[request.method, path], argument

    def _admit(self, request: Request, route: Route) -> None:
        """Before a byte of the body is read."""
        if route.access is not None:
            route.access.check(request)
        # Discovery is JSON by another name, and Veraison's clients ask for either.
        also = JSON if route.answer_type == media_types.DISCOVERY else route.answer_type
        types = [route.answer_type, also, *(self._result_types() if route.gives_result else ())]
        if route.answer_type and not any(request.accepts(one) for one in types):
            raise HttpError(406, f"the answer is {route.answer_type}, which the request does not accept")

    def _result_types(self) -> tuple[str, ...]:
        cwt = () if self._desk.sign_cwt is None else (media_types.EAR_CWT,)
        return (media_types.EAR_JWT, *cwt)

    def _told(self, request: Request, session: Session) -> Response:
        """The session, or its result alone to who accepts only that."""
        if request.accepts(media_types.SESSION):
            return _session_response(200, session)
        if media_types.EAR_CWT in self._result_types() and request.accepts(media_types.EAR_CWT):
            return Response(status=200, body=self._desk.result_as_cwt(session), media_type=media_types.EAR_CWT)
        if not session.result:
            raise work.NoResultError("the session has no result: it waits for evidence")
        return Response(status=200, body=session.result.encode(), media_type=media_types.EAR_JWT)

    def _answer(self, route: Route, request: Request, argument: str) -> Response:
        """In the one thread."""
        try:
            return route.handler(request, argument)
        except HttpError:
            raise
        except work.DeskError as error:
            headers = {"accept": ", ".join(error.accepted)} if isinstance(error, work.MediaTypeError) else {}
            raise HttpError(_STATUSES[type(error)], str(error), headers) from error
        except (sqlite3.Error, VerifierError) as error:
            _log.error("the store failed: %s", error)
            raise HttpError(503, "the verifier's store fails: its log says why") from error
        except Exception as error:
            _log.exception("a request was not answered")
            raise HttpError(500, "the verifier failed: its log says why") from error

    def _new_session(self, request: Request, _argument: str) -> Response:
        nonce, size = request.query.get("nonce"), request.query.get("nonceSize")
        if nonce is not None and size is not None:
            raise HttpError(400, "give nonce or nonceSize, not both")
        if nonce is not None:
            session = self._desk.new_session(nonce=_nonce(nonce))
        elif size is not None:
            session = self._desk.new_session(nonce_size_bytes=_size(size))
        else:
            session = self._desk.new_session()
        return _session_response(201, session, location=f"session/{session.session_id}")

    def _get_session(self, request: Request, session_id: str) -> Response:
        return self._told(request, self._desk.session(session_id))

    def _submit(self, request: Request, session_id: str) -> Response:
        if not request.body:
            raise HttpError(400, "there is no evidence in the body")
        session, appraisal = self._desk.submit(session_id, request.headers.get("content-type", ""), request.body)
        self._metrics.results.labels(appraisal.status.name.lower()).inc()
        return self._told(request, session)

    def _end_session(self, _request: Request, session_id: str) -> Response:
        self._desk.end_session(session_id)
        return Response(status=204)

    def _provision(self, request: Request, _argument: str) -> Response:
        if not request.body:
            raise HttpError(400, "there is no CoRIM in the body")
        said: dict[str, object] = {"status": "success", "expiry": time_of(self._desk.now_s())}
        try:
            self._desk.provision(request.headers.get("content-type", ""), request.body, who=request.client)
        except VerifierError as error:
            said |= {"status": "failed", "failure-reason": str(error)}
        return json_response(200, said, media_types.PROVISIONING_SESSION)

    def _verification(self, _request: Request, _argument: str) -> Response:
        endpoints = {"newChallengeResponseSession": "/challenge-response/v1/newSession"}
        return _discovery(endpoints, media_types.ALL_EVIDENCE, {"ear-verification-key": self._verification_key})

    def _provisioning(self, _request: Request, _argument: str) -> Response:
        endpoints = {"provisioningSubmit": "/endorsement-provisioning/v1/submit"}
        return _discovery(endpoints, media_types.CORIM + media_types.SIGNED_CORIM, {})

    def _count(self, _request: Request, _argument: str) -> Response:
        return Response(status=200, body=self._metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _discovery(endpoints: Mapping[str, str], types: tuple[str, ...], more: Mapping[str, object]) -> Response:
    said = {
        **more,
        "media-types": list(types),
        "version": __version__,
        "service-state": "READY",
        "api-endpoints": dict(endpoints),
    }
    return json_response(200, said, media_types.DISCOVERY)


def _session_response(status: int, session: Session, **headers: str) -> Response:
    said: dict[str, object] = {
        "status": session.status,
        "nonce": urlsafe_b64encode(session.nonce).rstrip(b"=").decode(),  # Veraison's client takes no padding
        "expiry": time_of(session.expires_at_s),
        "accept": list(media_types.ALL_EVIDENCE),
    }
    if session.result:
        said["evidence"] = {"type": session.media_type, "value": b64encode(session.evidence).decode()}
        said["result"] = session.result
    return json_response(status, said, media_types.SESSION, **headers)


def _nonce(text: str) -> bytes:
    try:
        return b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise HttpError(400, "nonce is not URL-safe base64") from error


def _size(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 3:
        raise HttpError(400, "nonceSize is not a number from 8 to 64")
    return int(text)
