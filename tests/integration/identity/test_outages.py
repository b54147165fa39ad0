"""The API server goes away and comes back; keys are rotated; clocks are set; the service starts without anybody."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgeroot.auth import AuthenticationError, KubernetesSettings, TokenSettings
from edgeroot.identity.verifier import TokenVerifier
from tests.support.token_reviews import REVIEW_PATH, ApiServerDouble
from tests.support.tokens import Issuer

TILL = "spiffe://cluster.local/ns/shop/sa/till"
ACCOUNT = "system:serviceaccount:shop:till"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServerDouble]:
    with ApiServerDouble(tmp_path, Issuer()) as found:
        yield found


@pytest.fixture
def settings(server: ApiServerDouble, tmp_path: Path) -> KubernetesSettings:
    return replace(server.settings(), jwks_file=tmp_path / "jwks.json", pods_without_slot=True, review_interval_s=0.05)


@pytest.fixture
def verifier(settings: KubernetesSettings) -> Iterator[TokenVerifier]:
    found = TokenVerifier(TokenSettings(kubernetes=settings))
    yield found
    found.close()


def is_refused(verifier: TokenVerifier, token: bytes) -> bool:
    try:
        verifier.verify(token, None)
    except AuthenticationError:
        return True
    return False


def becomes_true(condition: Callable[[], bool], within_s: float = 10) -> bool:
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True


def test_while_the_api_server_is_away_the_key_set_decides_and_nobody_waits(
    server: ApiServerDouble, verifier: TokenVerifier
) -> None:
    token = server.issuer.service_account()
    verifier.verify(token, None)
    server.deleted.add(ACCOUNT)
    server.stop()
    verifier.verify(token, None)

    time.sleep(0.06)
    began_s = time.monotonic()
    assert verifier.verify(token, None).application == TILL
    assert time.monotonic() - began_s < 0.5


def test_a_deleted_account_is_refused_as_soon_as_the_api_server_is_back(
    server: ApiServerDouble, verifier: TokenVerifier, caplog: pytest.LogCaptureFixture
) -> None:
    token = server.issuer.service_account()
    server_knows = verifier.verify(token, None)
    assert server_knows.application == TILL
    server.stop()
    time.sleep(0.06)
    verifier.verify(token, None)
    server.deleted.add(ACCOUNT)

    server.start()

    assert becomes_true(lambda: is_refused(verifier, token))
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 2
    assert "tokens are checked with the cluster's key set alone" in told[0]
    assert "is back" in told[1]


def test_an_api_server_that_hangs_holds_up_one_request_and_not_the_next(
    server: ApiServerDouble, verifier: TokenVerifier
) -> None:
    token = server.issuer.service_account()
    verifier.verify(token, None)
    server.may_answer.clear()
    time.sleep(0.06)

    verifier.verify(token, None)
    began_s = time.monotonic()
    for _ in range(20):
        time.sleep(0.06)
        verifier.verify(token, None)
    assert time.monotonic() - began_s < 2
    server.may_answer.set()


def test_our_own_expired_credential_is_like_an_outage_until_it_is_renewed(
    server: ApiServerDouble, verifier: TokenVerifier
) -> None:
    token = server.issuer.service_account()
    verifier.verify(token, None)
    credential = server.token_file.read_text()
    server.token_file.write_text("expired while the API server was away")
    server.deleted.add(ACCOUNT)
    time.sleep(0.06)
    assert verifier.verify(token, None).application == TILL

    server.token_file.write_text(credential)

    assert becomes_true(lambda: is_refused(verifier, token))


def test_a_service_that_starts_without_the_api_server_knows_the_keys_of_before(
    server: ApiServerDouble, settings: KubernetesSettings, verifier: TokenVerifier
) -> None:
    token = server.issuer.service_account()
    verifier.verify(token, None)
    server.stop()

    again = TokenVerifier(TokenSettings(kubernetes=settings))
    assert again.verify(token, None).application == TILL
    again.close()


def test_one_that_never_knew_any_learns_them_by_itself(server: ApiServerDouble, verifier: TokenVerifier) -> None:
    token = server.issuer.service_account()
    server.stop()
    with pytest.raises(AuthenticationError, match="there is no key set"):
        verifier.verify(token, None)

    server.start()

    assert becomes_true(lambda: not is_refused(verifier, token))


def test_a_forged_key_set_in_the_file_is_not_believed(
    server: ApiServerDouble, settings: KubernetesSettings, tmp_path: Path
) -> None:
    forger = Issuer()
    server.stop()
    forger.write_key_set(tmp_path / "jwks.json").chmod(0o666)
    verifier = TokenVerifier(TokenSettings(kubernetes=settings))

    with pytest.raises(AuthenticationError, match="there is no key set"):
        verifier.verify(forger.service_account(), None)
    verifier.close()


def test_an_impostor_of_the_api_server_gives_no_keys(
    server: ApiServerDouble, settings: KubernetesSettings, tmp_path: Path
) -> None:
    """He has the address, and not the cluster's CA."""
    folder = tmp_path / "impostor"
    folder.mkdir()
    with ApiServerDouble(folder, Issuer()) as impostor:
        verifier = TokenVerifier(TokenSettings(kubernetes=replace(settings, api_server=impostor.url)))
        with pytest.raises(AuthenticationError, match="there is no key set"):
            verifier.verify(impostor.issuer.service_account(), None)
        assert impostor.questions == []
        verifier.close()


def test_rotated_keys_are_found_and_old_tokens_stay_good(server: ApiServerDouble, verifier: TokenVerifier) -> None:
    old = server.issuer.service_account()
    verifier.verify(old, None)

    server.issuer.rotate()
    new = server.issuer.service_account()

    assert becomes_true(lambda: not is_refused(verifier, new))
    assert verifier.verify(old, None).application == TILL


def test_a_clock_that_is_set_back_does_not_make_a_proof_younger(
    server: ApiServerDouble, settings: KubernetesSettings
) -> None:
    token = server.issuer.service_account(since_s=time.time() - 300)
    ahead_s = 0.0
    verifier = TokenVerifier(TokenSettings(kubernetes=settings), clock=lambda: time.time() + ahead_s)
    verifier.verify(token, None)
    server.deleted.add(ACCOUNT)

    ahead_s = -200.0
    time.sleep(0.06)

    with pytest.raises(AuthenticationError, match="does not stand by"):
        verifier.verify(token, None)
    verifier.close()


@pytest.mark.parametrize("ahead_s", [-3600.0, 3600.0])
def test_a_clock_that_is_far_off_is_named_in_the_refusal(
    server: ApiServerDouble, settings: KubernetesSettings, ahead_s: float
) -> None:
    verifier = TokenVerifier(TokenSettings(kubernetes=settings), clock=lambda: time.time() + ahead_s)

    with pytest.raises(AuthenticationError, match=r"expired|compare the clocks"):
        verifier.verify(server.issuer.service_account(), None)
    verifier.close()


def test_only_genuine_tokens_are_sent_to_the_api_server(server: ApiServerDouble, verifier: TokenVerifier) -> None:
    forger = Issuer()
    for token in (forger.service_account(), server.issuer.service_account(aud=["api"]), b"a.b.c"):
        assert is_refused(verifier, token)

    assert server.asked(REVIEW_PATH) == 0
