from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.auth import (
    AUTHENTICATORS,
    AuthenticationError,
    AuthenticationFailure,
    DirectAuthenticator,
    Identity,
    PeerCredentials,
    UnixPeerCredentialsAuthenticator,
)

PEER = PeerCredentials(pid=7, uid=1000, gid=1000)
UIDS = st.integers(min_value=0, max_value=2**32 - 1)


def test_the_configurations_names_lead_to_the_wires_numbers() -> None:
    assert {name: make().auth_type for name, make in AUTHENTICATORS.items()} == {"Direct": 1, "UnixPeerCredentials": 3}


def test_descriptions_and_versions_are_those_that_upstreams_clients_print() -> None:
    assert DirectAuthenticator().description == (
        "Directly parses the authentication field as a UTF-8 string and uses that as the application identity. Should "
        "be used for testing only."
    )
    assert UnixPeerCredentialsAuthenticator().description == (
        "Uses Unix peer credentials to authenticate the client. Verifies that the self-declared Unix user identifier "
        "(UID) in the request's authentication header matches that which is found from the peer credentials."
    )
    assert DirectAuthenticator().version == UnixPeerCredentialsAuthenticator().version == (0, 1, 0)


@given(UIDS)
def test_the_uid_in_four_little_endian_bytes_is_the_application_in_decimal(uid: int) -> None:
    peer = PeerCredentials(1, uid, 1)
    identity = UnixPeerCredentialsAuthenticator().authenticate(uid.to_bytes(4, "little"), peer)
    assert identity == Identity(3, str(uid))


@given(UIDS, UIDS)
def test_nobody_can_claim_to_be_another_user(claimed: int, real: int) -> None:
    authenticator = UnixPeerCredentialsAuthenticator()
    auth = claimed.to_bytes(4, "little")
    authenticator.authenticate(auth, PeerCredentials(1, claimed, 1))
    if claimed != real:
        with pytest.raises(AuthenticationError) as refusal:
            authenticator.authenticate(auth, PeerCredentials(1, real, 1))
        assert refusal.value.kind is AuthenticationFailure.REFUSED


@pytest.mark.parametrize(
    "auth", [b"", b"\xe8\x03", b"\xe8\x03\x00", b"\xe8\x03\x00\x00\x00", b"1000", b"\x00\x00\x03\xe8"]
)
def test_any_other_form_of_the_right_uid_is_refused(auth: bytes) -> None:
    with pytest.raises(AuthenticationError) as refusal:
        UnixPeerCredentialsAuthenticator().authenticate(auth, PEER)
    assert refusal.value.kind is AuthenticationFailure.REFUSED


def test_identities_are_made_once_for_each_user_and_the_memory_for_them_is_bounded() -> None:
    authenticator = UnixPeerCredentialsAuthenticator()
    auth = PEER.uid.to_bytes(4, "little")
    assert authenticator.authenticate(auth, PEER) is authenticator.authenticate(auth, PEER)
    for uid in range(5000):
        authenticator.authenticate(uid.to_bytes(4, "little"), PeerCredentials(1, uid, 1))
    assert len(authenticator._known) <= 4096
    assert authenticator.authenticate(auth, PEER) == Identity(3, "1000")


def test_direct_takes_the_name_as_it_is() -> None:
    name = "jürgen/\u2603\x00 "
    assert DirectAuthenticator().authenticate(name.encode(), PEER) == Identity(1, name)


@pytest.mark.parametrize("auth", [b"", b"\xff", b"abc\xc3", b"\xed\xa0\x80"])
def test_direct_refuses_what_is_empty_or_not_utf8(auth: bytes) -> None:
    with pytest.raises(AuthenticationError) as refusal:
        DirectAuthenticator().authenticate(auth, PEER)
    assert refusal.value.kind is AuthenticationFailure.REFUSED


def test_a_direct_client_named_like_a_uid_is_another_application() -> None:
    direct = DirectAuthenticator().authenticate(b"1000", PEER)
    user = UnixPeerCredentialsAuthenticator().authenticate((1000).to_bytes(4, "little"), PEER)
    assert direct.application == user.application
    assert direct != user
