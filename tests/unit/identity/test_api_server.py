"""The questions to the API server, asked of a double over HTTPS."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from edgeroot.identity.api_server import ApiServer, ApiServerError, AwayError
from tests.support.token_reviews import CREDENTIAL, REVIEW_PATH, ApiServerDouble
from tests.support.tokens import Issuer


@pytest.fixture
def double(tmp_path: Path) -> Iterator[ApiServerDouble]:
    with ApiServerDouble(tmp_path, Issuer()) as found:
        yield found


@pytest.fixture
def server(double: ApiServerDouble) -> Iterator[ApiServer]:
    found = connect(double)
    yield found
    found.close()


def connect(double: ApiServerDouble, *, ca_file: Path | None = None) -> ApiServer:
    return ApiServer(double.url, ca_file=ca_file or double.ca_file, token_file=double.token_file, timeout_s=0.3)


def test_it_tells_its_key_set(double: ApiServerDouble, server: ApiServer) -> None:
    assert json.loads(server.key_set()) == double.issuer.key_set()


def test_it_stands_by_a_token_or_does_not(double: ApiServerDouble, server: ApiServer) -> None:
    token = double.issuer.service_account().decode()

    review = server.review(token, "parsec")
    assert (review.authenticated, review.username) == (True, "system:serviceaccount:shop:till")
    assert (review.uid, review.audiences) == ("uid-of-shop/till", ("parsec",))

    double.deleted.add("system:serviceaccount:shop:till")
    refused = server.review(token, "parsec")
    assert not refused.authenticated
    assert "is not there" in refused.words


def test_a_connection_is_used_again_and_replaced_when_it_was_closed(double: ApiServerDouble, server: ApiServer) -> None:
    server.key_set()
    (first,) = server._idle
    server.key_set()
    assert server._idle == [first]

    double.stop()
    double.start()

    assert server.key_set()
    assert server._idle != [first]


def test_it_is_away_when_it_is_not_there_hangs_or_is_overloaded(double: ApiServerDouble, server: ApiServer) -> None:
    for status in (401, 429, 500, 503):
        double.status = status
        with pytest.raises(AwayError, match=str(status)):
            server.key_set()
    double.status = None

    double.may_answer.clear()
    with pytest.raises(AwayError, match="timed out"):
        server.key_set()
    double.may_answer.set()

    double.stop()
    with pytest.raises(AwayError, match="not reached"):
        server.key_set()


@pytest.mark.parametrize("status", [302, 400, 403, 404])
def test_it_is_not_away_when_it_refuses_us(double: ApiServerDouble, server: ApiServer, status: int) -> None:
    double.status = status

    with pytest.raises(ApiServerError, match=f"{status}; look at the rights") as refused:
        server.key_set()
    assert not isinstance(refused.value, AwayError)


def test_another_ca_is_not_believed(double: ApiServerDouble, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    with ApiServerDouble(folder, Issuer()) as other:
        server = connect(double, ca_file=other.ca_file)
        with pytest.raises(AwayError, match="certificate verify failed"):
            server.key_set()
        server.close()
    assert double.questions == []


def test_a_new_ca_is_believed_at_once(double: ApiServerDouble, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    right, ca_file = double.ca_file.read_bytes(), tmp_path / "renewed.pem"
    with ApiServerDouble(folder, Issuer()) as other:
        ca_file.write_bytes(other.ca_file.read_bytes())
    server = connect(double, ca_file=ca_file)
    with pytest.raises(AwayError):
        server.key_set()

    (tmp_path / "new").write_bytes(right)
    (tmp_path / "new").replace(ca_file)

    assert server.key_set()
    server.close()


def test_its_own_credential_is_read_each_time(double: ApiServerDouble, server: ApiServer) -> None:
    double.token_file.write_text("expired")
    with pytest.raises(AwayError, match="401"):
        server.key_set()

    double.token_file.write_text(CREDENTIAL)
    assert server.key_set()


@pytest.mark.parametrize("content", [None, b"\xff", b"two\nlines"])
def test_a_credential_that_cannot_be_used_is_no_outage(
    double: ApiServerDouble, server: ApiServer, content: bytes | None
) -> None:
    if content is None:
        double.token_file.unlink()
    else:
        double.token_file.write_bytes(content)

    with pytest.raises(ApiServerError, match="own credential") as refused:
        server.key_set()
    assert not isinstance(refused.value, AwayError)
    assert "lines" not in str(refused.value)


def test_neither_is_a_ca_that_is_not_there(double: ApiServerDouble, server: ApiServer) -> None:
    double.ca_file.unlink()

    with pytest.raises(ApiServerError, match="CA cannot be read") as refused:
        server.key_set()
    assert not isinstance(refused.value, AwayError)


@pytest.mark.parametrize(
    "answer", [b"x", b"[]", b"{}", b'{"status":7}', b'{"status":{"user":7}}', b'{"status":{"audiences":7}}']
)
def test_an_answer_that_is_no_review_is_no_proof(double: ApiServerDouble, server: ApiServer, answer: bytes) -> None:
    double.answer = answer

    with pytest.raises(ApiServerError, match="no TokenReview"):
        server.review(double.issuer.service_account().decode(), "parsec")


@pytest.mark.parametrize(
    "answer", [b'{"status":{}}', b'{"status":{"authenticated":"yes"}}', b'{"status":{"user":null}}']
)
def test_only_true_is_true(double: ApiServerDouble, server: ApiServer, answer: bytes) -> None:
    double.answer = answer

    assert not server.review(double.issuer.service_account().decode(), "parsec").authenticated


def test_an_endless_answer_is_cut_off(double: ApiServerDouble, server: ApiServer) -> None:
    double.answer = b" " * (2 << 20)

    with pytest.raises(AwayError, match="too long"):
        server.key_set()


def test_a_name_that_nobody_looks_up_is_waited_for_no_longer(
    double: ApiServerDouble, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the cluster's name server a look-up takes many seconds, whatever timeout a socket has."""
    answered = threading.Event()

    def look_up(*_: object) -> NoReturn:
        answered.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "temporary failure")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    began_s = time.monotonic()
    for _ in range(6):
        with pytest.raises(AwayError, match="timed out"):
            server.key_set()
    assert time.monotonic() - began_s < 4
    answered.set()


def test_after_the_end_nobody_is_asked(double: ApiServerDouble) -> None:
    server = connect(double)
    server.close()

    with pytest.raises(AwayError, match="this is the end"):
        server.key_set()
    assert double.questions == []


@pytest.mark.parametrize("url", ["http://10.0.0.1:6443", "10.0.0.1:6443", "https://", ""])
def test_tokens_are_sent_by_https_alone(url: str) -> None:
    with pytest.raises(ValueError, match="no https URL"):
        ApiServer(url, ca_file=None, token_file=None)


def test_the_path_of_the_url_is_kept(double: ApiServerDouble) -> None:
    server = ApiServer(f"{double.url}/clusters/edge/", ca_file=double.ca_file, token_file=double.token_file)

    with pytest.raises(ApiServerError, match="404"):
        server.review(double.issuer.service_account().decode(), "parsec")
    assert double.questions == [f"/clusters/edge{REVIEW_PATH}"]
    server.close()
