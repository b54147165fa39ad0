"""The FF-A calls of the partition manager: who may discover, open a channel to, and share memory with whom.

It decides and keeps the books; sockets and processes are the manager's (:mod:`edgeroot.secure.spm.manager`). Messages
between endpoints never come here: they travel in the channels that are given out.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from edgeroot.abi.emulation import CHANNEL_OPEN, MANAGER_STATUS, PAGE_BYTES
from edgeroot.abi.ffa import VERSION_1_1, FfaError, FunctionId, PartitionInfo, PartitionProperties, uuid_from_words
from edgeroot.abi.memory import DescriptorError, MemoryRelinquish, RetrieveRequest, Transaction
from edgeroot.abi.services import TS_RPC_FFA_UUID
from edgeroot.secure.spm.manifest import NORMAL_WORLD, Manifest
from edgeroot.secure.spm.sharing import RefusedError, Shares

MANAGER_ID: Final = 0x8000
_PROPERTIES: Final = (
    PartitionProperties.RECEIVES_DIRECT_REQUESTS
    | PartitionProperties.SENDS_DIRECT_REQUESTS
    | PartitionProperties.AARCH64  # no matter what this machine is: so Trusted Services' partitions show themselves
)
_DESCRIPTOR_BYTES: Final = 24
_U32: Final = 0xFFFFFFFF
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

Registers = tuple[int, ...]


@dataclass(slots=True, eq=False)
class Connection:
    """A connection to the manager: a user's of the normal world, or an execution context's.

    ``endpoint_id`` is None for an administrator who is no listed user: he may ask for the status and nothing else.
    """

    endpoint_id: int | None
    manifest: Manifest | None = None
    is_administrator: bool = False
    status: bytes = b""  # as it was when its first page was asked for


@dataclass(frozen=True, slots=True)
class Answer:
    """A frame's registers, what follows them, and a descriptor to hand over (the receiver of this closes it)."""

    registers: Registers
    payload: bytes = b""
    descriptor: int | None = None


@dataclass(frozen=True, slots=True)
class OpenChannel:
    """The manager is to make a channel from a source to a partition, now or as soon as that has started."""

    source_id: int
    target: Manifest


class StatusSource(Protocol):
    """Tells how the partitions are."""

    def __call__(self) -> bytes: ...


@dataclass(slots=True)
class Monitor:
    """The calls. ``manifests`` in boot order."""

    manifests: tuple[Manifest, ...]
    contexts_of: Callable[[Manifest], int]
    status: StatusSource
    shares: Shares[int] = field(default_factory=Shares)

    def call(
        self, connection: Connection, registers: Registers, payload: bytes, descriptors: list[int]
    ) -> Answer | OpenChannel:
        """Answer one call. The descriptors that came with it are closed here, if they are not kept."""
        try:
            return self._call(connection, registers, payload, descriptors)
        except RefusedError as error:
            return refusal(error.code)
        except DescriptorError:
            return refusal(FfaError.INVALID_PARAMETERS)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def forget(self, connection: Connection) -> None:
        """The connection has ended."""
        for share in self.shares.forget(connection):
            os.close(share.memory)

    def _call(
        self, connection: Connection, registers: Registers, payload: bytes, descriptors: list[int]
    ) -> Answer | OpenChannel:
        function = registers[0]
        if function == MANAGER_STATUS and connection.is_administrator:
            return self._status_page(connection, registers[1])
        endpoint_id = connection.endpoint_id
        if endpoint_id is None:
            raise RefusedError(FfaError.DENIED, "the user is not in the table of users")
        match function:
            case FunctionId.VERSION:
                return Answer(_padded(VERSION_1_1))
            case FunctionId.ID_GET:
                return Answer(_success(endpoint_id))
            case FunctionId.PARTITION_INFO_GET:
                return self._partition_info(registers)
            case FunctionId.MEM_SHARE_32 | FunctionId.MEM_SHARE_64:
                return self._share(connection, endpoint_id, _whole(registers, payload), descriptors)
            case FunctionId.MEM_RECLAIM:
                os.close(self.shares.reclaim(registers[2] << 32 | registers[1], owner=connection).memory)
                return Answer(_success())
            case FunctionId.MEM_RETRIEVE_REQ_32 | FunctionId.MEM_RETRIEVE_REQ_64 if connection.manifest is not None:
                return self._retrieve(connection, endpoint_id, _whole(registers, payload))
            case FunctionId.MEM_RELINQUISH if connection.manifest is not None:
                relinquish = MemoryRelinquish.decode(payload)
                self.shares.relinquish(relinquish.handle, borrower=connection)
                return Answer(_success())
            case _ if function == CHANNEL_OPEN:
                return OpenChannel(endpoint_id, self._callee(connection, registers[1]))
        raise RefusedError(FfaError.NOT_SUPPORTED, f"function {function:#010x}")

    def _partition_info(self, registers: Registers) -> Answer:
        """FFA_PARTITION_INFO_GET: every partition is a Trusted Services endpoint, under the one FF-A UUID of those."""
        wanted = uuid_from_words(registers[1:5])
        found = self.manifests if wanted.int == 0 or wanted == TS_RPC_FFA_UUID else ()
        registers_of_answer = _success(len(found), _DESCRIPTOR_BYTES)
        if registers[5] & 1:  # only the count is asked for
            return Answer(registers_of_answer)
        infos = [
            PartitionInfo(manifest.id, self.contexts_of(manifest), _PROPERTIES, TS_RPC_FFA_UUID) for manifest in found
        ]
        return Answer(registers_of_answer, b"".join(info.encode() for info in infos))

    def _share(self, connection: Connection, endpoint_id: int, payload: bytes, descriptors: list[int]) -> Answer:
        transaction = Transaction.decode(payload)
        if transaction.sender != endpoint_id or len(transaction.receivers) != 1 or transaction.handle:
            raise RefusedError(FfaError.INVALID_PARAMETERS, "one sender, who is the caller, shares with one receiver")
        target = self._callee(connection, transaction.receivers[0])
        page_count = transaction.page_count
        if len(descriptors) != 1 or not _is_shareable(descriptors[0], page_count * PAGE_BYTES):
            raise RefusedError(FfaError.INVALID_PARAMETERS, "the memory is not a sealed memory file of that many pages")
        if page_count * PAGE_BYTES > target.max_shared_bytes:
            raise RefusedError(FfaError.NO_MEMORY, "the region is larger than the receiver takes")
        handle = self.shares.share(
            source_id=endpoint_id,
            owner=connection,
            receiver_id=target.id,
            page_count=page_count,
            memory=descriptors[0],
            limit=target.memory_slots,
        )
        descriptors.clear()  # kept
        return Answer(_success(handle & _U32, handle >> 32))

    def _retrieve(self, connection: Connection, endpoint_id: int, payload: bytes) -> Answer:
        request = RetrieveRequest.decode(payload)
        if request.receiver != endpoint_id:
            raise RefusedError(FfaError.INVALID_PARAMETERS, "a partition retrieves memory for itself alone")
        share = self.shares.retrieve(
            request.handle, source_id=request.sender, receiver_id=endpoint_id, borrower=connection
        )
        try:
            descriptor = os.dup(share.memory)
        except OSError as error:
            self.shares.relinquish(request.handle, borrower=connection)
            raise RefusedError(FfaError.NO_MEMORY, "the manager has no descriptor left") from error
        response = Transaction.share(
            sender=share.source_id, receiver=share.receiver_id, page_count=share.page_count, handle=share.handle
        ).encode()
        registers = _padded(FunctionId.MEM_RETRIEVE_RESP, len(response), len(response))
        return Answer(registers, response, descriptor)

    def _callee(self, connection: Connection, target_id: int) -> Manifest:
        """The partition, if its manifest lets this connection call it. INVALID_PARAMETERS, DENIED."""
        target = next((manifest for manifest in self.manifests if manifest.id == target_id), None)
        if target is None:
            raise RefusedError(FfaError.INVALID_PARAMETERS, f"there is no partition {target_id:#06x}")
        caller = NORMAL_WORLD if connection.manifest is None else connection.manifest.name
        if caller not in target.callers:
            raise RefusedError(FfaError.DENIED, f"{caller} may not call {target.name}")
        return target

    def _status_page(self, connection: Connection, page: int) -> Answer:
        if page == 0:
            connection.status = self.status()
        text = connection.status
        return Answer(_success(len(text)), text[page * PAGE_BYTES : (page + 1) * PAGE_BYTES])


def _whole(registers: Registers, descriptor: bytes) -> bytes:
    """A memory descriptor that is here in one piece (DEN0077A, clauses 11.1.1 and 16.1): w1 its length, w2 the piece's.

    INVALID_PARAMETERS if they say something else, or w3 and w4 another place than the TX buffer.
    """
    if registers[1:5] != (len(descriptor), len(descriptor), 0, 0):
        raise RefusedError(
            FfaError.INVALID_PARAMETERS, "a memory descriptor comes in one piece, of the length that is said"
        )
    return descriptor


def refusal(code: FfaError) -> Answer:
    """FFA_ERROR with this code."""
    return Answer(_padded(FunctionId.ERROR, 0, code & _U32))


def counter_answer(security_counter: int) -> Answer:
    """FFA_SUCCESS with the device's security counter."""
    return Answer(_success(security_counter))


def channel_answer(descriptor: int) -> Answer:
    """FFA_SUCCESS with one end of a channel."""
    return Answer(_success(), descriptor=descriptor)


def _success(*words: int) -> Registers:
    return _padded(FunctionId.SUCCESS_32, 0, *words)


def _padded(*registers: int) -> Registers:
    return (*registers, *(0,) * (8 - len(registers)))


def _is_shareable(descriptor: int, size_bytes: int) -> bool:
    """Whether this is a memory file of this size that can neither shrink nor grow."""
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        return False
    return seals & _SEALS == _SEALS and size_bytes > 0 and os.fstat(descriptor).st_size == size_bytes
