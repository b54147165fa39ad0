"""Verifiers that are none: whatever answers, an exchange ends in time, in words, and evidence goes nowhere else."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgeroot.edge.agent import exchange
from edgeroot.edge.agent.exchange import Challenge, ExchangeError, VerifierSession, check_url, verifier_session
from edgeroot.edge.agent.schedule import Failure

NONCE = bytes(range(32))
NONCE_TEXT = urlsafe_b64encode(NONCE).rstrip(b"=").decode()
SESSION = f'{{"nonce": "{NONCE_TEXT}"}}'
HUGE = "x" * (exchange.ANSWER_MAX_BYTES + 1)


def answer(status: str, body: str = "", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "connection: close", "", body]).encode()


@dataclass
class Wicked:
    """Answers every request with the same bytes, a second's pause between them if they are to dribble."""

    answer: bytes
    is_slow: bool = False
    requests: list[bytes] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        try:
            if self.is_slow:
                for one in self.answer:
                    writer.write(bytes([one]))
                    await asyncio.sleep(0.05)
            writer.write(self.answer)
            await writer.drain()
            if not self.answer:
                await asyncio.sleep(60)
        except OSError:
            pass
        finally:
            writer.close()


def ask(wicked: Wicked, use: Callable[[VerifierSession], Awaitable[object]]) -> object:
    async def go() -> object:
        server = await asyncio.start_server(wicked.serve, "127.0.0.1", 0)
        wicked.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            async with asyncio.timeout(10), verifier_session(wicked.url, None) as session:
                return await use(session)
        finally:
            server.close()

    return asyncio.run(go())


def refused(
    wicked: Wicked, use: Callable[[VerifierSession], Awaitable[object]] = VerifierSession.challenge
) -> ExchangeError:
    with pytest.raises(ExchangeError) as caught:
        ask(wicked, use)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("said", "failure", "words"),
    [
        (b"\x00\xff garbage\r\n\r\n", Failure.AWAY, "RemoteProtocolError"),
        (b"HTTP/1.1 200 OK\r\n", Failure.AWAY, "RemoteProtocolError"),
        (answer("200 OK", "<html>welcome to the portal</html>"), Failure.REFUSED, "no JSON object"),
        (answer("200 OK", "[1, 2]"), Failure.REFUSED, "no JSON object"),
        (answer("200 OK", "[" * 200_000), Failure.REFUSED, "no JSON object"),
        (answer("200 OK", HUGE), Failure.REFUSED, "longer than 1 MiB"),
        (answer("201 Created", "{}"), Failure.REFUSED, "elsewhere, or none"),
        (answer("201 Created", SESSION, location="https://elsewhere.example/session/1"), Failure.REFUSED, "elsewhere"),
        (answer("201 Created", SESSION, location="//elsewhere.example/1"), Failure.REFUSED, "elsewhere"),
        (answer("201 Created", "{}", location="session/1"), Failure.REFUSED, "not base64url"),
        (answer("201 Created", '{"nonce": "AAAA"}', location="session/1"), Failure.REFUSED, "3 bytes, not 32"),
        (answer("201 Created", '{"nonce": "?!"}', location="session/1"), Failure.REFUSED, "not base64url"),
        (answer("302 Found", "", location="https://elsewhere.example/"), Failure.REFUSED, "302"),
        (answer("307 Temporary Redirect", "", location="/other"), Failure.REFUSED, "307"),
        (
            answer("404 Not Found", '{"detail": "there is\\nnothing \\u001b[2J here"}'),
            Failure.REFUSED,
            "is nothing ?[2J",
        ),
        (answer("429 Too Many Requests", "{}", retry_after="7"), Failure.BUSY, "429"),
        (answer("503 Service Unavailable", "no", retry_after="soon"), Failure.BUSY, "503"),
        (answer("502 Bad Gateway", HUGE[:100]), Failure.AWAY, "502"),
    ],
)
def test_what_is_no_verifier(said: bytes, failure: Failure, words: str) -> None:
    error = refused(Wicked(said))
    assert error.failure is failure
    assert words in str(error)


def test_when_it_says_to_come_back() -> None:
    def retry_after(text: str) -> float:
        return refused(Wicked(answer("429 No", "{}", retry_after=text))).retry_after_s

    assert [retry_after(one) for one in ("7", "0", "-1", "1e9", "9" * 30, "Fri, 27 Nov 2026 10:00:00 GMT")] == [
        *(7, 0, 0, 0, 0, 0),
    ]


@pytest.mark.parametrize("wicked", [Wicked(b""), Wicked(answer("200 OK", SESSION), is_slow=True)])
def test_one_that_hangs_or_dribbles(wicked: Wicked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "EXCHANGE_S", 0.5)
    error = refused(wicked)
    assert error.failure is Failure.AWAY
    assert "within" in str(error) or "Timeout" in str(error)


def test_nobody_there() -> None:
    async def go() -> None:
        async with verifier_session("http://127.0.0.1:9", None) as session:
            await session.challenge()

    with pytest.raises(ExchangeError) as caught:
        asyncio.run(go())
    assert caught.value.failure is Failure.AWAY


def test_a_session() -> None:
    wicked = Wicked(answer("201 Created", SESSION, location="session/1"))
    challenge = ask(wicked, VerifierSession.challenge)
    assert challenge == Challenge(f"{wicked.url}/challenge-response/v1/session/1", NONCE)
    assert wicked.requests[0].startswith(b"POST /challenge-response/v1/newSession?nonceSize=32 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "said", ['{"status": "waiting"}', '{"status": "complete"}', '{"status": "complete", "result": 7}']
)
def test_no_result(said: str) -> None:
    wicked = Wicked(answer("200 OK", said))

    async def submit(session: VerifierSession) -> object:
        return await session.submit(Challenge(f"{wicked.url}/s", NONCE), b"\xd2token")

    error = refused(wicked, submit)
    assert (error.failure, str(error)) == (Failure.REFUSED, "it gave no result")
    assert b"content-type: application/psa-attestation-token" in wicked.requests[0].lower()


def test_a_file_that_has_no_certificates(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")

    async def go() -> None:
        async with verifier_session("https://127.0.0.1:9", tmp_path / "ca.pem"):
            pass

    with pytest.raises(ExchangeError, match=r"ca\.pem cannot be used"):
        asyncio.run(go())


def test_addresses_at_which_others_could_answer() -> None:
    for url in ("http://192.0.2.1", "http://localhost", "ftp://127.0.0.1", "verifier", "https://", "https://a?b=c"):
        with pytest.raises(ValueError, match="verifier"):
            check_url(url)
    check_url("http://[::1]:8443")
    check_url("https://verifier.example")
