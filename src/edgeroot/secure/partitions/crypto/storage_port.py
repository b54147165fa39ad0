"""Key records in the storage partition, over TS RPC to internal trusted storage.

A record that fits into one message is written by one SET, which is atomic. A longer one is written in pieces with its
magic zero, and the magic last of all: until then there is no key (see :mod:`record`).

Calls are repeated once when nobody knows whether the first reached the service: a session connects anew after the
storage partition was restarted, and the partition's lock sees to it that nobody else changed the record in between.
"""

from __future__ import annotations

from typing import Final, Protocol

from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.abi.storage import (
    OPERATIONS,
    SET_EXTENDED_HEADER_BYTES,
    SET_HEADER_BYTES,
    CreateFlags,
    CreateRequest,
    GetRequest,
    SetExtendedRequest,
    SetRequest,
    StorageOpcode,
    UidRequest,
)
from edgeroot.psa import PsaError, PsaStatus, Secret
from edgeroot.secure.partitions.crypto.record import MAGIC, UNFINISHED


class Session(Protocol):
    """Calls to one service of another partition."""

    @property
    def capacity_bytes(self) -> int:
        """How long a request and a response may be."""

    def call(self, opcode: int, request: bytes) -> tuple[int, bytes]:
        """The service's status and the response. RpcError; with TRANSPORT_LAYER nobody knows what has happened."""


class RpcKeyStorage:
    """:class:`edgeroot.secure.partitions.crypto.ports.KeyStorage` over a session with internal trusted storage."""

    def __init__(self, session: Session) -> None:
        self._session: Final = session

    def set(self, uid: int, data: bytes) -> None:
        if len(data) + SET_HEADER_BYTES <= self._session.capacity_bytes:
            self._call(StorageOpcode.SET, SetRequest(uid, CreateFlags.NONE, data))
            return
        self.remove(uid)  # what an earlier attempt may have left
        self._call(StorageOpcode.CREATE, CreateRequest(uid, len(data), CreateFlags.NONE))
        unfinished = UNFINISHED + data[len(MAGIC) :]
        piece_bytes = self._session.capacity_bytes - SET_EXTENDED_HEADER_BYTES
        for offset in range(0, len(data), piece_bytes):
            piece = unfinished[offset : offset + piece_bytes]
            self._call(StorageOpcode.SET_EXTENDED, SetExtendedRequest(uid, offset, piece))
        self._call(StorageOpcode.SET_EXTENDED, SetExtendedRequest(uid, 0, data[: len(MAGIC)]))

    def get(self, uid: int) -> Secret | None:
        piece_bytes = self._session.capacity_bytes
        data = b""
        while True:
            piece = self._read(uid, len(data), piece_bytes)
            if piece is None:
                return None
            data += piece
            if len(piece) < piece_bytes:
                return Secret(data) if _is_finished(data) else None

    def remove(self, uid: int) -> bool:
        request = OPERATIONS[StorageOpcode.REMOVE].request.encode(UidRequest(uid))
        try:
            status, _ = self._session.call(StorageOpcode.REMOVE, request)
        except RpcError as error:
            # Perhaps it is gone already, which the repeated call would say of a record that there never was as well.
            _check_repeatable(error)
            self._repeat(StorageOpcode.REMOVE, request)
            return True
        return _is_there(status)

    def exists(self, uid: int) -> bool:
        try:
            magic = self._read(uid, 0, len(MAGIC))
        except PsaError as error:
            if error.status is PsaStatus.DATA_CORRUPT:
                return True  # a key that was altered in storage is not free
            raise
        return magic is not None and _is_finished(magic)

    def _read(self, uid: int, offset: int, size_bytes: int) -> bytes | None:
        request = OPERATIONS[StorageOpcode.GET].request.encode(GetRequest(uid, offset, size_bytes))
        status, response = self._twice(StorageOpcode.GET, request)
        return response if _is_there(status) else None

    def _call(self, opcode: StorageOpcode, message: object) -> None:
        status, _ = self._twice(opcode, OPERATIONS[opcode].request.encode(message))
        if status:
            raise _failed(status)

    def _twice(self, opcode: StorageOpcode, request: bytes) -> tuple[int, bytes]:
        try:
            return self._session.call(opcode, request)
        except RpcError as error:
            _check_repeatable(error)
        return self._repeat(opcode, request)

    def _repeat(self, opcode: StorageOpcode, request: bytes) -> tuple[int, bytes]:
        try:
            return self._session.call(opcode, request)
        except RpcError as error:
            raise _unreachable() from error


def _check_repeatable(error: RpcError) -> None:
    if error.status is not RpcStatus.TRANSPORT_LAYER:
        raise _unreachable() from error


def _unreachable() -> PsaError:
    return PsaError(PsaStatus.COMMUNICATION_FAILURE, "the storage partition does not answer")


def _is_finished(data: bytes) -> bool:
    return len(data) >= len(MAGIC) and not data.startswith(UNFINISHED)


def _is_there(status: int) -> bool:
    if status not in (PsaStatus.SUCCESS, PsaStatus.DOES_NOT_EXIST):
        raise _failed(status)
    return status == PsaStatus.SUCCESS


def _failed(status: int) -> PsaError:
    try:
        return PsaError(PsaStatus(status), "the storage partition refused")
    except ValueError:
        return PsaError(PsaStatus.STORAGE_FAILURE, f"the storage partition answered {status}")
