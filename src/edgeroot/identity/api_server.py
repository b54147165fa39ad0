"""The two questions to a cluster's API server: its key set, and whether it stands by a token (TokenReview, v1)."""

from __future__ import annotations

import http.client
import json
import secrets
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_KEY_SET_PATH: Final = "/openid/v1/jwks"
_REVIEW_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_ACCEPTED: Final = "application/json, application/jwk-set+json"
_TIMEOUT_S: Final = 2.0
_MAX_ANSWER_BYTES: Final = 1 << 20
_MAX_IDLE_CONNECTIONS: Final = 4
_MAX_ASKERS: Final = 4
_MAX_WORDS_CHARACTERS: Final = 200


class ApiServerError(Exception):
    """The API server gave no answer that can be used; the message says why."""


class AwayError(ApiServerError):
    """It cannot answer at present: it is not reached, is overloaded, or does not know our credential yet."""


@dataclass(frozen=True, slots=True)
class Review:
    """``status`` of a TokenReview. ``words`` is what it says of a token that it does not stand by."""

    authenticated: bool
    username: str = ""
    uid: str = ""
    audiences: tuple[str, ...] = ()
    words: str = ""


class ApiServer:
    """At an ``https`` URL. Files are read when they are needed: the credential expires, and the CA rotates.

    May be used by several threads at once. No question takes longer than ``timeout_s``.
    """

    def __init__(
        self, url: str, *, ca_file: Path | None, token_file: Path | None, timeout_s: float = _TIMEOUT_S
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.hostname is None:
            raise ValueError(f"{url} is no https URL of an API server")
        self._host, self._port, self._prefix = parts.hostname, parts.port or 443, parts.path.rstrip("/")
        self._ca_file = ca_file
        self._token_file = token_file
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._askers = ThreadPoolExecutor(_MAX_ASKERS, "api-server")
        self._max_idle = _MAX_IDLE_CONNECTIONS
        self._idle: list[http.client.HTTPSConnection] = []
        self._context: tuple[tuple[int, int] | None, ssl.SSLContext] | None = None

    def key_set(self) -> bytes:
        """The JSON Web Key Set of the cluster's service-account issuer."""
        return self._ask("GET", _KEY_SET_PATH)

    def review(self, token: str, audience: str) -> Review:
        """Whether the API server stands by the token, for this audience, now."""
        # For ten seconds it remembers that it stood by a token for these audiences. A new one makes it look again.
        audiences = [audience, f"{audience}-{secrets.token_hex(8)}"]
        question = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": audiences},
        }
        return read_review(self._ask("POST", _REVIEW_PATH, json.dumps(question).encode()))

    def close(self) -> None:
        """End the connections. Those that are being used end with their answers."""
        with self._lock:
            self._max_idle = 0
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self._askers.shutdown(wait=False, cancel_futures=True)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        status, answer = self._in_time(lambda: self._exchange(method, self._prefix + path, body))
        if status in {200, 201}:
            return answer
        detail = f"the API server answers {method} {path} with {status}"
        if status in {401, 408, 429} or status >= 500:
            # 401: after a long time without the API server our own credential has expired, until the kubelet renews it.
            raise AwayError(detail)
        raise ApiServerError(f"{detail}; look at the rights of the service's account ({self._token_file})")

    def _in_time(self, exchange: Callable[[], tuple[int, bytes]]) -> tuple[int, bytes]:
        # A socket's timeout does not bound how long its name is looked up.
        try:
            asked = self._askers.submit(exchange)
        except RuntimeError as error:
            raise AwayError("nobody is asked any more: this is the end") from error
        try:
            return asked.result(self._timeout_s)
        except (TimeoutError, CancelledError) as error:
            asked.cancel()
            raise AwayError(f"the API server at {self._host}:{self._port} does not answer: timed out") from error

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        headers, context = self._headers(), self._tls_context()
        try:
            used = self._take_idle()
            if used is not None:
                try:
                    return self._answer(used, method, path, body, headers)
                except (http.client.HTTPException, OSError) as error:
                    used.close()
                    if isinstance(error, TimeoutError):
                        raise
                    # It was closed while it lay here; both questions may be asked twice.
            fresh = http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=context)
            try:
                return self._answer(fresh, method, path, body, headers)
            except BaseException:
                fresh.close()
                raise
        except (http.client.HTTPException, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise AwayError(f"the API server at {self._host}:{self._port} is not reached: {reason}") from error

    def _answer(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
    ) -> tuple[int, bytes]:
        connection.request(method, path, body, headers)
        with connection.getresponse() as response:
            answer = response.read(_MAX_ANSWER_BYTES + 1)
            may_go_on = response.isclosed() and not response.will_close
        if len(answer) > _MAX_ANSWER_BYTES:
            raise http.client.HTTPException("the answer is too long")
        with self._lock:
            kept = may_go_on and len(self._idle) < self._max_idle
            if kept:
                self._idle.append(connection)
        if not kept:
            connection.close()
        return response.status, answer

    def _take_idle(self) -> http.client.HTTPSConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": _ACCEPTED, "Content-Type": "application/json"}
        if self._token_file is not None:
            try:
                credential = self._token_file.read_text("ascii").strip()
            except (OSError, ValueError) as error:
                raise ApiServerError(f"the service's own credential cannot be read ({self._token_file})") from error
            if not credential.isprintable():
                raise ApiServerError(f"the service's own credential is not one line ({self._token_file})")
            headers["Authorization"] = f"Bearer {credential}"
        return headers

    def _tls_context(self) -> ssl.SSLContext:
        try:
            version = None
            if self._ca_file is not None:
                found = self._ca_file.stat()
                version = (found.st_ino, found.st_mtime_ns)
            if self._context is None or self._context[0] != version:
                context = ssl.create_default_context(cafile=self._ca_file)
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                self._context = (version, context)
            return self._context[1]
        except OSError as error:
            raise ApiServerError(f"the cluster's CA cannot be read ({self._ca_file}): {error}") from error


def read_review(answer: bytes) -> Review:
    """What a TokenReview says; ApiServerError if the answer is none."""
    try:
        status = json.loads(answer)["status"]
        user = status.get("user") or {}
        audiences = status.get("audiences") or []
        return Review(
            status.get("authenticated") is True,
            str(user.get("username", "")),
            str(user.get("uid", "")),
            tuple(map(str, audiences)),
            str(status.get("error", ""))[:_MAX_WORDS_CHARACTERS],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ApiServerError("the API server's answer is no TokenReview") from error
