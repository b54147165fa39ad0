"""A process of its own for the look at the element when the service starts."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from struct import Struct
from time import monotonic
from typing import Final, NoReturn

from edgeroot.psa import PsaError, PsaStatus

_LONGEST_S: Final = 60.0  # several times as long as the library tries
_CHUNK_BYTES: Final = 4096
_STATUS: Final = Struct("<i")
_FOUND, _FAILED = b"\0", b"\1"


def apart(look: Callable[[], bytes]) -> bytes:
    """What ``look`` returns in a process forked for it, so that the library is in no process that does not need it.

    Raises the PsaError of ``look``; HARDWARE_FAILURE if it takes too long or its process dies.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _tell(look, writing)
    os.close(writing)
    try:
        told = _all_of(reading)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not told:
        message = f"the library for the secure element ended its process, or hung for {_LONGEST_S:.0f} s"
        raise PsaError(PsaStatus.HARDWARE_FAILURE, message)
    if told[:1] == _FOUND:
        return told[1:]
    raise PsaError(PsaStatus(_STATUS.unpack_from(told, 1)[0]), told[1 + _STATUS.size :].decode())


def _tell(look: Callable[[], bytes], writing: int) -> NoReturn:
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        try:
            answer = _FOUND + look()
        except PsaError as error:
            answer = _FAILED + _STATUS.pack(error.status) + error.detail.encode()
        os.write(writing, answer)  # less than a pipe holds, so all of it at once
    finally:
        os._exit(0)  # without the parent's clean-up, which is the parent's to do


def _all_of(reading: int) -> bytes:
    told = b""
    end_s = monotonic() + _LONGEST_S
    while select.select([reading], [], [], max(0.0, end_s - monotonic()))[0]:
        part = os.read(reading, _CHUNK_BYTES)
        if not part:
            return told
        told += part
    return b""
