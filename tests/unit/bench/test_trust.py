"""Judging is timed beside the verification of the same signature, and only of what is good."""

from __future__ import annotations

import os

import pytest

from bench.errors import BenchError
from bench.fleet import device_key, device_token
from bench.trust import judging


def test_judging_takes_longer_than_the_signature_in_it() -> None:
    nonce = os.urandom(32)
    judged = judging(device_token(1, nonce), nonce=nonce, key=device_key(1).public_key(), seconds=0.05)
    assert judged.appraisal_us > judged.verification_us > 0


@pytest.mark.parametrize(("number", "why"), [(2, "signature"), (1, "challenge")])
def test_what_is_not_good_is_not_timed(number: int, why: str) -> None:
    nonce = os.urandom(32)
    with pytest.raises(BenchError, match=why):
        judging(
            device_token(1, nonce),
            nonce=nonce if number == 2 else os.urandom(32),
            key=device_key(number).public_key(),
            seconds=0.05,
        )
