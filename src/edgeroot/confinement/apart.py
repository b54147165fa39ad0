"""A process of its own for what must leave nothing behind in this one, such as a vendor's library with its threads."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from struct import Struct
from time import monotonic
from typing import Final, NoReturn

from edgeroot.psa import PsaError, PsaStatus

_CHUNK_BYTES: Final = 64 * 1024
_STATUS: Final = Struct("<i")
_DONE, _FAILED = b"\0", b"\1"


class ApartError(Exception):
    """The process has ended without an answer; ``timed_out``: it had not, and was made to end."""

    def __init__(self, *, timed_out: bool) -> None:
        super().__init__("it took too long" if timed_out else "its process has ended")
        self.timed_out = timed_out


def run_apart(work: Callable[[], bytes], *, longest_s: float) -> bytes:
    """What ``work`` returns in a process that is forked for it. Raises the PsaError of ``work``, as a plain one."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(work, writing)
    os.close(writing)
    try:
        answer = _all_of(reading, until_s=monotonic() + longest_s)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not answer:
        raise ApartError(timed_out=False)
    if answer[:1] == _DONE:
        return answer[1:]
    raise PsaError(PsaStatus(_STATUS.unpack_from(answer, 1)[0]), answer[1 + _STATUS.size :].decode())


def _answer(work: Callable[[], bytes], writing: int) -> NoReturn:
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        try:
            answer = _DONE + work()
        except PsaError as error:
            answer = _FAILED + _STATUS.pack(error.status) + error.detail.encode()
        while answer:
            answer = answer[os.write(writing, answer) :]
    finally:
        os._exit(0)  # without the parent's clean-up, which is the parent's to do


def _all_of(reading: int, *, until_s: float) -> bytes:
    received = b""
    while select.select([reading], [], [], max(0.0, until_s - monotonic()))[0]:
        part = os.read(reading, _CHUNK_BYTES)
        if not part:
            return received
        received += part
    raise ApartError(timed_out=True)
