"""Bytes to a service and bytes back, with nothing in between that could repair either."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

from edgeroot.wire import operations as ops
from edgeroot.wire.codec import decode_result, encode_operation
from edgeroot.wire.framing import Response, decode_response, encode_request
from edgeroot.wire.opcodes import BY_OPERATION
from edgeroot.wire.operations import AuthType
from edgeroot.wire.status import ResponseStatus

TIMEOUT_S = 20.0
PING = bytes.fromhex("10a7c05e1e00 0100 0000 00 0000000000000000 00 00 00 00000000 0000 01000000 0000 00 00")
OWN_UID = struct.pack("<I", os.geteuid())
_RESPONSE_HEADER = struct.Struct("<4sHBBHBQBBBIHIHBB")


def header(
    *,
    magic: bytes = b"\x10\xa7\xc0\x5e",
    header_size: int = 30,
    version: tuple[int, int] = (1, 0),
    flags: int = 0,
    provider: int = 0,
    session: int = 0,
    content_type: int = 0,
    accept_type: int = 0,
    auth_type: int = 0,
    body_len: int = 0,
    auth_len: int = 0,
    opcode: int = 1,
    status: int = 0,
    reserved: tuple[int, int] = (0, 0),
) -> bytes:
    """A request's header, each field as asked for; written by hand, so that no encoder hides a decoder's fault."""
    return _RESPONSE_HEADER.pack(
        magic,
        header_size,
        *version,
        flags,
        provider,
        session,
        content_type,
        accept_type,
        auth_type,
        body_len,
        auth_len,
        opcode,
        status,
        *reserved,
    )


def message(body: bytes = b"", auth: bytes = b"", **fields: int) -> bytes:
    """A whole request whose header tells its lengths truthfully."""
    return header(body_len=len(body), auth_len=len(auth), **fields) + body + auth  # type: ignore[arg-type] # the two pairs keep their defaults


def request(operation: ops.Operation, *, provider: int = 1, flags: int = 0, anonymous: bool = False) -> bytes:
    """A valid request for the operation, as the user that runs the tests."""
    spec = BY_OPERATION[type(operation)]
    return encode_request(
        opcode=spec.opcode,
        provider=0 if spec.core else provider,
        body=encode_operation(operation),
        auth_type=AuthType.NO_AUTH if anonymous else AuthType.UNIX_PEER_CREDENTIALS,
        auth=b"" if anonymous else OWN_UID,
        flags=flags,
    )


def connect(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(TIMEOUT_S)
    sock.connect(str(path))
    return sock


def read_to_end(sock: socket.socket) -> bytes:
    """What comes until the service closes; a reset is an end too (the service had not read all that was sent)."""
    received = b""
    try:
        while piece := sock.recv(1 << 20):
            received += piece
    except ConnectionResetError:
        pass
    return received


def read_response(sock: socket.socket) -> bytes:
    """Exactly one response, leaving the connection as it is."""
    received = b""
    needed = 36
    while len(received) < needed:
        piece = sock.recv(needed - len(received))
        if not piece:
            return received
        received += piece
        if len(received) == 36:
            needed += int.from_bytes(received[22:26], "little")
    return received


def exchange(path: Path, data: bytes, *, shutdown: bool = False) -> bytes:
    """Send and read until the service closes."""
    with connect(path) as sock:
        try:
            sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered already
        if shutdown:
            sock.shutdown(socket.SHUT_WR)
        return read_to_end(sock)


def ask(
    path: Path, operation: ops.Operation, *, provider: int = 1, flags: int = 0, anonymous: bool = False
) -> tuple[ResponseStatus, ops.Result | None]:
    """The status, and on success the result."""
    response = answer(path, request(operation, provider=provider, flags=flags, anonymous=anonymous))
    if response.status != ResponseStatus.SUCCESS:
        assert response.body == b""
        return response.status, None
    return response.status, decode_result(response.opcode, response.body)


def answer(path: Path, data: bytes) -> Response:
    """The one response to a request."""
    return decode_response(exchange(path, data))
