"""Open streams: four for each source, and the oldest gives way to a fifth, as in Trusted Services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from edgeroot.secure.partitions.firmware_update.layout import FirmwareImage

_STREAMS_PER_SOURCE: Final = 4
_HANDLE_MASK: Final = 0xFFFFFFFF


@dataclass(slots=True, eq=False)
class ReadStream:
    """A snapshot of an object of the agent's."""

    data: bytes = field(repr=False)
    position: int = 0


@dataclass(slots=True, eq=False)
class InstallStream:
    """An image on its way into the bank for updates; ``position`` is how much of it has been written."""

    image: FirmwareImage
    position: int = 0


Stream: TypeAlias = ReadStream | InstallStream


class Streams:
    """The pool. A handle is good for the source that has opened it, and is not given out again for a long time."""

    def __init__(self) -> None:
        self._streams: dict[tuple[int, int], Stream] = {}  # by source and handle, the oldest first
        self._handle = 0

    def open(self, source_id: int, stream: Stream) -> int:
        """The handle."""
        own = [key for key in self._streams if key[0] == source_id]
        if len(own) == _STREAMS_PER_SOURCE:
            del self._streams[own[0]]
        self._handle = (self._handle + 1) & _HANDLE_MASK
        self._streams[source_id, self._handle] = stream
        return self._handle

    def find(self, source_id: int, handle: int) -> Stream | None:
        return self._streams.get((source_id, handle))

    def close(self, source_id: int, handle: int) -> None:
        del self._streams[source_id, handle]

    def drop(self, unwanted: Callable[[Stream], bool]) -> None:
        """Close streams without asking their owners."""
        self._streams = {key: stream for key, stream in self._streams.items() if not unwanted(stream)}
