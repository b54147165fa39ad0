from __future__ import annotations

import pytest

from edgeroot.psa import Secret
from edgeroot.verifier.server.access import Access
from edgeroot.verifier.server.http import HttpError, Request

TOKEN = "v" * 32
CLOSED = Access(words="takes the token", closed="shown to nobody")
LOCAL = Access(words="", closed="shown to nobody", open_to_loopback=True)
GUARDED = Access(words="takes the token", closed="", token=Secret(TOKEN.encode()), open_to_loopback=True)


def status_of(access: Access, client: str = "127.0.0.1", **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        access.check(Request(method="GET", path="/", client=client, headers=named))
    except HttpError as error:
        return error.status
    return 200


@pytest.mark.parametrize("authorization", ["", "Bearer", f"Basic {TOKEN}", "Bearer " + "u" * 32, f"Bearer {TOKEN}v"])
def test_a_wrong_token(authorization: str) -> None:
    assert status_of(GUARDED, host="localhost", authorization=authorization) == 401


def test_the_right_token() -> None:
    assert status_of(GUARDED, "192.0.2.1", host="verifier.example", authorization=f"bearer {TOKEN}") == 200


@pytest.mark.parametrize("host", ["127.0.0.1:8443", "localhost", "LOCALHOST:1", "[::1]:8443", "127.0.0.9"])
def test_this_machine_by_its_own_name(host: str) -> None:
    assert status_of(LOCAL, host=host) == 200
    assert status_of(LOCAL, "::1", host=host) == 200
    assert status_of(CLOSED, host=host) == 403


@pytest.mark.parametrize("host", ["", "rebound.example", "192.0.2.1:8443", "[2001:db8::1]", "localhost.example"])
def test_a_name_that_was_pointed_at_this_machine(host: str) -> None:
    assert status_of(LOCAL, host=host) == 403


def test_what_a_proxy_lets_through() -> None:
    for name in ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"):
        assert status_of(LOCAL, host="localhost", **{name: "192.0.2.1"}) == 403
    assert status_of(LOCAL, "192.0.2.1", host="localhost") == 403
    assert status_of(LOCAL, "", host="localhost") == 403
