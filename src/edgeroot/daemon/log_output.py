"""Standard error, written to without ever waiting: a log that nobody reads must not stop the service.

Others may use the same pipe or terminal, so the descriptor that was inherited is left in its mode; what is changed is a
second opening of the same thing.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from functools import cache
from typing import Final

ATOMIC_BYTES: Final = 4096  # PIPE_BUF: so much is written to a pipe at once or not at all
_STANDARD_ERROR: Final = 2
_SEND: Final = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


class LogOutput:
    """A descriptor that takes lines, or says that it does not just now.

    ``max_block_bytes`` is how much may be given at once without lines of several processes getting mixed; None for a
    file, to which appending is atomic at any length.
    """

    def __init__(self, fd: int) -> None:
        mode = os.fstat(fd).st_mode
        self._fd = self._given_fd = fd
        self._socket: socket.socket | None = None
        self._poll: select.poll | None = None
        self._rest = b""
        self.max_block_bytes = None if stat.S_ISREG(mode) else ATOMIC_BYTES
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(fd))
        elif not stat.S_ISREG(mode) and os.get_blocking(fd):
            self._reopen()

    def write(self, lines: bytes) -> bool:
        """Pass whole lines on. False if they are not taken now; the same ones may be tried again later.

        Lines of which a part was taken count as passed on: their rest is written first the next time.
        """
        if not self.finish():
            return False
        try:
            written = self._write(lines)
        except OSError:
            return False
        self._rest = lines[written:]
        return True

    def finish(self) -> bool:
        """Write the rest of lines that were begun; True if there is none any more."""
        while self._rest:
            try:
                self._rest = self._rest[self._write(self._rest) :]
            except OSError:
                return False
        return True

    def forget(self) -> None:
        """In a forked child: what the parent has begun is for the parent to end."""
        self._rest = b""

    def close(self) -> None:
        """Let go of what was opened here; the descriptor that was given stays open."""
        if self._socket is not None:
            self._socket.close()
        elif self._fd != self._given_fd:
            os.close(self._fd)

    def _reopen(self) -> None:
        try:
            self._fd = os.open(f"/proc/self/fd/{self._fd}", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            # Another user's pipe. Asking first is nearly as good: only if several processes write at the same moment,
            # and room is left for one of them, do the others wait.
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLOUT)

    def _write(self, data: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(data, _SEND)
        if self._poll is not None:
            if not self._poll.poll(0):
                raise BlockingIOError
            return os.write(self._fd, data[:ATOMIC_BYTES])
        return os.write(self._fd, data)


@cache
def standard_error() -> LogOutput:
    """The one for this process and those that it forks. To be called while the process may still open its own files:
    before it gives up its user, and before the kernel is told to keep others from looking into it.
    """
    return LogOutput(_STANDARD_ERROR)
