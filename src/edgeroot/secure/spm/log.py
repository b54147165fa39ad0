"""The log of the secure world: lines from the manager and from the partitions, in a file of bounded size."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_MAX_BYTES: Final = 1 << 20
_MAX_LINE_BYTES: Final = 2048


class Log:
    """Appends lines. When the file is full it becomes ``<name>.1``, whose last content is gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._open()

    def write(self, source: str, line: str) -> None:
        """One line from the manager or a partition; what could drive a terminal is taken out.

        A line that there is no room for is lost: a full disk ends no secure world.
        """
        clean = "".join(char if char.isprintable() else "?" for char in line)[:_MAX_LINE_BYTES]
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        with suppress(OSError):
            os.write(self._file, f"{stamp} {source}: {clean}\n".encode())
            if os.fstat(self._file).st_size > _MAX_BYTES:
                self._begin_anew()

    def _begin_anew(self) -> None:
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        full, self._file = self._file, self._open()
        os.close(full)

    def close(self) -> None:
        os.close(self._file)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self._path, flags, 0o640)


class LineReader:
    """Cuts what a partition says into lines; a line without an end is cut where it becomes too long."""

    def __init__(self) -> None:
        self._rest = b""

    def lines(self, data: bytes) -> list[str]:
        """The lines that are complete with this data; with no data, what was left."""
        if not data:
            data, self._rest = self._rest, b""
            return [data.decode(errors="replace")] if data else []
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE_BYTES:
            whole.append(self._rest)
            self._rest = b""
        return [line.decode(errors="replace") for line in whole]
