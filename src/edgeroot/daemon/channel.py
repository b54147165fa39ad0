"""Messages between the processes of one service, over a socket pair that nobody else can reach.

A message is a length (u32), the sender's number for it (u64) and its bytes. Neither side ever blocks: what the other
does not take yet is kept and sent when the channel is writable again.
"""

from __future__ import annotations

from socket import MSG_DONTWAIT, MSG_NOSIGNAL, socket
from struct import Struct
from typing import Final

_HEAD: Final = Struct("<IQ")
_READ_BYTES: Final = 65536  # below what makes malloc ask the kernel for pages each time
_MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024


class ChannelClosedError(Exception):
    """The process at the other end is gone.

    ``left_unread``: before it had read everything that was sent. The kernel says so for a stream socket of the local
    family (ECONNRESET instead of the end of the stream).
    """

    def __init__(self, *, left_unread: bool = False) -> None:
        super().__init__()
        self.left_unread = left_unread


class Channel:
    """One end. The owner polls :meth:`fileno` for input, and for output while :attr:`has_output` is true."""

    __slots__ = ("_input", "_output", "_socket")

    def __init__(self, sock: socket) -> None:
        self._socket = sock
        self._input = bytearray()
        self._output = bytearray()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    @property
    def has_output(self) -> bool:
        return bool(self._output)

    def put(self, number: int, message: bytes) -> None:
        """Queue a message; :meth:`flush` sends what is queued."""
        self._output += _HEAD.pack(len(message), number)
        self._output += message

    def flush(self) -> None:
        """Send as much as the other end takes. ChannelClosedError if there is no other end."""
        while self._output:
            try:
                sent = self._socket.send(self._output, MSG_DONTWAIT | MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError as error:
                raise ChannelClosedError from error
            del self._output[:sent]

    def get(self) -> list[tuple[int, bytes]]:
        """Every complete message that has arrived. ChannelClosedError if the other end is gone and all is read."""
        try:
            data = self._socket.recv(_READ_BYTES, MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError as error:
            left_unread = isinstance(error, ConnectionResetError)
            raise ChannelClosedError(left_unread=left_unread) from error
        if not data:
            raise ChannelClosedError
        self._input += data
        messages = []
        at = 0
        while len(self._input) - at >= _HEAD.size:
            size_bytes, number = _HEAD.unpack_from(self._input, at)
            if size_bytes > _MAX_MESSAGE_BYTES:
                raise ChannelClosedError
            end = at + _HEAD.size + size_bytes
            if len(self._input) < end:
                break
            messages.append((number, bytes(self._input[at + _HEAD.size : end])))
            at = end
        del self._input[:at]
        return messages
