from __future__ import annotations

import struct
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.abi.ffa import (
    VERSION_1_0,
    VERSION_1_1,
    FfaError,
    FunctionId,
    Message,
    PartitionInfo,
    PartitionProperties,
    direct_request,
    direct_response,
    error,
    signed,
    success,
    uuid_from_words,
    uuid_words,
)
from edgeroot.abi.services import TS_RPC_FFA_UUID
from tests.unit.abi.layouts import U16, U32

CRYPTO = UUID("d9df52d5-16a2-4bb2-9aa4-d26d3b84e8c0")
INFOS = st.builds(PartitionInfo, U16, U16, U32, st.uuids())


def test_a_direct_request_is_eight_little_endian_registers() -> None:
    message = direct_request(0x1002, 0x8001, (0x00FF0000, 1, 2, 3, 4))
    assert message.encode() == bytes.fromhex("6f000084 01800210 00000000 0000ff00 01000000 02000000 03000000 04000000")
    assert (message.sender, message.receiver) == (0x1002, 0x8001)


def test_a_direct_response_goes_the_other_way() -> None:
    message = direct_response(0x8001, 0, (5, 0, 0, 0, 0))
    assert message == (0x84000070, 0x80010000, 0, 5, 0, 0, 0, 0)


def test_an_error_has_its_code_in_w2_and_success_its_words() -> None:
    assert error(FfaError.BUSY) == (0x84000060, 0, 0xFFFFFFFC, 0, 0, 0, 0, 0)
    assert signed(error(FfaError.BUSY).w2) == FfaError.BUSY
    assert success(7, 8) == (0x84000061, 0, 7, 8, 0, 0, 0, 0)


def test_numbers_are_those_of_the_specification() -> None:
    assert FunctionId(0xC400006F) is FunctionId.MSG_SEND_DIRECT_REQ_64
    assert FunctionId(0x84000075) is FunctionId.MEM_RETRIEVE_RESP
    assert FunctionId(0xC400008B) is FunctionId.PARTITION_INFO_GET_REGS
    for function in FunctionId:
        if function.name.endswith("_64"):
            assert function == FunctionId[function.name.replace("_64", "_32")] | 1 << 30
    assert [int(code) for code in FfaError] == list(range(-1, -10, -1))
    assert (VERSION_1_0, VERSION_1_1) == (0x10000, 0x10001)


@given(st.lists(U32, min_size=8, max_size=8).map(Message._make))
def test_messages_round_trip(message: Message) -> None:
    assert Message.decode(message.encode()) == message


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_message_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Message.decode(bytes(length))


def test_a_register_has_32_bits() -> None:
    with pytest.raises(struct.error):
        Message(1 << 32).encode()


def test_a_uuid_is_four_little_endian_words_of_its_octets() -> None:
    assert uuid_words(CRYPTO) == (0xD552DFD9, 0xB24BA216, 0x6DD2A49A, 0xC0E8843B)
    assert uuid_from_words(uuid_words(CRYPTO)) == CRYPTO


def test_a_partition_is_described_in_24_bytes_and_in_8_before() -> None:
    properties = PartitionProperties.AARCH64 | 3
    info = PartitionInfo(0x8001, 2, properties, TS_RPC_FFA_UUID)
    old = bytes.fromhex("0180 0200 03010000")
    assert info.encode(VERSION_1_0) == old
    assert info.encode() == old + bytes.fromhex("bdcd76d7825e4751963b86d4f84943ac")
    assert PartitionInfo.decode_all(old, VERSION_1_0) == [PartitionInfo(0x8001, 2, 0x103)]


@given(st.lists(INFOS))
def test_partitions_round_trip(infos: list[PartitionInfo]) -> None:
    assert PartitionInfo.decode_all(b"".join(info.encode() for info in infos)) == infos


def test_part_of_a_descriptor_is_refused() -> None:
    with pytest.raises(ValueError, match="descriptors of 24"):
        PartitionInfo.decode_all(bytes(32))
