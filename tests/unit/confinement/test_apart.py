"""A process apart: what comes back from it, and what does not."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from edgeroot.confinement.apart import ApartError, run_apart
from edgeroot.psa import PsaError, PsaStatus
from tests.support.forked import children


def test_what_is_returned_there_comes_back() -> None:
    assert run_apart(lambda: b"x" * 200_000, longest_s=60) == b"x" * 200_000
    assert run_apart(lambda: b"", longest_s=60) == b""
    assert run_apart(lambda: os.getpid().to_bytes(8), longest_s=60) != os.getpid().to_bytes(8)


def test_its_error_comes_back() -> None:
    def fail() -> bytes:
        raise PsaError(PsaStatus.HARDWARE_FAILURE, "why, and what to do")

    with pytest.raises(PsaError, match="why, and what to do") as raised:
        run_apart(fail, longest_s=60)
    assert raised.value.status is PsaStatus.HARDWARE_FAILURE


def test_an_end_without_an_answer_and_no_end_are_told_apart() -> None:
    def crash() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b"never"

    def hang() -> bytes:
        threading.Event().wait()
        return b"never"

    before = children()
    for work, longest_s, timed_out in ((crash, 60, False), (hang, 0.1, True)):
        with pytest.raises(ApartError) as raised:
            run_apart(work, longest_s=longest_s)
        assert raised.value.timed_out is timed_out
    assert children() == before
