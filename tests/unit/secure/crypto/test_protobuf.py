"""The protobuf interface: the same keys, fewer operations."""

from __future__ import annotations

import pytest

from edgeroot.abi.rpc_status import RpcStatus
from edgeroot.psa import PsaStatus
from tests.support.crypto_partition import CAPACITY_BYTES, Context, World, call, rpc_status, tlv, u32

GENERATE, DESTROY, EXPORT, EXPORT_PUBLIC, IMPORT, SIGN, VERIFY = 0x0101, 0x0102, 0x0105, 0x0106, 0x0107, 0x0108, 0x0109
DECRYPT, ENCRYPT, RANDOM, SIGN_MESSAGE, VERIFY_MESSAGE = 0x010A, 0x010B, 0x010C, 0x0110, 0x0111
# GenerateKeyIn of a persistent P-256 key 0x90 and GenerateKeyOut, as observed from the reference.
GENERATE_IN = bytes.fromhex("0a1608 92e201 10 8002 1801 20 9001 2a08 08 8060 10 898c8030")
GENERATE_OUT = bytes.fromhex("08 9001")
KEY_ID = bytes.fromhex("08 9001")
ALG = bytes.fromhex("10 898c8030")
HASH = bytes(range(32))


@pytest.fixture
def context() -> Context:
    return World().context()


def field(number: int, value: bytes) -> bytes:
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value


def test_the_exchange_of_the_reference(context: Context) -> None:
    assert call(context.protobuf, GENERATE, GENERATE_IN) == (0, GENERATE_OUT)
    assert call(context.protobuf, GENERATE, GENERATE_IN) == (PsaStatus.ALREADY_EXISTS, b"")


def test_both_interfaces_have_the_same_keys(context: Context) -> None:
    call(context.protobuf, GENERATE, GENERATE_IN)
    point = context.ok(EXPORT_PUBLIC, u32(0x90))[4:]
    assert call(context.protobuf, EXPORT_PUBLIC, KEY_ID) == (0, field(1, point))
    status, signature = call(context.protobuf, SIGN, KEY_ID + ALG + field(3, HASH))
    assert status == 0
    verify = u32(0x90, 0x06000609) + tlv(1, HASH) + tlv(2, signature[2:])
    assert context.ok(VERIFY, verify) == b""
    assert call(context.protobuf, VERIFY, KEY_ID + ALG + field(3, HASH) + field(4, signature[2:])) == (0, b"")
    status, signature = call(context.protobuf, SIGN_MESSAGE, KEY_ID + ALG + field(3, b"message"))
    message = KEY_ID + ALG + field(3, b"message") + field(4, signature[2:])
    assert call(context.protobuf, VERIFY_MESSAGE, message) == (0, b"")
    assert call(context.protobuf, DESTROY, KEY_ID) == (0, b"")
    assert context.call(0x010F, u32(0x90))[0] == PsaStatus.INVALID_HANDLE


def test_import_and_export(context: Context) -> None:
    # RAW_DATA with the usage EXPORT; the data is field 3.
    raw = field(1, bytes.fromhex("08 8120") + field(5, bytes.fromhex("0801")))
    status, response = call(context.protobuf, IMPORT, raw + field(3, b"secret"))
    assert (status, response) == (0, bytes.fromhex("08 e0ffffff07"))
    assert call(context.protobuf, EXPORT, response) == (0, field(1, b"secret"))


def test_slow_work(context: Context) -> None:
    # An RSA key pair of 1024 bits for OAEP with SHA-256, usage ENCRYPT | DECRYPT.
    policy = field(5, bytes.fromhex("08 8006 10 8986 8038"))
    asked = field(1, bytes.fromhex("08 81e001 10 8008") + policy)
    status, key_id = call(context.protobuf, GENERATE, asked)
    assert status == 0
    alg = bytes.fromhex("10 8986 8038")
    status, ciphertext = call(context.protobuf, ENCRYPT, key_id + alg + field(3, b"secret"))
    assert status == 0
    assert ciphertext[:3] == bytes.fromhex("0a 8001")
    assert call(context.protobuf, DECRYPT, key_id + alg + b"\x1a\x80\x01" + ciphertext[3:]) == (0, field(1, b"secret"))


def test_random_numbers_are_bounded_by_the_buffer(context: Context) -> None:
    status, response = call(context.protobuf, RANDOM, bytes.fromhex("08 10"))
    assert (status, response[:2], len(response)) == (0, b"\x0a\x10", 18)
    for size in ("08 fd3f", "08 ffffffffffffffffff01"):  # 8189 and 2^64 - 1
        assert rpc_status(context.protobuf, RANDOM, bytes.fromhex(size)) is RpcStatus.INTERNAL
    assert call(context.protobuf, RANDOM, bytes.fromhex("08 fc3f"))[0] == 0
    assert CAPACITY_BYTES == 8192


@pytest.mark.parametrize("opcode", [0x010D, 0x010E, 0x010F])
def test_operations_without_an_encoding(context: Context, opcode: int) -> None:
    assert rpc_status(context.protobuf, opcode, KEY_ID) is RpcStatus.INVALID_REQUEST_BODY


@pytest.mark.parametrize("opcode", [0, 0x0100, 0x0103, 0x0104, 0x0112, 0x0113, 0x0201, 0x0301, 0x0401, 0x0501, 0x0601])
def test_operations_of_packed_c_alone(context: Context, opcode: int) -> None:
    assert rpc_status(context.protobuf, opcode) is RpcStatus.INVALID_VALUE


def test_a_malformed_request(context: Context) -> None:
    assert rpc_status(context.protobuf, GENERATE, b"\xff") is RpcStatus.INVALID_REQUEST_BODY
