"""What upstream answers to every kind of good and bad input, to the byte: first as its documents and sources say, then,
where upstream is at hand, as it answers itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags
from edgeroot.wire import operations as ops
from edgeroot.wire.codec import encode_operation
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.status import ResponseStatus as Status
from peers import PeersRoot, UpstreamService
from tests.interop.raw_socket import OWN_UID, PING, exchange, header, message
from tests.support.service import Service, running_service

LIMIT = 1 << 20
OTHER_UID = struct.pack("<I", 12345)
PONG = b"\x08\x01"
SESSION = 0x1122334455667788
P256 = KeyAttributes(KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, UsageFlags.SIGN_HASH, Algorithm.ecdsa(Hash.SHA_256))
GENERATE = encode_operation(ops.PsaGenerateKey("row", P256))
SIGN = encode_operation(ops.PsaSignHash("no such key", Algorithm.ecdsa(Hash.SHA_256), bytes(32)))


def early(status: Status) -> bytes:
    """The answer to what was not understood: it looks like a Ping's and echoes nothing."""
    return header(status=status)


def late(status: Status, opcode: int = 1, *, provider: int = 0, session: int = 0, body: bytes = b"") -> bytes:
    """The answer to what was understood: provider, session and opcode are echoes."""
    return header(provider=provider, session=session, opcode=opcode, status=status, body_len=len(body)) + body


class Row(NamedTuple):
    name: str
    data: bytes
    answer: bytes
    shutdown: bool = False


def unix(opcode: int, body: bytes = b"", *, provider: int = 0, auth: bytes = OWN_UID, **fields: int) -> bytes:
    return message(body, auth, opcode=opcode, provider=provider, auth_type=3, **fields)


FRAMING = [
    Row("ping", PING, late(Status.SUCCESS, body=PONG)),
    Row("body of 2 GiB", header(body_len=1 << 31), early(Status.BODY_SIZE_EXCEEDS_LIMIT)),
    Row("body of 4 GiB - 1", header(body_len=0xFFFFFFFF), early(Status.BODY_SIZE_EXCEEDS_LIMIT)),
    Row("body of limit + 1", header(body_len=LIMIT + 1), early(Status.BODY_SIZE_EXCEEDS_LIMIT)),
    Row("10 bytes of garbage", b"0123456789", early(Status.INVALID_HEADER)),
    Row("4 KiB of garbage", bytes(range(256)) * 16, early(Status.INVALID_HEADER)),
    Row("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", early(Status.INVALID_HEADER)),
    Row("version 2.0", header(version=(2, 0)), early(Status.WIRE_PROTOCOL_VERSION_NOT_SUPPORTED)),
    Row("version 1.1", header(version=(1, 1)), early(Status.WIRE_PROTOCOL_VERSION_NOT_SUPPORTED)),
    Row("version 0.9", header(version=(0, 9)), early(Status.WIRE_PROTOCOL_VERSION_NOT_SUPPORTED)),
    Row("first reserved byte", header(reserved=(1, 0)), early(Status.INVALID_HEADER)),
    Row("second reserved byte", header(reserved=(0, 1)), early(Status.INVALID_HEADER)),
    Row("header size 65535, nothing behind", header(header_size=65535), early(Status.CONNECTION_ERROR)),
    Row("header size 65535, all there", header(header_size=65535) + bytes(65535), early(Status.INVALID_HEADER)),
    Row("header size 0", header(header_size=0), early(Status.INVALID_HEADER)),
    Row("header size 29", header(header_size=29), early(Status.INVALID_HEADER)),
    Row("header size 31, all there", header(header_size=31) + b"\0", early(Status.INVALID_HEADER)),
    Row("header size 31, one missing", header(header_size=31), early(Status.CONNECTION_ERROR)),
    Row("half a magic number", PING[:2], early(Status.CONNECTION_ERROR)),
    Row("half a header", PING[:20], early(Status.CONNECTION_ERROR)),
    Row("half a header and the end", PING[:20], early(Status.CONNECTION_ERROR), shutdown=True),
    Row("nothing", b"", early(Status.CONNECTION_ERROR)),
    Row("nothing and the end", b"", early(Status.CONNECTION_ERROR), shutdown=True),
    Row("body missing", header(body_len=0xFFFF), early(Status.CONNECTION_ERROR)),
    Row("half a body", header(body_len=100) + bytes(50), early(Status.CONNECTION_ERROR)),
    Row("auth missing", header(auth_type=3, auth_len=4), early(Status.CONNECTION_ERROR)),
    Row("a ping and the end", PING, late(Status.SUCCESS, body=PONG), shutdown=True),
    Row("two pings at once", PING + PING, late(Status.SUCCESS, body=PONG)),
    Row("a ping and rubbish", PING + b"rubbish", late(Status.SUCCESS, body=PONG)),
]
# What is looked at in which order: each row has two faults.
PRECEDENCE = [
    Row("magic, then size", header(magic=b"HTTP", header_size=29), early(Status.INVALID_HEADER)),
    Row("size, then version", header(header_size=29, version=(2, 0)), early(Status.INVALID_HEADER)),
    Row(
        "version, then reserved",
        header(version=(2, 0), reserved=(1, 1)),
        early(Status.WIRE_PROTOCOL_VERSION_NOT_SUPPORTED),
    ),
    Row("reserved, then body limit", header(reserved=(1, 0), body_len=1 << 31), early(Status.INVALID_HEADER)),
    Row("body limit, then content", header(body_len=1 << 31, content_type=9), early(Status.BODY_SIZE_EXCEEDS_LIMIT)),
    Row("arrival, then content", header(body_len=10, content_type=9), early(Status.CONNECTION_ERROR)),
    Row("content, then accept", message(content_type=9, accept_type=9), early(Status.CONTENT_TYPE_NOT_SUPPORTED)),
    Row("accept, then auth", message(accept_type=9, auth_type=9), early(Status.ACCEPT_TYPE_NOT_SUPPORTED)),
    Row("auth, then opcode", message(auth_type=9, opcode=0x9999), early(Status.AUTHENTICATOR_DOES_NOT_EXIST)),
    Row("opcode, then provider", message(opcode=0x9999, provider=0x77), early(Status.OPCODE_DOES_NOT_EXIST)),
    Row("provider, then authenticator", message(auth_type=1, provider=0x77), early(Status.PROVIDER_DOES_NOT_EXIST)),
    Row(
        "authenticator, then registration",
        message(auth=b"me", auth_type=1, provider=4, opcode=2),
        late(Status.AUTHENTICATOR_NOT_REGISTERED, 2, provider=4),
    ),
    Row(
        "credentials, then registration",
        unix(2, provider=4, auth=OTHER_UID),
        late(Status.AUTHENTICATION_ERROR, 2, provider=4),
    ),
    Row("registration, then kind", message(provider=4), late(Status.PROVIDER_NOT_REGISTERED, provider=4)),
    Row(
        "kind, then admin",
        unix(Opcode.DELETE_CLIENT, b"\xff", provider=1),
        late(Status.PSA_ERROR_NOT_SUPPORTED, Opcode.DELETE_CLIENT, provider=1),
    ),
    Row(
        "kind, then body",
        unix(Opcode.PSA_SIGN_HASH, b"\xff"),
        late(Status.PSA_ERROR_NOT_SUPPORTED, Opcode.PSA_SIGN_HASH),
    ),
    Row("admin, then body", unix(Opcode.DELETE_CLIENT, b"\xff"), late(Status.ADMIN_OPERATION, Opcode.DELETE_CLIENT)),
    Row(
        "identity of an admin, then body",
        message(b"\xff", opcode=Opcode.DELETE_CLIENT),
        late(Status.NOT_AUTHENTICATED, Opcode.DELETE_CLIENT),
    ),
    Row(
        "body, then identity",
        message(b"\xff", opcode=Opcode.PSA_SIGN_HASH, provider=1),
        late(Status.DESERIALIZING_BODY_FAILED, Opcode.PSA_SIGN_HASH, provider=1),
    ),
    Row(
        "encoding, then identity",
        message(b"", opcode=Opcode.PSA_SIGN_HASH, provider=1),
        late(Status.INVALID_ENCODING, Opcode.PSA_SIGN_HASH, provider=1),
    ),
    Row(
        "identity, then key",
        message(SIGN, opcode=Opcode.PSA_SIGN_HASH, provider=1),
        late(Status.NOT_AUTHENTICATED, Opcode.PSA_SIGN_HASH, provider=1),
    ),
    Row(
        "and the key",
        unix(Opcode.PSA_SIGN_HASH, SIGN, provider=1),
        late(Status.PSA_ERROR_DOES_NOT_EXIST, Opcode.PSA_SIGN_HASH, provider=1),
    ),
]
HEADERS = [
    Row("flags beyond the two extensions", message(flags=0xFFFC), late(Status.SUCCESS, body=PONG)),
    Row("status in a request", message(status=0xFFFF), late(Status.SUCCESS, body=PONG)),
    Row("session", message(session=SESSION), late(Status.SUCCESS, session=SESSION, body=PONG)),
    Row(
        "echo of a late failure",
        unix(Opcode.PSA_SIGN_HASH, SIGN, provider=1, session=SESSION),
        late(Status.PSA_ERROR_DOES_NOT_EXIST, Opcode.PSA_SIGN_HASH, provider=1, session=SESSION),
    ),
    Row("no echo of an early failure", message(session=SESSION, opcode=0x9999), early(Status.OPCODE_DOES_NOT_EXIST)),
    Row("content type", message(content_type=9), early(Status.CONTENT_TYPE_NOT_SUPPORTED)),
    Row("accept type", message(accept_type=9), early(Status.ACCEPT_TYPE_NOT_SUPPORTED)),
    Row("auth type 5", message(auth_type=5), early(Status.AUTHENTICATOR_DOES_NOT_EXIST)),
    Row("auth type 9", message(auth_type=9), early(Status.AUTHENTICATOR_DOES_NOT_EXIST)),
    Row("opcode 0", message(opcode=0), early(Status.OPCODE_DOES_NOT_EXIST)),
    Row("opcode 0x1d, unassigned", message(opcode=0x1D), early(Status.OPCODE_DOES_NOT_EXIST)),
    Row("opcode 0x21", message(opcode=0x21), early(Status.OPCODE_DOES_NOT_EXIST)),
    Row("opcode 0x1000", message(opcode=0x1000), early(Status.OPCODE_DOES_NOT_EXIST)),
    Row("opcode 0x9999", message(opcode=0x9999), early(Status.OPCODE_DOES_NOT_EXIST)),
    Row("provider 6", message(provider=6), early(Status.PROVIDER_DOES_NOT_EXIST)),
    Row("provider 16", message(provider=16), early(Status.PROVIDER_DOES_NOT_EXIST)),
    Row("provider 0x77", message(provider=0x77), early(Status.PROVIDER_DOES_NOT_EXIST)),
    Row("provider 4, not configured", message(provider=4), late(Status.PROVIDER_NOT_REGISTERED, provider=4)),
    Row("crypto operation on core", unix(2, GENERATE), late(Status.PSA_ERROR_NOT_SUPPORTED, 2)),
    Row("ping on provider 1", message(provider=1), late(Status.PSA_ERROR_NOT_SUPPORTED, provider=1)),
    Row(
        "body of exactly the limit",
        message(encode_operation(ops.PsaHashCompare(Hash.SHA_256, bytes(LIMIT - 9), b"1")), opcode=0x10, provider=1),
        late(Status.PSA_ERROR_INVALID_SIGNATURE, 0x10, provider=1),
    ),
]
IDENTITY = [
    Row("Direct, not registered", message(auth=b"me", auth_type=1), late(Status.AUTHENTICATOR_NOT_REGISTERED)),
    Row("JWT, not registered", message(auth=b"me", auth_type=2), late(Status.AUTHENTICATOR_NOT_REGISTERED)),
    Row("JWT-SVID, not registered", message(auth=b"\xff", auth_type=4), late(Status.AUTHENTICATOR_NOT_REGISTERED)),
    Row("somebody else's uid", unix(1, auth=OTHER_UID), late(Status.AUTHENTICATION_ERROR)),
    Row("uid of 3 bytes", unix(1, auth=OWN_UID[:3]), late(Status.AUTHENTICATION_ERROR)),
    Row("uid of 5 bytes", unix(1, auth=OWN_UID + b"\0"), late(Status.AUTHENTICATION_ERROR)),
    Row("no uid", unix(1, auth=b""), late(Status.AUTHENTICATION_ERROR)),
    Row("uid as text", unix(1, auth=b"0"), late(Status.AUTHENTICATION_ERROR)),
    Row("own uid", unix(1), late(Status.SUCCESS, body=PONG)),
    Row("no authentication, auth bytes ignored", message(auth=b"\xff" * 9), late(Status.SUCCESS, body=PONG)),
    Row("anonymous list of keys", message(opcode=0x1A), late(Status.NOT_AUTHENTICATED, 0x1A)),
    Row("anonymous list of clients", message(opcode=0x1B), late(Status.NOT_AUTHENTICATED, 0x1B)),
    Row("list of clients by no admin", unix(0x1B), late(Status.ADMIN_OPERATION, 0x1B)),
    Row(
        "deletion of a client by no admin",
        unix(0x1C, encode_operation(ops.DeleteClient("12345"))),
        late(Status.ADMIN_OPERATION, 0x1C),
    ),
    Row(
        "anonymous CanDoCrypto",
        message(encode_operation(ops.CanDoCrypto(ops.CheckType.GENERATE, P256)), opcode=0x20, provider=1),
        late(Status.NOT_AUTHENTICATED, 0x20, provider=1),
    ),
    Row(
        "anonymous hash",
        message(encode_operation(ops.PsaHashCompare(Hash.SHA_256, b"", bytes(32))), opcode=0x10, provider=1),
        late(Status.PSA_ERROR_INVALID_SIGNATURE, 0x10, provider=1),
    ),
    Row(
        "anonymous random bytes",
        message(b"\x08\x00", opcode=0x0D, provider=1),
        late(Status.SUCCESS, 0x0D, provider=1),
    ),
    Row("anonymous key", message(GENERATE, opcode=2, provider=1), late(Status.NOT_AUTHENTICATED, 2, provider=1)),
]


def sized(size: int) -> bytes:
    return unix(0x0D, encode_operation(ops.PsaGenerateRandom(size)), provider=1)


def attributes(key_type: bytes = b"\x52\x00", policy: bytes = b"\x0a\x00\x12\x02\x0a\x00", bits: bytes = b"") -> bytes:
    """A PsaGenerateKey body with these encoded parts; as it stands they are valid (RSA pair, no algorithm)."""
    inner = b"\x0a" + bytes((len(key_type),)) + key_type + bits + b"\x1a" + bytes((len(policy),)) + policy
    return b"\x0a\x01k\x12" + bytes((len(inner),)) + inner


def generate(body: bytes, status: Status, name: str) -> Row:
    return Row(name, unix(2, body, provider=1), late(status, 2, provider=1))


BODIES = [
    Row("random bytes beyond the limit", sized(LIMIT + 1), late(Status.RESPONSE_TOO_LARGE, 0x0D, provider=1)),
    Row("2^63 random bytes", sized(1 << 63), late(Status.RESPONSE_TOO_LARGE, 0x0D, provider=1)),
    Row("2^64 - 1 random bytes", sized((1 << 64) - 1), late(Status.RESPONSE_TOO_LARGE, 0x0D, provider=1)),
    Row("no random bytes", sized(0), late(Status.SUCCESS, 0x0D, provider=1)),
    Row("bad protobuf", unix(2, b"\xff\xff", provider=1), late(Status.DESERIALIZING_BODY_FAILED, 2, provider=1)),
    Row("truncated field", unix(3, b"\x0a\x7f", provider=1), late(Status.DESERIALIZING_BODY_FAILED, 3, provider=1)),
    Row("not UTF-8", unix(3, b"\x0a\x01\xff", provider=1), late(Status.DESERIALIZING_BODY_FAILED, 3, provider=1)),
    Row("field number 0", unix(3, b"\x02\x00", provider=1), late(Status.DESERIALIZING_BODY_FAILED, 3, provider=1)),
    Row("unknown field", message(b"\x98\x06\x01"), late(Status.SUCCESS, body=PONG)),
    generate(b"\x0a\x01k", Status.INVALID_ENCODING, "no attributes"),
    generate(b"\x0a\x01k\x12\x00", Status.INVALID_ENCODING, "empty attributes"),
    generate(attributes(key_type=b""), Status.INVALID_ENCODING, "key type without its variant"),
    generate(attributes(key_type=b"\x5a\x00"), Status.INVALID_ENCODING, "curve family none"),
    generate(attributes(key_type=b"\x5a\x02\x08\x0a"), Status.INVALID_ENCODING, "unknown curve family"),
    generate(attributes(policy=b""), Status.INVALID_ENCODING, "empty policy"),
    generate(attributes(policy=b"\x12\x02\x0a\x00"), Status.INVALID_ENCODING, "no usage flags"),
    generate(attributes(policy=b"\x0a\x00"), Status.INVALID_ENCODING, "no algorithm"),
    generate(attributes(policy=b"\x0a\x00\x12\x00"), Status.INVALID_ENCODING, "algorithm without its variant"),
    generate(attributes(policy=b"\x0a\x00\x12\x02\x10\x00"), Status.INVALID_ENCODING, "hash none in a policy"),
    generate(attributes(policy=b"\x0a\x00\x12\x02\x32\x00"), Status.INVALID_ENCODING, "signature without its variant"),
    Row("hash none", unix(0x0F, b"\x08\x00", provider=1), late(Status.INVALID_ENCODING, 0x0F, provider=1)),
    Row("unknown hash", unix(0x0F, b"\x08\x7f", provider=1), late(Status.INVALID_ENCODING, 0x0F, provider=1)),
    Row(
        "raw agreement none",
        unix(0x13, b"\x12\x01k", provider=1),
        late(Status.INVALID_ENCODING, 0x13, provider=1),
    ),
    Row(
        "check type none",
        unix(0x20, b"\x12" + attributes()[4:], provider=1),
        late(Status.INVALID_ENCODING, 0x20, provider=1),
    ),
    Row("opcodes of provider 6", message(b"\x08\x06", opcode=9), late(Status.PROVIDER_DOES_NOT_EXIST, 9)),
    Row("opcodes of provider 16", message(b"\x08\x10", opcode=9), late(Status.PROVIDER_DOES_NOT_EXIST, 9)),
    Row(
        "opcodes of provider 2^32 - 1",
        message(b"\x08\xff\xff\xff\xff\x0f", opcode=9),
        late(Status.PROVIDER_DOES_NOT_EXIST, 9),
    ),
    Row(
        "opcodes of provider 4, not configured", message(b"\x08\x04", opcode=9), late(Status.PROVIDER_NOT_REGISTERED, 9)
    ),
    Row(
        "prepared attestation without mechanism",
        unix(0x1F, provider=1),
        late(Status.INVALID_ENCODING, 0x1F, provider=1),
    ),
    Row(
        "attestation without mechanism",
        unix(0x1E, b"\x0a\x01k", provider=1),
        late(Status.INVALID_ENCODING, 0x1E, provider=1),
    ),
    Row(
        "destruction of nothing",
        unix(3, b"\x0a\x02no", provider=1),
        late(Status.PSA_ERROR_DOES_NOT_EXIST, 3, provider=1),
    ),
]
ROWS = [*FRAMING, *PRECEDENCE, *HEADERS, *IDENTITY, *BODIES]


class Difference(NamedTuple):
    """Where ours answers otherwise, on purpose: what upstream says instead, and why ours does not."""

    row: Row
    upstream: bytes
    reason: str


DIFFERENCES = [
    Difference(
        Row(
            "field of an unexpected wire type",
            unix(3, b"\x08\x01", provider=1),
            late(Status.PSA_ERROR_DOES_NOT_EXIST, 3, provider=1),
        ),
        late(Status.DESERIALIZING_BODY_FAILED, 3, provider=1),
        "Protocol Buffers count it as an unknown field, which is skipped; Rust's library alone refuses it",
    ),
    Difference(
        Row(
            "field number 0 with a number",
            message(b"\x00\x00"),
            late(Status.SUCCESS, body=PONG),
        ),
        late(Status.DESERIALIZING_BODY_FAILED),
        "Google's library skips it; to look for it would take a second parser",
    ),
    Difference(
        Row(
            "MAC",
            unix(0x16, encode_operation(ops.PsaMacCompute("no", Algorithm.CMAC, b"")), provider=1),
            late(Status.PSA_ERROR_DOES_NOT_EXIST, 0x16, provider=1),
        ),
        early(Status.OPCODE_DOES_NOT_EXIST),
        "the contract has it and the Go client sends it, so it is served, though listed in extended answers only",
    ),
    Difference(
        Row(
            "verification of a MAC",
            unix(0x17, encode_operation(ops.PsaMacVerify("no", Algorithm.CMAC, b"", b"")), provider=1),
            late(Status.PSA_ERROR_DOES_NOT_EXIST, 0x17, provider=1),
        ),
        early(Status.OPCODE_DOES_NOT_EXIST),
        "as for the MAC",
    ),
]


@pytest.fixture(scope="module")
def ours() -> Iterator[Service]:
    """A service with upstream's sample settings."""
    with running_service(core="allow_deprecated = true", timeout_ms=200) as service:
        yield service


@pytest.fixture(scope="module")
def upstream(peers_root: PeersRoot) -> Iterator[UpstreamService]:
    with UpstreamService(idle_sleep_ms=1) as service:
        yield service


def _answered(path: Path, row: Row) -> bytes:
    received = exchange(path, row.data, shutdown=row.shutdown)
    assert exchange(path, PING) == late(Status.SUCCESS, body=PONG), "the next client was not served"
    return received


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in [*ROWS, *(d.row for d in DIFFERENCES)]])
def test_our_answer(ours: Service, row: Row) -> None:
    assert _answered(ours.socket_path, row).hex(" ") == row.answer.hex(" ")


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_upstreams_answer_is_the_same(upstream: UpstreamService, row: Row) -> None:
    assert _answered(upstream.socket_path, row).hex(" ") == row.answer.hex(" ")


@pytest.mark.parametrize("difference", [pytest.param(one, id=one.row.name) for one in DIFFERENCES])
def test_the_documented_differences_are_real(upstream: UpstreamService, difference: Difference) -> None:
    received = _answered(upstream.socket_path, difference.row)
    assert received.hex(" ") == difference.upstream.hex(" ") != difference.row.answer.hex(" "), difference.reason
