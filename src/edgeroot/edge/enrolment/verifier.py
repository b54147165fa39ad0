"""The service as the verifier's relying party: one challenge-response session (Veraison's interface) per evidence."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

from edgeroot.edge.enrolment.errors import AwayError, RefusedError
from edgeroot.edge.enrolment.web import Reply, post
from edgeroot.verifier.media_types import SESSION

_NEW_SESSION: Final = "challenge-response/v1/newSession?nonce="


class Verifier:
    """At ``url``; ``ca_path`` has the certificates that are believed about it, None for the system's."""

    def __init__(self, url: str, ca_path: Path | None) -> None:
        self._url = url.rstrip("/") + "/"
        self._ca_path = ca_path

    def judge(self, evidence: bytes, media_type: str, challenge: bytes) -> str:
        """The signed result for evidence that is to answer this challenge, which the verifier has never seen before.

        RefusedError, AwayError.
        """
        nonce = urlsafe_b64encode(challenge).rstrip(b"=").decode()
        place = urljoin(self._url, _NEW_SESSION + nonce)
        begun = _accepted(post(place, b"", {"Accept": SESSION}, ca_path=self._ca_path))
        # Relative or not, a session is where the verifier is: evidence goes nowhere else.
        session = urljoin(place, begun.location)
        if not begun.location or urljoin(session, "/") != urljoin(self._url, "/"):
            raise AwayError("the verifier began a session elsewhere, or none")
        headers = {"Accept": SESSION, "Content-Type": media_type}
        done = _accepted(post(session, evidence, headers, ca_path=self._ca_path))
        result = done.content.get("result")
        if done.content.get("status") != "complete" or not isinstance(result, str):
            raise AwayError("the verifier gave no result")
        return result


def _accepted(reply: Reply) -> Reply:
    if not 200 <= reply.status < 300:
        raise RefusedError(f"the verifier refuses ({reply.status}): {reply.detail()}")
    return reply
