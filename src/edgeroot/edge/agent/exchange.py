"""The device's side of a challenge-response session (Veraison's interface), asynchronously and within bounds.

Whatever the verifier does, an exchange ends in time, with a small answer, and goes nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import httpx2

from edgeroot.edge.agent.schedule import Failure
from edgeroot.edge.agent.verdict import decoded, one_line
from edgeroot.verifier.media_types import EVIDENCE, QUOTE, SESSION

NONCE_BYTES: Final = 32
"""What services take as a challenge."""
EXCHANGE_S: Final = 30.0
ANSWER_MAX_BYTES: Final = 1 << 20
COSE_SIGN1: Final = b"\xd2"
"""How tokens begin (RFC 9052, clause 2); quotes of TPMs do not."""
_NEW_SESSION: Final = f"challenge-response/v1/newSession?nonceSize={NONCE_BYTES}"
_HERE: Final = frozenset({"127.0.0.1", "::1"})
_BUSY: Final = frozenset({429, 503})


class ExchangeError(Exception):
    """There is no result. ``retry_after_s``: when the verifier says to come back, 0 if it does not."""

    def __init__(self, failure: Failure, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.failure, self.retry_after_s = failure, retry_after_s


@dataclass(frozen=True, slots=True)
class Challenge:
    session: str
    nonce: bytes


def check_url(url: str) -> None:
    """ValueError for an address at which others could answer in the verifier's place."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or parts.hostname is None or parts.query or parts.fragment:
        raise ValueError(f"{url} is no address of a verifier: it begins with https://")
    if parts.scheme == "http" and parts.hostname not in _HERE:
        raise ValueError(f"a verifier is asked by https only, or on this machine itself, and not at {url}")


class VerifierSession:
    """For one piece of evidence. Every method raises ExchangeError."""

    def __init__(self, client: httpx2.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url.rstrip("/") + "/"

    async def challenge(self) -> Challenge:
        place = urljoin(self._url, _NEW_SESSION)
        location, content = await self._post(place, b"", {"Accept": SESSION})
        # Relative or not, a session is where the verifier is: evidence goes nowhere else.
        session = urljoin(place, location)
        if not location or urljoin(session, "/") != urljoin(self._url, "/"):
            raise ExchangeError(Failure.REFUSED, "it began a session elsewhere, or none")
        try:
            nonce = decoded(content.get("nonce"))
        except (TypeError, ValueError) as error:
            raise ExchangeError(Failure.REFUSED, "its challenge is not base64url") from error
        if len(nonce) != NONCE_BYTES:
            raise ExchangeError(Failure.REFUSED, f"its challenge has {len(nonce)} bytes, not {NONCE_BYTES}")
        return Challenge(session, nonce)

    async def submit(self, challenge: Challenge, evidence: bytes) -> str:
        """The signed result, an EAR in a JWT."""
        media_type = EVIDENCE[0] if evidence.startswith(COSE_SIGN1) else QUOTE[0]
        _, content = await self._post(challenge.session, evidence, {"Accept": SESSION, "Content-Type": media_type})
        result = content.get("result")
        if content.get("status") != "complete" or not isinstance(result, str):
            raise ExchangeError(Failure.REFUSED, "it gave no result")
        return result

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[str, Mapping[str, Any]]:
        """Location and content of a 2xx. A redirect is none."""
        try:
            async with (
                asyncio.timeout(EXCHANGE_S),
                self._client.stream("POST", url, content=body, headers=dict(headers)) as answer,
            ):
                content = _json(await _body(answer))
        except TimeoutError as error:
            raise ExchangeError(Failure.AWAY, f"it does not answer within {EXCHANGE_S:.0f} s") from error
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, OSError) as error:
            raise ExchangeError(Failure.AWAY, one_line(f"{type(error).__name__}: {error}")) from error
        status = answer.status_code
        if 200 <= status < 300:
            if content is None:
                raise ExchangeError(Failure.REFUSED, "its answer is no JSON object")
            return answer.headers.get("location", ""), content
        words = one_line(f"{status}: {(content or {}).get('detail', answer.reason_phrase)}")
        if status in _BUSY:
            raise ExchangeError(Failure.BUSY, words, _seconds(answer.headers.get("retry-after")))
        raise ExchangeError(Failure.AWAY if status >= 500 else Failure.REFUSED, words)


@asynccontextmanager
async def verifier_session(url: str, ca_path: Path | None) -> AsyncIterator[VerifierSession]:
    """``ca_path`` is read anew each time, so that it may be replaced; None for the system's. ExchangeError."""
    try:
        context = ssl.create_default_context(cafile=ca_path)
    except OSError as error:
        raise ExchangeError(Failure.REFUSED, f"{ca_path} cannot be used as certificates: {error}") from error
    async with httpx2.AsyncClient(verify=context, timeout=EXCHANGE_S, trust_env=False) as client:
        yield VerifierSession(client, url)


async def _body(answer: httpx2.Response) -> bytes:
    body = bytearray()
    async for part in answer.aiter_bytes():
        body += part
        if len(body) > ANSWER_MAX_BYTES:
            raise ExchangeError(Failure.REFUSED, "its answer is longer than 1 MiB")
    return bytes(body)


def _json(body: bytes) -> Mapping[str, Any] | None:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _seconds(text: str | None) -> float:
    """Of Retry-After (RFC 9110, clause 10.2.3); a date is as good as nothing, as clocks at the edge may be wrong."""
    return float(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 10 else 0.0
