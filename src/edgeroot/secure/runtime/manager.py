"""A partition's connection to the partition manager: its FF-A calls, and the channels that it is given."""

from __future__ import annotations

import socket
from collections import deque
from dataclasses import dataclass
from typing import Final

from edgeroot.abi.emulation import CHANNEL_CLOSED, CHANNEL_CONNECT, CHANNEL_OPEN, FIRMWARE_ACCEPTED, FRAME
from edgeroot.abi.ffa import FfaError, FunctionId, signed
from edgeroot.abi.memory import MemoryRelinquish, RetrieveRequest, Transaction
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.secure.runtime.frames import Received, close_all, receive_frame
from edgeroot.secure.runtime.memory import MappedMemory, MemoryRefusedError, sealed_size_bytes

_U32: Final = 0xFFFFFFFF


class ManagerGoneError(Exception):
    """The partition manager has ended: so must the partition."""


@dataclass(frozen=True, slots=True)
class NewChannel:
    """A channel from ``source_id`` that this execution context is to serve; ``number`` is the manager's."""

    source_id: int
    number: int
    socket: socket.socket


class ManagerConnection:
    """One execution context's connection. Calls wait for their answer, which the manager gives at once.

    (Only CHANNEL_OPEN may take longer: until the partition that is called has started.)
    """

    def __init__(self, control: socket.socket, partition_id: int) -> None:
        self._control = control
        self._id = partition_id
        self._tag = 0
        self._channels: deque[NewChannel] = deque()

    def fileno(self) -> int:
        return self._control.fileno()

    def ready(self) -> None:
        """FFA_MSG_WAIT: the context has started, and waits for messages."""
        self._control.send(FRAME.pack(FunctionId.MSG_WAIT, 0, 0, 0, 0, 0, 0, 0, 0))

    @property
    def has_channels(self) -> bool:
        """Whether channels came while a call waited for its answer: the connection may be silent about them."""
        return bool(self._channels)

    def new_channels(self) -> list[NewChannel]:
        """Channels that have come; ManagerGoneError if there is no manager any more."""
        while (answer := self._receive(socket.MSG_DONTWAIT)) is not None:
            self._take(answer)
        found = list(self._channels)
        self._channels.clear()
        return found

    def closed(self, number: int) -> None:
        """A channel that came under this number has ended."""
        try:
            self._control.send(FRAME.pack(CHANNEL_CLOSED, number, 0, 0, 0, 0, 0, 0, 0))
        except OSError as error:
            raise ManagerGoneError from error

    def open_channel(self, endpoint_id: int) -> socket.socket:
        """A channel to another partition; RpcError TRANSPORT_LAYER if the manager does not allow it."""
        answer = self._call((CHANNEL_OPEN, endpoint_id, 0, 0, 0, 0, 0, 0))
        if answer.frame[0] != FunctionId.SUCCESS_32 or len(answer.descriptors) != 1:
            close_all(answer.descriptors)
            raise RpcError(RpcStatus.TRANSPORT_LAYER, f"no channel to endpoint {endpoint_id:#06x}")
        return socket.socket(fileno=answer.descriptors[0])

    def partitions(self) -> bytes:
        """The descriptors of FFA_PARTITION_INFO_GET for all partitions."""
        return self._call((FunctionId.PARTITION_INFO_GET, 0, 0, 0, 0, 0, 0, 0)).payload

    def share(self, descriptor: int, page_count: int, receiver_id: int) -> int:
        """FFA_MEM_SHARE; the handle. RpcError RESOURCE_FAILURE if the manager refuses."""
        transaction = Transaction.share(sender=self._id, receiver=receiver_id, page_count=page_count).encode()
        words = (FunctionId.MEM_SHARE_32, len(transaction), len(transaction), 0, 0, 0, 0, 0)
        answer = self._call(words, transaction, [descriptor])
        if answer.frame[0] != FunctionId.SUCCESS_32:
            raise RpcError(RpcStatus.RESOURCE_FAILURE, "the partition manager shares no more memory")
        return answer.frame[3] << 32 | answer.frame[2]

    def reclaim(self, handle: int) -> bool:
        """FFA_MEM_RECLAIM; False while the receiver still has the memory."""
        answer = self._call((FunctionId.MEM_RECLAIM, handle & _U32, handle >> 32, 0, 0, 0, 0, 0))
        return answer.frame[0] == FunctionId.SUCCESS_32 or signed(answer.frame[2]) != FfaError.DENIED

    def retrieve(self, source_id: int, handle: int) -> MappedMemory:
        """FFA_MEM_RETRIEVE_REQ; RpcError TRANSPORT_LAYER if the manager refuses."""
        request = RetrieveRequest(sender=source_id, receiver=self._id, handle=handle).encode()
        answer = self._call((FunctionId.MEM_RETRIEVE_REQ_32, len(request), len(request), 0, 0, 0, 0, 0), request)
        try:
            if answer.frame[0] != FunctionId.MEM_RETRIEVE_RESP or len(answer.descriptors) != 1:
                raise RpcError(RpcStatus.TRANSPORT_LAYER, "the partition manager did not give the memory")
            size_bytes = sealed_size_bytes(answer.descriptors[0])
            return MappedMemory(answer.descriptors[0], size_bytes)
        except (MemoryRefusedError, OSError, ValueError) as error:
            raise RpcError(RpcStatus.TRANSPORT_LAYER, str(error)) from error
        finally:
            close_all(answer.descriptors)

    def relinquish(self, handle: int) -> None:
        """FFA_MEM_RELINQUISH; a handle that is gone with its owner is no error."""
        request = MemoryRelinquish(handle=handle, endpoints=(self._id,)).encode()
        close_all(self._call((FunctionId.MEM_RELINQUISH, 0, 0, 0, 0, 0, 0, 0), request).descriptors)

    def firmware_accepted(self) -> int:
        """The device's security counter after all that boots was accepted; RpcError if it could not be raised."""
        answer = self._call((FIRMWARE_ACCEPTED, 0, 0, 0, 0, 0, 0, 0))
        close_all(answer.descriptors)
        if answer.frame[0] != FunctionId.SUCCESS_32:
            raise RpcError(RpcStatus.INTERNAL, "the partition manager did not raise the security counter")
        return answer.frame[2]

    def _call(self, words: tuple[int, ...], payload: bytes = b"", descriptors: list[int] | None = None) -> Received:
        self._tag += 1
        frame = FRAME.pack(*words, self._tag) + payload
        try:
            socket.send_fds(self._control, [frame], descriptors or [])
        except OSError as error:
            raise ManagerGoneError from error
        while True:
            answer = self._receive()
            assert answer is not None
            if answer.frame[8] == self._tag and answer.frame[0] != CHANNEL_CONNECT:
                return answer
            self._take(answer)

    def _receive(self, flags: int = 0) -> Received | None:
        """None if there is nothing, and it is not waited for."""
        try:
            received = receive_frame(self._control, flags)
        except BlockingIOError:
            return None
        except OSError as error:
            raise ManagerGoneError from error
        if received is None:
            raise ManagerGoneError
        return received

    def _take(self, answer: Received) -> None:
        if answer.frame[0] == CHANNEL_CONNECT and len(answer.descriptors) == 1:
            channel = socket.socket(fileno=answer.descriptors[0])
            channel.setblocking(False)
            self._channels.append(NewChannel(answer.frame[1] >> 16, answer.frame[2], channel))
        else:
            close_all(answer.descriptors)
