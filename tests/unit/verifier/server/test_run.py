from __future__ import annotations

import socket

import pytest

from edgeroot.psa import Secret
from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.server.run import check_token, listen


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _address = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as listener, pytest.raises(VerifierError, match="cannot listen on 127"):
        listen("127.0.0.1", listener.getsockname()[1])


def test_tokens() -> None:
    assert check_token(b"a" * 32 + b"\n") == Secret(b"a" * 32)
    for text in (b"", b"a" * 31, b"a" * 20 + b" " + b"a" * 20, "\u00e4".encode() * 32):
        with pytest.raises(VerifierError, match="openssl rand"):
            check_token(text)
