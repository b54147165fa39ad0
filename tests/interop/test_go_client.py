"""What upstream's Go client is known to send, and what it takes for an answer.

The client itself is not to be had: the Go module proxy does not give it. So this is its side of the conversation as its
sources tell it, sent byte by byte: it writes a request in one piece, never shuts its side down, reads until the service
closes, and only then looks at what came (parsec-client-go, interface/operations and interface/requests). It is no proof
that the client works.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from edgeroot.wire.status import ResponseStatus as Status
from tests.interop.raw_socket import TIMEOUT_S, message
from tests.support.service import running_service
from tests.unit.wire.protobuf_bytes import num, sub

UID = struct.pack("<I", os.getuid())  # os/user's Current().Uid, so the real one
HMAC_SHA_256 = sub(1, sub(1, num(1, 7)))
ECDSA_SHA_256 = sub(4, sub(1, num(2, 7)))
# RFC 4231, clause 4.2
RFC_KEY, RFC_DATA = b"\x0b" * 20, b"Hi There"
RFC_MAC = bytes.fromhex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    with running_service() as service:
        yield service.socket_path


def ask(path: Path, opcode: int, *fields: bytes, provider: int = 1) -> tuple[Status, bytes]:
    """Status and body, after the checks that the client makes of the header."""
    auth, auth_type = (UID, 3) if provider else (b"", 0)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.connect(str(path))
        sock.sendall(message(b"".join(fields), auth, opcode=opcode, provider=provider, auth_type=auth_type))
        received = b"".join(iter(lambda: sock.recv(512), b""))
    magic, size, _, flags, answered_by = struct.unpack_from("<IHHHB", received)
    assert (magic, size, flags, answered_by) == (0x5EC0A710, 30, 0, provider)
    length, _, answered, status = struct.unpack_from("<IHIH", received, 22)
    assert (length, answered) == (len(received) - 36, opcode)
    assert status <= 21 or 1132 <= status <= 1152, "the client knows no other numbers"
    return Status(status), received[36:]


def attributes(key_type: bytes, bits: int, usage: tuple[int, ...], algorithm: bytes) -> bytes:
    return sub(2, sub(1, key_type), num(2, bits), sub(3, sub(1, *(num(one, 1) for one in usage)), sub(2, algorithm)))


def test_the_first_calls(path: Path) -> None:
    assert ask(path, 0x01, provider=0) == (Status.SUCCESS, b"\x08\x01")
    for opcode in (0x08, 0x0E, 0x09):  # providers, authenticators, opcodes of the core provider
        status, body = ask(path, opcode, provider=0)
        assert (status, bool(body)) == (Status.SUCCESS, True)


def test_sign_message(path: Path) -> None:
    name = sub(1, "go signs")
    assert ask(path, 0x02, name, attributes(sub(11, num(1, 2)), 256, (6, 7), sub(6, ECDSA_SHA_256)))[0] == 0
    status, public = ask(path, 0x07, name)
    assert (status, public[:3]) == (Status.SUCCESS, b"\x0a\x41\x04")
    status, signature = ask(path, 0x18, name, sub(2, ECDSA_SHA_256), sub(3, "reading"))
    assert (status, signature[:2]) == (Status.SUCCESS, b"\x0a\x40")
    r, s = (int.from_bytes(half) for half in (signature[2:34], signature[34:]))
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public[2:])
    key.verify(encode_dss_signature(r, s), b"reading", ec.ECDSA(hashes.SHA256()))
    verify = (name, sub(2, ECDSA_SHA_256))
    assert ask(path, 0x19, *verify, sub(3, "reading"), sub(4, signature[2:])) == (Status.SUCCESS, b"")
    assert ask(path, 0x19, *verify, sub(3, "readinG"), sub(4, signature[2:]))[0] == Status.PSA_ERROR_INVALID_SIGNATURE
    assert ask(path, 0x03, name) == (Status.SUCCESS, b"")


def test_compute_a_mac(path: Path) -> None:
    name = sub(1, "go computes")
    policy = attributes(sub(2), 160, (6, 7), sub(3, HMAC_SHA_256))
    assert ask(path, 0x06, name, policy, sub(3, RFC_KEY)) == (Status.SUCCESS, b"")
    assert ask(path, 0x16, name, sub(2, HMAC_SHA_256), sub(3, RFC_DATA)) == (Status.SUCCESS, sub(1, RFC_MAC))


@pytest.mark.parametrize("mac", [RFC_MAC, bytes(32)])
def test_its_verification_of_a_mac_never_takes_a_wrong_one_for_right(path: Path, mac: bytes) -> None:
    """It sends the body of PsaMacVerify under PsaMacCompute's opcode, and looks at the answer's status alone."""
    name = sub(1, f"go verifies {mac[0]}")
    policy = attributes(sub(2), 160, (6, 7), sub(3, HMAC_SHA_256))
    assert ask(path, 0x06, name, policy, sub(3, RFC_KEY)) == (Status.SUCCESS, b"")
    body = (name, sub(2, HMAC_SHA_256), sub(3, RFC_DATA), sub(4, mac))
    assert ask(path, 0x16, *body) == (Status.INVALID_ENCODING, b"")
    right = Status.SUCCESS if mac == RFC_MAC else Status.PSA_ERROR_INVALID_SIGNATURE
    assert ask(path, 0x17, *body) == (right, b"")


def test_errors_have_no_body_to_trip_over(path: Path) -> None:
    assert ask(path, 0x03, sub(1, "nobody")) == (Status.PSA_ERROR_DOES_NOT_EXIST, b"")
    assert ask(path, 0x18, sub(1, "nobody"), sub(2, ECDSA_SHA_256)) == (Status.PSA_ERROR_DOES_NOT_EXIST, b"")
