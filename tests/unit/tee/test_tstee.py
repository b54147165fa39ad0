from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from struct import pack_into, unpack, unpack_from
from uuid import UUID

import pytest

from edgeroot.tee.api import NoSuchServiceError, TeeBusyError, TeeError, TeeRefusedError
from edgeroot.tee.transports import tstee
from edgeroot.tee.transports.tstee import TsteeTransport

CRYPTO = UUID("d9df52d5-16a2-4bb2-9aa4-d26d3b84e8c0")
STORAGE = UUID("dc1eef48-b17a-4ccf-ac8b-dfcff7711b14")
ENDPOINTS = {"tee1": STORAGE, "tee2": CRYPTO}
# From linux/tee.h by the C preprocessor: _IOR(0xa4, 0, 12), _IOWR(0xa4, 1, 16), _IOR(0xa4, 2, 16) and so on.
VERSION, SHM_ALLOC, OPEN, INVOKE, CLOSE = 0x800CA400, 0xC010A401, 0x8010A402, 0x8010A403, 0x8004A405


def test_arguments_are_packed() -> None:
    assert tstee.shm_alloc_argument(8192).hex() == "0020000000000000" + "00000000" + "00000000"
    assert tstee.open_session_argument(CRYPTO).hex() == "d9df52d516a24bb29aa4d26d3b84e8c0" + "00" * 40
    assert len(tstee.open_session_argument(CRYPTO)) == 56
    assert tstee.invoke_argument(0x1234, 5, 6, 7).hex() == (
        "34120000" + "05000000" + "00000000" * 3 + "01000000"
        "0300000000000000" + "0600000000000000" + "0700000000000000" + "0000000000000000"
    )
    assert tstee.close_session_argument(0).hex() == "00000000"


def test_answers_are_unpacked() -> None:
    assert tstee.decode_version(bytes.fromhex("03000000" + "02800000" + "00000000")) == (3, 0x8002, 0)
    assert tstee.decode_shm_alloc(bytes.fromhex("0020000000000000" + "00000000" + "09000000")) == (8192, 9)
    assert tstee.decode_open_session(bytes(40) + bytes.fromhex("07000000") + bytes(12)) == 7
    answer = bytes(12) + bytes.fromhex("77ffffff") + bytes(16) + bytes.fromhex("2a00000000000000") + bytes(16)
    assert tstee.decode_invoke(answer) == (-137, 42)


@dataclass
class FakeDriver:
    """Does what drivers/tee/tstee does, on files that stand for the devices."""

    calls: list[tuple[int, bytes]] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    errors: dict[int, int] = field(default_factory=dict)
    status: int = 0
    response: bytes = b""
    memory: int = -1

    def ioctl(self, descriptor: int, request: int, argument: bytearray | bytes) -> int:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if request in self.errors:
            raise OSError(self.errors[request], os.strerror(self.errors[request]))
        if request == VERSION:
            assert isinstance(argument, bytearray)
            pack_into("<III", argument, 0, 1 if name == "tee0" else 3, 0x8000 + int(name[3:]), 0)
        elif request == SHM_ALLOC:
            assert isinstance(argument, bytearray)
            (size_bytes,) = unpack_from("<Q", argument)
            assert size_bytes % 4096 == 0
            self.memory = os.memfd_create("shm")
            os.ftruncate(self.memory, size_bytes)
            pack_into("<i", argument, 12, 3)
            return os.dup(self.memory)
        elif request == CLOSE:
            self.calls.append((request, bytes(argument)))
        else:
            self._structure(name, request, bytes(argument))
        return 0

    def _structure(self, name: str, request: int, argument: bytes) -> None:
        address, length = unpack("<QQ", argument)
        place = (ctypes.c_char * length).from_address(address)
        self.calls.append((request, place.raw))
        if request == OPEN:
            if ENDPOINTS.get(name) != UUID(bytes=place.raw[:16]):
                raise OSError(errno.ENODEV, "no such device")
            pack_into("<I", place, 40, 0)
            return
        assert request == INVOKE
        (request_bytes,) = unpack_from("<Q", place, 40)
        self.requests.append(os.pread(self.memory, request_bytes, 0))
        os.pwrite(self.memory, self.response, 0)
        pack_into("<i", place, 12, self.status)
        pack_into("<Q", place, 32, len(self.response))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDriver]:
    driver = FakeDriver()
    monkeypatch.setattr("fcntl.ioctl", driver.ioctl)
    yield driver
    if driver.memory >= 0:
        os.close(driver.memory)


@pytest.fixture
def transport(tmp_path: Path, driver: FakeDriver) -> TsteeTransport:
    for name in ("tee0", *ENDPOINTS):
        (tmp_path / name).touch()
    return TsteeTransport(f"{tmp_path}/tee{{}}")


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_call_goes_through_shared_memory(transport: TsteeTransport, driver: FakeDriver) -> None:
    before = open_descriptors()
    with transport.open_session(CRYPTO, buffer_bytes=5000) as session:
        assert session.capacity_bytes == 8192
        driver.status, driver.response = -137, b"the answer"
        assert session.call(0x101, b"the request") == (-137, b"the answer")
        driver.status, driver.response = 0, b""
        assert session.call(0x102, b"") == (0, b"")
    assert driver.requests == [b"the request", b""]
    # tee0 is OP-TEE's own device and is not asked; tee1 is, and has another service; session 0 is one like others.
    assert [request for request, _ in driver.calls] == [OPEN, OPEN, INVOKE, INVOKE, CLOSE]
    assert driver.calls[2][1] == tstee.invoke_argument(0x101, 0, 3, 11)
    assert driver.calls[4][1] == bytes(4)
    os.close(driver.memory)
    driver.memory = -1
    assert open_descriptors() == before


def test_a_request_that_does_not_fit_is_not_sent(transport: TsteeTransport, driver: FakeDriver) -> None:
    with transport.open_session(STORAGE, buffer_bytes=1) as session:
        with pytest.raises(ValueError, match="4097 bytes"):
            session.call(1, bytes(4097))
        session.call(1, bytes(4096))
    assert driver.requests == [bytes(4096)]


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EBUSY, TeeBusyError), (errno.EINVAL, TeeRefusedError), (errno.ECANCELED, TeeError)],
)
def test_errors_of_a_call(transport: TsteeTransport, driver: FakeDriver, number: int, kind: type[TeeError]) -> None:
    with transport.open_session(CRYPTO) as session:
        driver.errors[INVOKE] = number
        with pytest.raises(TeeError) as caught:
            session.call(1, b"")
        assert type(caught.value) is kind
        del driver.errors[INVOKE]
        assert session.call(1, b"") == (0, b"")


@pytest.mark.parametrize("request_number", [VERSION, OPEN, SHM_ALLOC])
@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EBUSY, TeeBusyError), (errno.EINVAL, TeeRefusedError), (errno.ENOMEM, TeeError)],
)
def test_a_session_that_does_not_open_leaves_nothing_open(
    transport: TsteeTransport, driver: FakeDriver, request_number: int, number: int, kind: type[TeeError]
) -> None:
    before = open_descriptors()
    driver.errors[request_number] = number
    with pytest.raises(TeeError) as caught:
        transport.open_session(CRYPTO)
    assert type(caught.value) is kind
    assert open_descriptors() == before


def test_a_service_that_nobody_offers(transport: TsteeTransport, tmp_path: Path, driver: FakeDriver) -> None:
    before = open_descriptors()
    (tmp_path / "tee7").symlink_to("tee7")  # a device that cannot be opened is named
    with pytest.raises(NoSuchServiceError, match=rf"{UUID(int=5)} \({tmp_path}/tee7: Too many levels"):
        transport.open_session(UUID(int=5))
    assert open_descriptors() == before


def test_without_devices(tmp_path: Path) -> None:
    with TsteeTransport(f"{tmp_path}/tee{{}}") as transport, pytest.raises(NoSuchServiceError, match="teeN offers"):
        transport.open_session(CRYPTO)


def test_a_session_closes_also_when_the_partition_is_gone(transport: TsteeTransport, driver: FakeDriver) -> None:
    session = transport.open_session(CRYPTO)
    driver.errors[CLOSE] = errno.EINVAL
    session.close()
