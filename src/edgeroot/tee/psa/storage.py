"""Internal trusted storage and protected storage (PSA Secure Storage API 1.0)."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from edgeroot.abi import storage as s
from edgeroot.abi.services import INTERNAL_TRUSTED_STORAGE, PROTECTED_STORAGE
from edgeroot.psa import PsaError, PsaStatus, Secret
from edgeroot.tee.psa.calls import Calls, Message


class StorageInfo(NamedTuple):
    """``psa_storage_info_t``: sizes in bytes."""

    capacity: int
    size: int
    flags: int


class Storage:
    """Objects belong to the caller; ``uid`` is not 0. ``create_flags`` are ``psa_storage_create_flags_t``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def psa_its_set(self, uid: int, data: bytes, create_flags: int = 0) -> None:
        """Make the object or replace it, in one step; INSUFFICIENT_STORAGE for more than one call can carry."""
        self._set(INTERNAL_TRUSTED_STORAGE, uid, data, create_flags)

    def psa_its_get(self, uid: int, data_offset: int, data_size: int) -> Secret:
        """At most so many bytes from there; INVALID_ARGUMENT for an offset behind the end."""
        return self._get(INTERNAL_TRUSTED_STORAGE, uid, data_offset, data_size)

    def psa_its_get_info(self, uid: int) -> StorageInfo:
        return self._get_info(INTERNAL_TRUSTED_STORAGE, uid)

    def psa_its_remove(self, uid: int) -> None:
        """NOT_PERMITTED for a write-once object."""
        self._change(INTERNAL_TRUSTED_STORAGE, s.StorageOpcode.REMOVE, s.UidRequest(uid))

    def psa_ps_set(self, uid: int, data: bytes, create_flags: int = 0) -> None:
        """Make the object or replace it, in one step; INSUFFICIENT_STORAGE for more than one call can carry."""
        self._set(PROTECTED_STORAGE, uid, data, create_flags)

    def psa_ps_get(self, uid: int, data_offset: int, data_size: int) -> Secret:
        """At most so many bytes from there; INVALID_ARGUMENT for an offset behind the end."""
        return self._get(PROTECTED_STORAGE, uid, data_offset, data_size)

    def psa_ps_get_info(self, uid: int) -> StorageInfo:
        return self._get_info(PROTECTED_STORAGE, uid)

    def psa_ps_remove(self, uid: int) -> None:
        """NOT_PERMITTED for a write-once object."""
        self._change(PROTECTED_STORAGE, s.StorageOpcode.REMOVE, s.UidRequest(uid))

    def psa_ps_create(self, uid: int, capacity: int, create_flags: int = 0) -> None:
        """Reserve room for an object that is written by :meth:`psa_ps_set_extended`."""
        self._change(PROTECTED_STORAGE, s.StorageOpcode.CREATE, s.CreateRequest(uid, capacity, create_flags))

    def psa_ps_set_extended(self, uid: int, data_offset: int, data: bytes) -> None:
        """Write a part, without leaving a gap; what does not fit into one call is written part after part."""
        step = self._calls.room_bytes(PROTECTED_STORAGE)
        if len(data) > step and data_offset + len(data) > self.psa_ps_get_info(uid).capacity:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "the data does not fit into the object")  # none of its parts
        for start in range(0, len(data) or 1, step):
            part = s.SetExtendedRequest(uid, data_offset + start, data[start : start + step])
            self._change(PROTECTED_STORAGE, s.StorageOpcode.SET_EXTENDED, part)

    def psa_ps_get_support(self) -> int:
        """1 if :meth:`psa_ps_create` and :meth:`psa_ps_set_extended` are there."""
        request = s.GetSupportRequest()
        return self._ask(PROTECTED_STORAGE, s.StorageOpcode.GET_SUPPORT, request, s.SupportResponse).support

    def _set(self, service: UUID, uid: int, data: bytes, create_flags: int) -> None:
        if len(data) > self._calls.room_bytes(service):
            raise PsaError(PsaStatus.INSUFFICIENT_STORAGE, "the object is longer than a call can carry")
        self._change(service, s.StorageOpcode.SET, s.SetRequest(uid, create_flags, data))

    def _get(self, service: UUID, uid: int, data_offset: int, data_size: int) -> Secret:
        step = self._calls.room_bytes(service)
        parts: list[bytes] = []
        while True:
            wanted = min(step, data_size)
            request = s.GetRequest(uid, data_offset, wanted)
            part = self._ask(service, s.StorageOpcode.GET, request, s.GetResponse).data
            parts.append(part)
            data_offset, data_size = data_offset + len(part), data_size - len(part)
            if len(part) < wanted or not data_size:
                return Secret(b"".join(parts))

    def _get_info(self, service: UUID, uid: int) -> StorageInfo:
        info = self._ask(service, s.StorageOpcode.GET_INFO, s.UidRequest(uid), s.InfoResponse)
        return StorageInfo(info.capacity_bytes, info.size_bytes, info.create_flags)

    def _ask(self, service: UUID, opcode: s.StorageOpcode, request: object, expected: type[Message]) -> Message:
        return self._calls.call(service, s.OPERATIONS, opcode, request, expected)

    def _change(self, service: UUID, opcode: s.StorageOpcode, request: object) -> None:
        self._ask(service, opcode, request, s.EmptyResponse)
