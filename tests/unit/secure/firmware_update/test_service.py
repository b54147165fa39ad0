from __future__ import annotations

from struct import pack, unpack_from
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.secure.partitions.firmware_update.agent import BootInfo, UpdateAgent
from edgeroot.secure.partitions.firmware_update.layout import FirmwareImage, FlashLayout
from edgeroot.secure.partitions.firmware_update.service import FirmwareUpdateService
from edgeroot.secure.runtime.api import Caller

CALLER = Caller(1, 7)
IMAGE = UUID("00112233-4455-6677-8899-aabbccddeeff")
IMAGE_OCTETS = bytes.fromhex("33221100554477668899aabbccddeeff")
DIRECTORY_OCTETS = bytes.fromhex("d958eede4751d34aa29077666e2341a5")
METADATA_OCTETS = bytes.fromhex("a0847a8a8783f640ab41a8b9a5a60d23")
LAYOUT = FlashLayout(
    location=UUID(int=1),
    images=(FirmwareImage(image_type=IMAGE, areas=(UUID(int=2), UUID(int=3)), max_size_bytes=4096),),
)
DISCOVER, BEGIN, END, CANCEL, OPEN, WRITE, READ, COMMIT, ACCEPT, PREVIOUS = 0, *range(16, 25)


class MemoryFlash:
    """Flash that never fails, unless it is told to."""

    def __init__(self) -> None:
        self.content = bytearray(b"\xff" * LAYOUT.size_bytes)
        self.broken = False

    def read(self, offset: int, size_bytes: int) -> bytes:
        return bytes(self.content[offset : offset + size_bytes])

    def erase(self, offset: int, size_bytes: int) -> None:
        self.write(offset, b"\xff" * size_bytes)

    def write(self, offset: int, data: bytes) -> None:
        if self.broken:
            raise OSError("the flash is gone")
        self.content[offset : offset + len(data)] = data

    def sync(self) -> None:
        pass


class Client:
    """Speaks bytes."""

    def __init__(self) -> None:
        self.flash = MemoryFlash()
        self.boots = 0
        self.reboot()

    def reboot(self) -> None:
        self.boots += 1
        bank = int.from_bytes(self.flash.read(8, 4), "little") if self.boots > 1 else 0
        boot = BootInfo(self.boots.to_bytes(32, "little"), bank)
        self.service = FirmwareUpdateService(UpdateAgent(self.flash, LAYOUT, boot))

    def call(self, function: int, payload: bytes = b"", *, opcode: int = 0, capacity_bytes: int = 4096) -> bytes:
        """The response's payload; the status must be 0."""
        status, response = self.try_call(function, payload, opcode=opcode, capacity_bytes=capacity_bytes)
        assert status == 0
        return response

    def try_call(
        self, function: int, payload: bytes = b"", *, opcode: int = 0, capacity_bytes: int = 4096
    ) -> tuple[int, bytes]:
        request = pack("<I", function) + payload
        reply = self.service.call(CALLER, opcode, request, capacity_bytes=capacity_bytes)
        status: int = reply.status
        assert unpack_from("<i", reply.payload) == (status,)
        return status, reply.payload[4:]


@pytest.fixture
def client() -> Client:
    return Client()


def test_discover_lists_the_functions_and_says_all_its_length(client: Client) -> None:
    response = client.call(DISCOVER)
    assert response == pack("<hBBHHQII", 0, 1, 0, 24, 10, 0, 0, 0) + bytes([0, *range(16, 25)])


def test_an_update_in_bytes(client: Client) -> None:
    assert client.call(BEGIN, pack("<III", 0, 0, 0)) == b""
    handle = client.call(OPEN, IMAGE_OCTETS + b"\x01")
    assert len(handle) == 4
    assert client.call(WRITE, handle + pack("<I", 8) + b"firmware") == b""
    assert client.call(WRITE, handle + pack("<I", 2) + b" 2 and what is behind the length") == b""
    assert client.call(COMMIT, handle + pack("<II", 1, 0)) == pack("<II", 1, 1)
    assert client.call(END) == b""
    client.reboot()
    assert client.flash.content[-4096:].rstrip(b"\xff") == b"firmware 2"
    assert client.try_call(ACCEPT, bytes(4) + DIRECTORY_OCTETS) == (-1, b"")
    assert client.call(ACCEPT, bytes(4) + IMAGE_OCTETS) == b""
    assert client.try_call(PREVIOUS) == (-6, b"")


def test_the_reference_client_opens_for_reading_what_it_writes(client: Client) -> None:
    client.call(BEGIN, pack("<III", 0, 0, 1) + IMAGE_OCTETS)
    handle = client.call(OPEN, IMAGE_OCTETS + b"\x00")
    client.call(WRITE, handle + pack("<I", 1) + b"x")
    client.call(COMMIT, handle + pack("<II", 0, 0))  # 0: accepted already
    client.call(END)
    client.reboot()
    assert client.try_call(ACCEPT, bytes(4) + IMAGE_OCTETS) == (-6, b"")


def test_objects_are_read_in_pieces_of_the_buffer(client: Client) -> None:
    handle = client.call(OPEN, DIRECTORY_OCTETS + b"\x00")
    first = client.call(READ, handle, capacity_bytes=12 + 60)
    assert first[:8] == pack("<II", 60, 64)
    second = client.call(READ, handle, capacity_bytes=12 + 60)
    assert second[:8] == pack("<II", 4, 64)
    directory = first[8:] + second[8:]
    assert directory == pack("<6I", 2, 24, 1, 1, 40, 0) + IMAGE_OCTETS + pack("<6I", 1, 4096, 0, 0, 1, 0)
    handle = client.call(OPEN, METADATA_OCTETS + b"\x00")
    metadata = client.call(READ, handle)[8:]
    assert metadata == client.flash.content[:120]
    assert metadata[4:28] == pack("<IIIIHH4s", 2, 0, 0, 120, 32, 0, b"\xfc\xff\xff\xff")


def test_the_service_opcode_says_nothing(client: Client) -> None:
    assert client.call(DISCOVER, opcode=0x1234) == client.call(DISCOVER)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"", RpcStatus.INVALID_REQUEST_BODY),
        (b"\x10\0\0", RpcStatus.INVALID_REQUEST_BODY),
        (pack("<I", 1), RpcStatus.INVALID_VALUE),
        (pack("<I", 25), RpcStatus.INVALID_VALUE),
        (pack("<I", 0x10000), RpcStatus.INVALID_VALUE),
        (pack("<I", BEGIN) + bytes(8), RpcStatus.INVALID_REQUEST_BODY),
        (pack("<IIII", BEGIN, 0, 0, 1), RpcStatus.INVALID_REQUEST_BODY),
        (pack("<IIII", BEGIN, 0, 0, 1) + bytes(15), RpcStatus.INVALID_REQUEST_BODY),
        (pack("<IIII", BEGIN, 0, 0, 5) + bytes(80), RpcStatus.INVALID_REQUEST_BODY),
        (pack("<III", WRITE, 1, 2) + b"x", RpcStatus.INVALID_REQUEST_BODY),
        (pack("<I", OPEN) + IMAGE_OCTETS, RpcStatus.INVALID_REQUEST_BODY),
    ],
)
def test_what_cannot_be_read_reaches_no_agent(client: Client, request_bytes: bytes, status: RpcStatus) -> None:
    before = bytes(client.flash.content)
    with pytest.raises(RpcError) as caught:
        client.service.call(CALLER, 0, request_bytes, capacity_bytes=4096)
    assert caught.value.status is status
    assert client.flash.content == before


def test_statuses_stand_in_the_response_and_in_the_register(client: Client) -> None:
    assert client.try_call(END) == (-6, b"")
    assert client.try_call(OPEN, bytes(17)) == (-1, b"")
    client.call(BEGIN, bytes(12))
    assert client.try_call(END) == (-8, b"")
    handle = client.call(OPEN, IMAGE_OCTETS + b"\x01")
    assert client.try_call(END) == (-2, b"")
    assert client.try_call(READ, handle) == (-6, b"")
    assert client.try_call(WRITE, handle + pack("<I", 4097) + bytes(4097)) == (-3, b"")
    assert client.call(CANCEL) == b""


def test_after_a_fault_of_the_flash_the_next_call_starts_from_what_is_stored(client: Client) -> None:
    client.flash.broken = True
    with pytest.raises(OSError, match="gone"):
        client.call(BEGIN, bytes(12))
    client.flash.broken = False
    client.call(BEGIN, bytes(12))


@given(st.lists(st.binary(max_size=60), max_size=8), st.data())
def test_any_requests_are_answered_or_refused(tails: list[bytes], data: st.DataObject) -> None:
    client = Client()
    for tail in tails:
        function = data.draw(st.sampled_from([0, *range(16, 25), 99]))
        start = data.draw(st.sampled_from([b"", IMAGE_OCTETS, DIRECTORY_OCTETS, pack("<I", 1), bytes(12)]))
        try:
            reply = client.service.call(CALLER, 0, pack("<I", function) + start + tail, capacity_bytes=64)
        except RpcError:
            continue
        assert 4 <= len(reply.payload) <= 64
