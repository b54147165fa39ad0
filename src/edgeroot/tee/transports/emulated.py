"""The emulated secure world: FF-A calls to its manager, and direct messages in channels to its partitions.

:class:`EmulatedTransport` keeps the door of :mod:`edgeroot.tee.api`; whoever has an event loop of its own uses a
:class:`Channel` and its :class:`SharedBuffer` directly.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import socket
from array import array
from pathlib import Path
from struct import Struct
from time import monotonic, sleep
from typing import Final
from uuid import UUID

from edgeroot.abi.emulation import CHANNEL_OPEN, FRAME, MANAGER_STATUS, PAGE_BYTES
from edgeroot.abi.ffa import VERSION_1_1, FfaError, FunctionId, PartitionInfo, signed, uuid_words
from edgeroot.abi.memory import Transaction
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.abi.services import TS_RPC_FFA_UUID
from edgeroot.abi.ts_rpc import (
    PROTOCOL_VERSION,
    Call,
    Words,
    call_outcome,
    call_request,
    check,
    interface_in,
    memory_relinquish_request,
    memory_retrieve_request,
    service_info_request,
    version_in,
    version_request,
)
from edgeroot.tee.api import (
    DEFAULT_BUFFER_BYTES,
    NoSuchServiceError,
    Session,
    TeeBusyError,
    TeeError,
    TeeRefusedError,
    Transport,
)

_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_RECEIVE_BYTES: Final = FRAME.size + PAGE_BYTES
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(array("i").itemsize)
_CREDENTIALS: Final = Struct("3i")
_U32: Final = 0xFFFFFFFF
_ANSWER_S: Final = 60.0
_START_RETRY_S: Final = 0.01
_REQUEST: Final = FunctionId.MSG_SEND_DIRECT_REQ_32
_RESPONSE: Final = FunctionId.MSG_SEND_DIRECT_RESP_32


class WorldGoneError(TeeError):
    """The manager or the partition at the other end has ended."""


class NotReadyError(TeeError):
    """The partition is just starting (FFA_RETRY)."""


class ManagerConnection:
    """A connection to the partition manager."""

    def __init__(self, path: Path, *, timeout_s: float = 5.0) -> None:
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise TeeError(f"no socket can be made: {error.strerror}") from error
        self._tag = 0
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(str(path))
            self._check_peer(path)
        except OSError as error:
            self._socket.close()
            raise WorldGoneError(f"no secure world answers at {path}: {error.strerror or error}") from error
        except BaseException:
            self._socket.close()
            raise

    def _check_peer(self, path: Path) -> None:
        """Whoever replaced the socket must not be told any secret: the manager is root or this very user."""
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        uid = _CREDENTIALS.unpack(credentials)[1]
        if uid not in (0, os.geteuid()):
            raise TeeError(f"{path} belongs to user {uid}, who is neither root nor this user")

    def close(self) -> None:
        self._socket.close()

    def hello(self) -> int:
        """FFA_VERSION and FFA_ID_GET: this user's id. TeeError if the user is not in the table of users."""
        registers = self._call(FunctionId.VERSION, VERSION_1_1)[0]
        if registers[0] == FunctionId.ERROR:
            raise _error_of(registers)
        version = registers[0]
        if version >> 16 != VERSION_1_1 >> 16:
            raise TeeError(f"the secure world speaks FF-A {version >> 16}.{version & 0xFFFF}, not 1.1")
        return self._success(self._call(FunctionId.ID_GET))[0][2] & 0xFFFF

    def partitions(self) -> list[PartitionInfo]:
        """The Trusted Services endpoints."""
        answer = self._success(self._call(FunctionId.PARTITION_INFO_GET, *uuid_words(TS_RPC_FFA_UUID)))
        try:
            return PartitionInfo.decode_all(answer[1])
        except ValueError as error:
            raise TeeError("the secure world's list of partitions is malformed") from error

    def open_channel(self, endpoint_id: int) -> socket.socket:
        """One end of a channel; NotReadyError while the partition starts."""
        _, _, descriptors = self._success(self._call(CHANNEL_OPEN, endpoint_id))
        if len(descriptors) != 1:
            for descriptor in descriptors:
                os.close(descriptor)
            raise TeeError("the secure world gave no channel")
        return socket.socket(fileno=descriptors[0])

    def share(self, descriptor: int, *, page_count: int, sender: int, receiver: int) -> int:
        """FFA_MEM_SHARE: the handle."""
        transaction = Transaction.share(sender=sender, receiver=receiver, page_count=page_count).encode()
        length = len(transaction)
        answer = self._call(FunctionId.MEM_SHARE_32, length, length, payload=transaction, descriptors=[descriptor])
        registers = self._success(answer)[0]
        return registers[3] << 32 | registers[2]

    def reclaim(self, handle: int) -> None:
        """FFA_MEM_RECLAIM."""
        self._success(self._call(FunctionId.MEM_RECLAIM, handle & _U32, handle >> 32))

    def status(self) -> bytes:
        """The JSON text of the manager's status; for root and the user who runs the secure world."""
        text = b""
        while True:
            registers, page, _ = self._success(self._call(MANAGER_STATUS, len(text) // PAGE_BYTES))
            text += page
            if len(text) >= registers[2] or not page:
                return text

    def _call(
        self, *words: int, payload: bytes = b"", descriptors: list[int] | None = None
    ) -> tuple[tuple[int, ...], bytes, list[int]]:
        self._tag += 1
        frame = FRAME.pack(*words, *(0,) * (8 - len(words)), self._tag) + payload
        try:
            socket.send_fds(self._socket, [frame], descriptors or [])
        except OSError:
            pass  # a manager that has refused this user has said so before it closed the connection
        try:
            data, ancillary, _, _ = self._socket.recvmsg(_RECEIVE_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            self.close()  # what it may still answer would be taken for the answer to the next call
            raise WorldGoneError(f"the secure world does not answer: {error.strerror or error}") from error
        if len(data) < FRAME.size:
            raise WorldGoneError("the secure world has ended")
        return FRAME.unpack_from(data), data[FRAME.size :], [fd for one in ancillary for fd in array("i", one[2])]

    def _success(self, answer: tuple[tuple[int, ...], bytes, list[int]]) -> tuple[tuple[int, ...], bytes, list[int]]:
        registers = answer[0]
        if registers[0] == FunctionId.SUCCESS_32:
            return answer
        raise _error_of(registers)


def _error_of(registers: tuple[int, ...]) -> TeeError:
    code = signed(registers[2])
    if registers[0] != FunctionId.ERROR:
        return TeeError(f"the secure world answered with function {registers[0]:#010x}")
    if code == FfaError.BUSY:
        return TeeBusyError("the partition takes no more calls just now")
    if code == FfaError.RETRY:
        return NotReadyError("the partition is just starting")
    if code == FfaError.DENIED:
        return TeeError("the secure world refuses this user: list it with `edgeroot secure-world run --allow`")
    name = FfaError(code).name if code in list(FfaError) else str(code)
    return TeeError(f"the secure world refuses the call: {name}")


class SharedBuffer:
    """Memory that is shared with one partition: one call at a time uses it."""

    def __init__(self, size_bytes: int) -> None:
        self.page_count = -(-size_bytes // PAGE_BYTES)
        self.size_bytes = self.page_count * PAGE_BYTES
        self.descriptor = os.memfd_create("edgeroot-shared", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.descriptor, self.size_bytes)
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
            self.map = mmap.mmap(self.descriptor, self.size_bytes)
        except BaseException:
            os.close(self.descriptor)
            raise
        self.handle = 0

    def forget_descriptor(self) -> None:
        """The manager has a descriptor of its own."""
        os.close(self.descriptor)

    def close(self) -> None:
        self.map.close()


class Channel:
    """Direct messages to one partition. Requests have tags, so that several may be under way."""

    def __init__(self, manager: ManagerConnection, own_id: int, endpoint_id: int) -> None:
        self._manager = manager
        self._own_id = own_id
        self.endpoint_id = endpoint_id
        self._route = own_id << 16 | endpoint_id
        self._socket = manager.open_channel(endpoint_id)
        self._socket.setblocking(False)
        self._send = self._socket.send
        self._receive = self._socket.recv

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def post(self, tag: int, words: Words) -> None:
        """Send a request. TeeBusyError if the channel takes no more, WorldGoneError."""
        try:
            self._send(FRAME.pack(_REQUEST, self._route, 0, *words, tag))
        except BlockingIOError as error:
            raise TeeBusyError("the partition takes no more calls just now") from error
        except OSError as error:
            raise WorldGoneError("the partition has ended") from error

    def collect(self) -> tuple[int, Words | TeeError] | None:
        """An answer that has arrived, with its request's tag; None if there is none. WorldGoneError."""
        try:
            data = self._receive(FRAME.size)
        except BlockingIOError:
            return None
        except OSError as error:
            raise WorldGoneError("the partition has ended") from error
        if len(data) != FRAME.size:
            raise WorldGoneError("the partition has ended")
        frame = FRAME.unpack(data)
        if frame[0] == _RESPONSE:
            return frame[8], frame[3:8]
        return frame[8], _error_of(frame)

    def exchange(self, words: Words, *, timeout_s: float = _ANSWER_S) -> Words:
        """Send a request and wait for its answer; for channels with nothing else under way. TeeError.

        A channel whose answer did not come in time is closed: it would be taken for the answer to the next request.
        """
        self.post(0, words)
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        if not poll.poll(1000 * timeout_s):
            self.close()
            raise TeeError(f"the partition has not answered within {timeout_s:g} s")
        answer = self.collect()
        if answer is None:
            raise TeeError("the partition has sent an answer that went astray")
        if isinstance(answer[1], TeeError):
            raise answer[1]
        return answer[1]

    def check_version(self, *, timeout_s: float = _ANSWER_S) -> None:
        """TeeError unless the partition speaks TS RPC v1."""
        version = version_in(self.exchange(version_request(), timeout_s=timeout_s))
        if version != PROTOCOL_VERSION:
            raise TeeError(f"the partition speaks TS RPC version {version}, not {PROTOCOL_VERSION}")

    def interface(self, service: UUID, *, timeout_s: float = _ANSWER_S) -> int | None:
        """The interface id of a service, None if the partition does not offer it."""
        try:
            return interface_in(self.exchange(service_info_request(service), timeout_s=timeout_s))
        except RpcError as error:
            if error.status is RpcStatus.NOT_FOUND:
                return None
            raise _refused(error) from error

    def share(self, size_bytes: int, *, timeout_s: float = _ANSWER_S) -> SharedBuffer:
        """A new buffer that the partition has retrieved. TeeError."""
        try:
            buffer = SharedBuffer(size_bytes)
        except OSError as error:
            raise TeeError(f"no memory can be shared: {error.strerror}") from error
        try:
            buffer.handle = self._manager.share(
                buffer.descriptor, page_count=buffer.page_count, sender=self._own_id, receiver=self.endpoint_id
            )
            check(self.exchange(memory_retrieve_request(buffer.handle), timeout_s=timeout_s))
        except RpcError as error:
            buffer.close()
            raise _refused(error) from error
        except BaseException:
            buffer.close()
            raise
        finally:
            buffer.forget_descriptor()
        return buffer

    def unshare(self, buffer: SharedBuffer) -> None:
        """Take a buffer back. TeeError."""
        buffer.close()
        self.exchange(memory_relinquish_request(buffer.handle))
        self._manager.reclaim(buffer.handle)


def service_result(words: Words, buffer: SharedBuffer) -> tuple[int, bytes]:
    """The service's status and the response of an answer. TeeRefusedError if the call reached no service."""
    try:
        outcome = call_outcome(words)
    except RpcError as error:
        raise _refused(error) from error
    return outcome.service_status, buffer.map[: outcome.response_bytes]


def _refused(error: RpcError) -> TeeRefusedError:
    return TeeRefusedError(f"the partition did not take the call: {error.status.name}")


class EmulatedSession(Session):
    """Calls to one service over a channel and a buffer of its own."""

    def __init__(self, channel: Channel, interface: int, buffer: SharedBuffer) -> None:
        self._channel = channel
        self._interface = interface
        self._buffer = buffer
        self.capacity_bytes = buffer.size_bytes

    def call(self, opcode: int, request: bytes) -> tuple[int, bytes]:
        buffer = self._buffer
        if len(request) > buffer.size_bytes:
            raise ValueError(f"a request of {len(request)} bytes is longer than the buffer of {buffer.size_bytes}")
        buffer.map[: len(request)] = request
        words = call_request(Call(self._interface, opcode, buffer.handle, len(request)))
        return service_result(self._channel.exchange(words), buffer)

    def close(self) -> None:
        try:
            self._channel.unshare(self._buffer)
        except TeeError:
            pass  # the partition or the whole world has ended, and with it what was shared
        self._channel.close()


class EmulatedTransport(Transport):
    """Sessions with emulated partitions.

    ``start_timeout_s`` is how long to wait for a partition that is just starting.
    """

    def __init__(self, path: Path, *, start_timeout_s: float = 10.0) -> None:
        self._manager = ManagerConnection(path)
        self._start_timeout_s = start_timeout_s
        try:
            self.own_id: Final = self._manager.hello()
        except BaseException:
            self._manager.close()
            raise

    def partitions(self) -> list[PartitionInfo]:
        """The endpoints of this world."""
        return self._manager.partitions()

    def open_channel(self, endpoint_id: int) -> Channel:
        """A channel to a partition, as soon as it has started. TeeError."""
        until_s = monotonic() + self._start_timeout_s
        while True:
            try:
                return Channel(self._manager, self.own_id, endpoint_id)
            except NotReadyError:
                if monotonic() > until_s:
                    raise
                sleep(_START_RETRY_S)

    def find(self, service: UUID, *, timeout_s: float = _ANSWER_S) -> tuple[Channel, int]:
        """A channel to the partition that offers the service, and the service's interface id there.

        ``timeout_s`` bounds the wait for each of the answers.
        """
        for info in self.partitions():
            channel = self.open_channel(info.id)
            try:
                channel.check_version(timeout_s=timeout_s)
                interface = channel.interface(service, timeout_s=timeout_s)
                if interface is not None:
                    return channel, interface
            except BaseException:
                channel.close()
                raise
            channel.close()
        raise NoSuchServiceError(f"no partition offers the service {service}")

    def open_session(self, service: UUID, *, buffer_bytes: int = DEFAULT_BUFFER_BYTES) -> EmulatedSession:
        channel, interface = self.find(service)
        try:
            return EmulatedSession(channel, interface, channel.share(buffer_bytes))
        except BaseException:
            channel.close()
            raise

    def close(self) -> None:
        self._manager.close()
