"""Memory that another process shares with this one: a sealed memory file, mapped."""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Final

_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class MemoryRefusedError(Exception):
    """A descriptor is no memory that may be mapped; the message says why."""


def sealed_size_bytes(descriptor: int) -> int:
    """The size of a memory file that can neither shrink nor grow any more, so that mapping it is safe.

    MemoryRefusedError for any other descriptor: whoever maps a file that shrinks is ended by SIGBUS.
    """
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError as error:
        raise MemoryRefusedError("the shared memory is no memory file") from error
    if seals & _SEALS != _SEALS:
        raise MemoryRefusedError("the shared memory is not sealed against changes of its size")
    if seals & (fcntl.F_SEAL_WRITE):
        raise MemoryRefusedError("the shared memory cannot be written to")
    return os.fstat(descriptor).st_size


class MappedMemory:
    """A mapped region. After :meth:`close` writing does nothing: nobody is left who would read it."""

    __slots__ = ("_map", "size_bytes")

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self.size_bytes: Final = size_bytes
        self._map: mmap.mmap | None = mmap.mmap(descriptor, size_bytes)

    def read(self, size_bytes: int) -> bytes:
        """A copy of the first bytes, made once: what the other side changes afterwards is not seen."""
        assert self._map is not None
        return self._map[:size_bytes]

    def write(self, data: bytes) -> None:
        if self._map is not None:
            self._map[: len(data)] = data

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None
