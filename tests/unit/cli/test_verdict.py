"""The device's side of a session, against answers that a verifier should not give."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgeroot.cli import verdict, web
from edgeroot.cli.errors import CommandError
from edgeroot.cli.web import Answer

URL = "https://verifier.example:8443"
NONCE = bytes(range(32))
EAR = "e30." + urlsafe_b64encode(b'{"submods": {"PSA_IOT": {"ear.status": "warning"}}}').rstrip(b"=").decode() + ".x"
BEGUN = {"nonce": urlsafe_b64encode(NONCE).rstrip(b"=").decode()}
DONE = {"status": "complete", "result": EAR}


class Verifier:
    """Answers in their order, and what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, location: str, *contents: Mapping[str, Any]) -> None:
        self._answers = [Answer(location=location, content=content) for content in contents]
        self.asked: list[tuple[str, bytes, str]] = []
        monkeypatch.setattr(verdict, "post", self._post)

    def _post(self, url: str, body: bytes, headers: Mapping[str, str], *, ca_path: Path | None = None) -> Answer:
        self.asked.append((url, body, headers.get("Content-Type", "")))
        return self._answers.pop(0)


@pytest.mark.parametrize(
    "location", ["session/0a", "/challenge-response/v1/session/0a", f"{URL}/challenge-response/v1/session/0a"]
)
@pytest.mark.parametrize("url", [URL, URL + "/"])
def test_a_session(monkeypatch: pytest.MonkeyPatch, url: str, location: str) -> None:
    verifier = Verifier(monkeypatch, location, BEGUN, DONE)
    assert verdict.ask_verdict(url, lambda nonce: b"\xd2" + nonce, None) == (EAR, {"PSA_IOT": "warning"})
    assert verifier.asked == [
        (f"{URL}/challenge-response/v1/newSession?nonceSize=32", b"", ""),
        (f"{URL}/challenge-response/v1/session/0a", b"\xd2" + NONCE, "application/psa-attestation-token"),
    ]


def test_what_is_no_token_is_a_quote(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = Verifier(monkeypatch, "session/0a", BEGUN, DONE)
    verdict.ask_verdict(URL, lambda nonce: b"\xa5" + nonce, None)
    assert verifier.asked[1][2] == "application/vnd.edgeroot.tpm-evidence+cbor"


@pytest.mark.parametrize("location", ["", "https://elsewhere.example/session/0a", "http://verifier.example:8443/x"])
def test_evidence_goes_nowhere_else(monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    verifier = Verifier(monkeypatch, location, BEGUN, DONE)
    with pytest.raises(CommandError, match="elsewhere"):
        verdict.ask_verdict(URL, lambda _nonce: b"", None)
    assert len(verifier.asked) == 1


@pytest.mark.parametrize(
    ("done", "words"),
    [
        ({"status": "failed"}, "no result"),
        ({"status": "complete", "result": 5}, "no result"),
        ({"status": "complete", "result": "x"}, "no EAR"),
        ({"status": "complete", "result": "e30.e30.x"}, "no EAR"),
        ({"status": "complete", "result": "e30.W10.x"}, "no EAR"),
    ],
)
def test_results_that_are_none(monkeypatch: pytest.MonkeyPatch, done: Mapping[str, Any], words: str) -> None:
    Verifier(monkeypatch, "session/0a", BEGUN, done)
    with pytest.raises(CommandError, match=words):
        verdict.ask_verdict(URL, lambda _nonce: b"", None)


@pytest.mark.parametrize("url", ["http://192.0.2.1/", "ftp://127.0.0.1/", "file:///etc/passwd", "verifier"])
def test_addresses_that_are_not_asked(url: str) -> None:
    with pytest.raises(CommandError, match="https"):
        web.post(url, b"", {})
