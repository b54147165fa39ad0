"""Trusted Services on Arm hardware: Linux's TSTEE driver (from 6.10), one ``/dev/teeN`` for each endpoint.

The structures are those of ``linux/tee.h``, little-endian as Linux is on Arm. The driver tells no RPC status: a call
that reached no service is EINVAL, whatever the reason.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
from struct import Struct
from typing import Final, NamedTuple
from uuid import UUID

from edgeroot.tee.api import (
    DEFAULT_BUFFER_BYTES,
    NoSuchServiceError,
    Session,
    TeeBusyError,
    TeeError,
    TeeRefusedError,
    Transport,
)

DEVICES: Final = "/dev/tee{}"
_DEVICE_COUNT: Final = 16
_PAGE_BYTES: Final = 4096

TEE_IOC_VERSION: Final = 0x800CA400
TEE_IOC_SHM_ALLOC: Final = 0xC010A401
TEE_IOC_OPEN_SESSION: Final = 0x8010A402
TEE_IOC_INVOKE: Final = 0x8010A403
TEE_IOC_CLOSE_SESSION: Final = 0x8004A405
IMPL_ID_TSTEE: Final = 3
VALUE_INOUT: Final = 3
"""``TEE_IOCTL_PARAM_ATTR_TYPE_VALUE_INOUT``."""

_VERSION: Final = Struct("<III")
_SHM_ALLOC: Final = Struct("<QIi")
_BUFFER: Final = Struct("<QQ")
_OPEN_SESSION: Final = Struct("<16s16x8xIII4x")
_SESSION_AT: Final = 40
_INVOKE: Final = Struct("<IIIIIIQQQQ")
_CLOSE_SESSION: Final = Struct("<I")


class Version(NamedTuple):
    """``tee_ioctl_version_data``; for TSTEE ``impl_caps`` is the FF-A id of the endpoint."""

    impl_id: int
    impl_caps: int
    gen_caps: int


class InvokeResult(NamedTuple):
    """What the driver has written into the arguments of a call; the status is signed."""

    service_status: int
    response_bytes: int


def decode_version(data: bytes) -> Version:
    return Version._make(_VERSION.unpack(data))


def shm_alloc_argument(size_bytes: int) -> bytes:
    """``tee_ioctl_shm_alloc_data``."""
    return _SHM_ALLOC.pack(size_bytes, 0, 0)


def decode_shm_alloc(data: bytes) -> tuple[int, int]:
    """The size, which is whole pages, and the id; 0 would be none."""
    size_bytes, _flags, shm_id = _SHM_ALLOC.unpack(data)
    return size_bytes, shm_id


def open_session_argument(service: UUID) -> bytes:
    """``tee_ioctl_open_session_arg`` without parameters. The UUID is in the octet order of RFC 9562."""
    return _OPEN_SESSION.pack(service.bytes, 0, 0, 0)


def decode_open_session(data: bytes) -> int:
    """The session id, of which the first is 0."""
    session: int = _OPEN_SESSION.unpack(data)[1]
    return session


def invoke_argument(opcode: int, session: int, shm_id: int, request_bytes: int) -> bytes:
    """``tee_ioctl_invoke_arg`` with its one parameter."""
    return _INVOKE.pack(opcode, session, 0, 0, 0, 1, VALUE_INOUT, shm_id, request_bytes, 0)


def decode_invoke(data: bytes) -> InvokeResult:
    _, _, _, status, _, _, _, response_bytes, _, _ = _INVOKE.unpack(data)
    return InvokeResult(status - (1 << 32) if status >> 31 else status, response_bytes)


def close_session_argument(session: int) -> bytes:
    """``tee_ioctl_close_session_arg``."""
    return _CLOSE_SESSION.pack(session)


class _Device:
    """One open ``/dev/teeN``. Sessions and shared memory are good for this one opening."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._descriptor)

    def is_tstee(self) -> bool:
        """False for a device of another kind, such as OP-TEE's own."""
        data = bytearray(_VERSION.size)
        fcntl.ioctl(self._descriptor, TEE_IOC_VERSION, data)
        return decode_version(bytes(data)).impl_id == IMPL_ID_TSTEE

    def open_session(self, service: UUID) -> int:
        """OSError ENODEV if the endpoint does not offer the service."""
        return decode_open_session(self._with_buffer(TEE_IOC_OPEN_SESSION, open_session_argument(service)))

    def invoke(self, argument: bytes) -> InvokeResult:
        return decode_invoke(self._with_buffer(TEE_IOC_INVOKE, argument))

    def close_session(self, session: int) -> None:
        fcntl.ioctl(self._descriptor, TEE_IOC_CLOSE_SESSION, close_session_argument(session))

    def share(self, size_bytes: int) -> tuple[mmap.mmap, int]:
        """New memory that the endpoint has retrieved, and its id."""
        data = bytearray(shm_alloc_argument(size_bytes))
        descriptor = fcntl.ioctl(self._descriptor, TEE_IOC_SHM_ALLOC, data)
        try:
            allocated_bytes, shm_id = decode_shm_alloc(bytes(data))
            return mmap.mmap(descriptor, allocated_bytes), shm_id
        finally:
            os.close(descriptor)  # the mapping keeps the memory

    def _with_buffer(self, request: int, argument: bytes) -> bytes:
        """An ioctl whose argument points to the structure, which the driver changes in place."""
        place = ctypes.create_string_buffer(argument, len(argument))
        fcntl.ioctl(self._descriptor, request, _BUFFER.pack(ctypes.addressof(place), len(argument)))
        return place.raw


def _error_of(error: OSError, what: str) -> TeeError:
    if error.errno == errno.EBUSY:
        return TeeBusyError("the partition takes no more calls just now")
    message = f"{what}: {error.strerror or error}"
    return TeeRefusedError(message) if error.errno == errno.EINVAL else TeeError(message)


class TsteeSession(Session):
    """Calls to one service over a device and a buffer of its own."""

    def __init__(self, device: _Device, session: int, buffer_bytes: int) -> None:
        self._device = device
        self._session = session
        try:
            self._map, self._shm_id = device.share(-(-buffer_bytes // _PAGE_BYTES) * _PAGE_BYTES)
        except OSError as error:
            # EINVAL is what a partition without a free slot for memory gives as well.
            raise _error_of(error, f"{device.path} shares no memory") from error
        self.capacity_bytes = len(self._map)

    def call(self, opcode: int, request: bytes) -> tuple[int, bytes]:
        if len(request) > self.capacity_bytes:
            raise ValueError(f"a request of {len(request)} bytes is longer than the buffer of {self.capacity_bytes}")
        self._map[: len(request)] = request
        try:
            result = self._device.invoke(invoke_argument(opcode, self._session, self._shm_id, len(request)))
        except OSError as error:
            raise _error_of(error, "the partition did not take the call") from error
        if result.response_bytes > self.capacity_bytes:
            raise TeeError(f"{self._device.path} says a response of {result.response_bytes} bytes")
        return result.service_status, self._map[: result.response_bytes]

    def close(self) -> None:
        self._map.close()
        try:
            self._device.close_session(self._session)
        except OSError:
            pass  # the driver drops the session with the device anyway
        self._device.close()


class TsteeTransport(Transport):
    """Sessions with the partitions of this machine.

    ``devices`` is the path of the devices with ``{}`` for the number, which is tried from 0 to 15.
    """

    def __init__(self, devices: str = DEVICES) -> None:
        self._devices = devices

    def open_session(self, service: UUID, *, buffer_bytes: int = DEFAULT_BUFFER_BYTES) -> TsteeSession:
        refused = []
        for number in range(_DEVICE_COUNT):
            path = self._devices.format(number)
            try:
                device = _Device(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                refused.append(f"{path}: {error.strerror}")
                continue
            try:
                session = _session_on(device, service)
                if session is not None:
                    return TsteeSession(device, session, buffer_bytes)
            except BaseException:
                device.close()
                raise
            device.close()
        because = f" ({'; '.join(refused)})" if refused else ""
        raise NoSuchServiceError(f"no partition behind {self._devices.format('N')} offers {service}{because}")

    def close(self) -> None:
        """Nothing is held between sessions."""


def _session_on(device: _Device, service: UUID) -> int | None:
    """A session, or None if this is not TSTEE's device or the endpoint does not have the service."""
    try:
        return device.open_session(service) if device.is_tstee() else None
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise _error_of(error, f"{device.path} opens no session") from error
