from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.edge.certificates.decision import (
    Fail,
    Observed,
    Publish,
    Request,
    RequestState,
    SentRequest,
    Wait,
    decide,
    pause_s,
    renewal_time,
    request_name,
)
from edgeroot.edge.certificates.resource import read
from tests.unit.edge.certificates.support import NOW, issued, public_bytes, resource

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
WISH = read(resource())
NOTHING = Observed(
    chain=None,
    published_generation=0,
    published_at=None,
    public_key=None,
    request=None,
    failures=0,
    failed_at=None,
)
PUBLISHED = replace(NOTHING, chain=issued(KEY), published_generation=1, public_key=public_bytes(KEY))


def test_at_first_a_request_is_sent() -> None:
    assert decide(WISH, NOTHING, NOW) == Request()


def test_a_request_in_hand_is_waited_for() -> None:
    pending = replace(NOTHING, request=SentRequest(state=RequestState.PENDING))
    assert isinstance(decide(WISH, pending, NOW), Wait)


def test_what_was_issued_is_published() -> None:
    done = SentRequest(state=RequestState.ISSUED, chain=issued(KEY))
    step = decide(WISH, replace(NOTHING, public_key=public_bytes(KEY), request=done), NOW)
    assert isinstance(step, Publish)
    assert step.chain == done.chain


@pytest.mark.parametrize(
    "chain", [issued(OTHER), b"", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"]
)
def test_what_is_not_for_the_key_is_published_nowhere(chain: bytes) -> None:
    done = SentRequest(state=RequestState.ISSUED, chain=chain)
    step = decide(WISH, replace(NOTHING, public_key=public_bytes(KEY), request=done), NOW)
    assert step == Fail("the signer has issued no certificate for this key")


def test_a_refusal_is_told_and_the_next_attempt_comes_after_a_pause() -> None:
    refused = SentRequest(state=RequestState.REFUSED, reason="no")
    assert decide(WISH, replace(NOTHING, request=refused), NOW) == Fail("no")
    failed = replace(NOTHING, failures=2, failed_at=NOW)
    assert decide(WISH, failed, NOW + timedelta(seconds=10)) == Wait(50.0)
    assert decide(WISH, failed, NOW + timedelta(seconds=60)) == Request()


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    failed = replace(NOTHING, failures=16, failed_at=NOW + timedelta(days=365))
    assert decide(WISH, failed, NOW) == Request()


def test_a_clock_that_is_ahead_renews_nothing_at_once() -> None:
    """It finds each certificate old as soon as it is there; one that was set back meanwhile is believed at once."""
    now = NOW + timedelta(days=80)
    assert decide(WISH, PUBLISHED, now) == Request()
    published = replace(PUBLISHED, published_at=now)
    assert decide(WISH, published, now) == Wait(timedelta(days=22.5).total_seconds())
    assert decide(WISH, published, now + timedelta(days=22.5)) == Request()
    assert decide(WISH, replace(PUBLISHED, published_at=now + timedelta(days=1)), now) == Request()


def test_pauses_grow_up_to_an_hour() -> None:
    assert [pause_s(count) for count in (0, 1, 2, 3, 8, 10_000)] == [30, 30, 60, 120, 3600, 3600]


@pytest.mark.parametrize("life", [timedelta(minutes=10), timedelta(days=90), timedelta(days=3650)])
def test_renewed_before_two_thirds_of_its_life(life: timedelta) -> None:
    """Each at a time of its own, however many were issued together."""
    published = replace(PUBLISHED, chain=issued(KEY, life=life))
    times = set()
    for number in range(50):
        wish = replace(WISH, uid=f"uid-{number}")
        step = decide(wish, published, NOW)
        assert isinstance(step, Wait)
        assert life * 0.5 < timedelta(seconds=step.seconds) < life * 2 / 3
        times.add(step.seconds)
        assert decide(wish, published, NOW + timedelta(seconds=step.seconds)) == Request()
    assert len(times) == 50


@pytest.mark.parametrize(
    "observed",
    [
        replace(PUBLISHED, public_key=public_bytes(OTHER)),
        replace(PUBLISHED, public_key=None),
        replace(PUBLISHED, published_generation=0),
        replace(PUBLISHED, chain=b"nothing"),
        replace(PUBLISHED, chain=issued(KEY, begin=NOW - timedelta(days=91))),
    ],
    ids=["another key", "no key", "a changed resource", "no certificate", "expired"],
)
def test_a_certificate_that_is_none_any_more_is_asked_for_anew(observed: Observed) -> None:
    assert decide(WISH, observed, NOW) == Request()


def test_an_attempt_keeps_its_name_and_the_next_has_another() -> None:
    attempts = [
        (WISH, NOTHING),
        (WISH, replace(NOTHING, failures=1)),
        (WISH, replace(NOTHING, public_key=public_bytes(KEY))),
        (WISH, PUBLISHED),
        (replace(WISH, generation=2), PUBLISHED),
        (replace(WISH, uid="another"), PUBLISHED),
    ]
    names = [request_name(*attempt) for attempt in attempts]
    assert len(set(names)) == len(names)
    assert names == [request_name(*attempt) for attempt in attempts]
    assert max(map(len, names)) <= 253


def test_the_renewal_time_does_not_move() -> None:
    leaf = x509.load_pem_x509_certificate(issued(KEY))
    assert renewal_time(leaf, "uid") == renewal_time(leaf, "uid")
