"""Frames of the Parsec wire protocol 1.0: requests cut out of received bytes, responses put together; and the reverse.

Sans-IO: whoever has a socket collects bytes and asks. Every refusal is a :class:`~edgeroot.wire.status.WireError` with
the status that the protocol gives it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from edgeroot.wire.header import (
    ANNOUNCED_HEADER_BYTES,
    AUTH_BYTES_MAX,
    BODY_BYTES_MAX,
    CONTENT_TYPE_PROTOBUF,
    FLAG_EXTENDED,
    HEADER_BYTES,
    HEADER_STRUCT,
    MAGIC,
    OPENING,
    PREFIX_STRUCT,
    REQUEST_STRUCT,
    VERSION,
)
from edgeroot.wire.opcodes import FIRST_EXTENSION, SPECS, Opcode
from edgeroot.wire.operations import AuthType, ProviderId
from edgeroot.wire.status import ResponseStatus, WireError

_MAGIC_BYTES: Final = MAGIC.to_bytes(4, "little")
_AUTH_TYPE_MAX: Final = int(max(AuthType))
_PROVIDER_ID_MAX: Final = int(max(ProviderId))
_VERSION_MAJ, _VERSION_MIN = VERSION


class Request(NamedTuple):
    """A complete request as it came: numbers are unchecked until :func:`check_request`, the body is undecoded.

    ``size_bytes`` is what the request took of the buffer, header included.
    """

    flags: int
    provider: int
    session: int
    content_type: int
    accept_type: int
    auth_type: int
    opcode: int
    body: bytes
    auth: bytes
    size_bytes: int

    def __repr__(self) -> str:
        """Without body and credentials, which may be secrets."""
        return f"<Request opcode {self.opcode:#x} to provider {self.provider}, {self.size_bytes} bytes>"


class Response(NamedTuple):
    """A response; ``session`` is an echo of the request's."""

    provider: int
    session: int
    opcode: int
    status: ResponseStatus
    body: bytes

    def __repr__(self) -> str:
        """Without the body, which may be a secret."""
        return f"<Response opcode {self.opcode:#x} {self.status.display_name}, body of {len(self.body)} bytes>"


# The service's side


def next_request(buffer: bytes | bytearray, *, body_len_limit: int) -> Request | None:
    """The request at the beginning of ``buffer``, or None while bytes of it are missing.

    ``body_len_limit`` is the longest body accepted, in bytes. Faults are found in the protocol's order, each as soon as
    the bytes that show it are there: INVALID_HEADER for the magic, then for the header's size (once as many bytes as it
    announces came), WIRE_PROTOCOL_VERSION_NOT_SUPPORTED, INVALID_HEADER for the reserved bytes, BODY_SIZE_EXCEEDS_LIMIT
    before any of the body is needed. A call costs the same however much of the body came already.
    """
    if len(buffer) < HEADER_BYTES or not buffer.startswith(OPENING):
        _check_opening(buffer)
        return None
    (flags, provider, session, content_type, accept_type, auth_type, body_length, auth_length, opcode, reserved) = (
        REQUEST_STRUCT.unpack_from(buffer, len(OPENING))
    )
    if reserved:
        raise _reserved_not_zero()
    if body_length > body_len_limit:
        detail = f"a body of {body_length} bytes, the limit is {body_len_limit}"
        raise WireError(ResponseStatus.BODY_SIZE_EXCEEDS_LIMIT, detail)
    body_end = HEADER_BYTES + body_length
    size_bytes = body_end + auth_length
    if len(buffer) < size_bytes:
        return None
    body, auth = buffer[HEADER_BYTES:body_end], buffer[body_end:size_bytes]
    if not isinstance(body, bytes):
        body, auth = bytes(body), bytes(auth)
    # This runs for every request, and Request(...) costs twice as much.
    return tuple.__new__(
        Request,
        (flags, provider, session, content_type, accept_type, auth_type, opcode, body, auth, size_bytes),
    )


def bytes_needed(buffer: bytes | bytearray) -> int:
    """How many bytes ``buffer`` must hold in all before :func:`next_request` can say more than it could now.

    For readers that know how much to ask for. Call it only after ``next_request`` gave None for the same bytes.
    """
    if len(buffer) < len(_MAGIC_BYTES):
        return len(_MAGIC_BYTES)
    if len(buffer) < PREFIX_STRUCT.size:
        return PREFIX_STRUCT.size
    announced = PREFIX_STRUCT.unpack_from(buffer)[1]
    if announced != ANNOUNCED_HEADER_BYTES or len(buffer) < HEADER_BYTES:
        return PREFIX_STRUCT.size + int(announced)
    fields = REQUEST_STRUCT.unpack_from(buffer, len(OPENING))
    return HEADER_BYTES + int(fields[6]) + int(fields[7])


def check_request(request: Request) -> None:
    """What a complete request is refused for, in the protocol's order, before anybody is authenticated.

    CONTENT_TYPE_NOT_SUPPORTED, ACCEPT_TYPE_NOT_SUPPORTED, AUTHENTICATOR_DOES_NOT_EXIST, OPCODE_DOES_NOT_EXIST,
    PROVIDER_DOES_NOT_EXIST. An extended request may name any provider id, and the opcodes of extensions.
    """
    flags, provider, _, content_type, accept_type, auth_type, opcode, _, _, _ = request
    if content_type != CONTENT_TYPE_PROTOBUF:
        raise WireError(ResponseStatus.CONTENT_TYPE_NOT_SUPPORTED, f"content type {content_type}")
    if accept_type != CONTENT_TYPE_PROTOBUF:
        raise WireError(ResponseStatus.ACCEPT_TYPE_NOT_SUPPORTED, f"accept type {accept_type}")
    if auth_type > _AUTH_TYPE_MAX:
        raise WireError(ResponseStatus.AUTHENTICATOR_DOES_NOT_EXIST, f"auth type {auth_type}")
    if opcode not in SPECS or (opcode >= FIRST_EXTENSION and not flags & FLAG_EXTENDED):
        raise WireError(ResponseStatus.OPCODE_DOES_NOT_EXIST, f"opcode {opcode:#x}")
    if provider > _PROVIDER_ID_MAX and not flags & FLAG_EXTENDED:
        raise WireError(ResponseStatus.PROVIDER_DOES_NOT_EXIST, f"provider id {provider}")


def encode_response(*, provider: int, session: int, opcode: int, status: int, body: bytes = b"") -> bytes:
    """A response; the first three are echoes of the request's. The body of an error is empty."""
    return (
        HEADER_STRUCT.pack(
            MAGIC,
            ANNOUNCED_HEADER_BYTES,
            _VERSION_MAJ,
            _VERSION_MIN,
            0,
            provider,
            session,
            CONTENT_TYPE_PROTOBUF,
            0,
            0,
            len(body),
            0,
            opcode,
            status,
            0,
            0,
        )
        + body
    )


def encode_early_error(status: ResponseStatus) -> bytes:
    """The response to what could not be read as a request, and so has nothing to echo: it looks like a Ping's."""
    return encode_response(provider=ProviderId.CORE, session=0, opcode=Opcode.PING, status=status)


# The client's side


def encode_request(
    *,
    opcode: int,
    provider: int,
    body: bytes,
    auth_type: int,
    auth: bytes,
    flags: int = 0,
    session: int = 0,
) -> bytes:
    """A request; ValueError if body or credentials are longer than the header can say."""
    if len(body) > BODY_BYTES_MAX or len(auth) > AUTH_BYTES_MAX:
        raise ValueError(f"a body of {len(body)} and credentials of {len(auth)} bytes do not fit a request")
    header = HEADER_STRUCT.pack(
        MAGIC,
        ANNOUNCED_HEADER_BYTES,
        _VERSION_MAJ,
        _VERSION_MIN,
        flags,
        provider,
        session,
        CONTENT_TYPE_PROTOBUF,
        CONTENT_TYPE_PROTOBUF,
        auth_type,
        len(body),
        len(auth),
        opcode,
        0,
        0,
        0,
    )
    return b"".join((header, body, auth))


def response_length(head: bytes | bytearray) -> int:
    """The length of the whole response in bytes, told from its first 36, which must all be there.

    WireError as in :func:`next_request`, and CONTENT_TYPE_NOT_SUPPORTED for a body that is not protobuf.
    """
    if len(head) < HEADER_BYTES:
        raise ValueError(f"{HEADER_BYTES} bytes are needed, not {len(head)}")
    if not head.startswith(OPENING):
        _check_opening(head)
        raise WireError(ResponseStatus.INVALID_HEADER, "the header is longer than this protocol's")
    _, _, _, content_type, _, _, body_length, _, _, reserved = REQUEST_STRUCT.unpack_from(head, len(OPENING))
    if reserved:
        raise _reserved_not_zero()
    if content_type != CONTENT_TYPE_PROTOBUF:
        raise WireError(ResponseStatus.CONTENT_TYPE_NOT_SUPPORTED, f"content type {content_type}")
    return HEADER_BYTES + int(body_length)


def decode_response(message: bytes | bytearray) -> Response:
    """A complete response. WireError as in :func:`response_length`, and INVALID_ENCODING for an unknown status or
    a message that is shorter or longer than it says.
    """
    if len(message) < HEADER_BYTES or len(message) != response_length(message):
        raise WireError(ResponseStatus.INVALID_ENCODING, f"a response does not end after {len(message)} bytes")
    *_, provider, session, _, _, _, _, _, opcode, number, _, _ = HEADER_STRUCT.unpack_from(message)
    try:
        status = ResponseStatus(number)
    except ValueError as error:
        raise WireError(ResponseStatus.INVALID_ENCODING, f"unknown status {number}") from error
    return Response(provider, session, opcode, status, bytes(message[HEADER_BYTES:]))


def _check_opening(buffer: bytes | bytearray) -> None:
    """Refuse a wrong magic, a wrong header size once all the header it announces is there, then a wrong version."""
    if len(buffer) < len(_MAGIC_BYTES):
        return
    if not buffer.startswith(_MAGIC_BYTES):
        raise WireError(ResponseStatus.INVALID_HEADER, "wrong magic number")
    if len(buffer) < PREFIX_STRUCT.size:
        return
    announced = PREFIX_STRUCT.unpack_from(buffer)[1]
    if len(buffer) < PREFIX_STRUCT.size + announced:
        return
    if announced != ANNOUNCED_HEADER_BYTES:
        raise WireError(ResponseStatus.INVALID_HEADER, f"a header of {announced} bytes")
    if not buffer.startswith(OPENING):
        detail = f"wire protocol {buffer[6]}.{buffer[7]}"
        raise WireError(ResponseStatus.WIRE_PROTOCOL_VERSION_NOT_SUPPORTED, detail)


def _reserved_not_zero() -> WireError:
    return WireError(ResponseStatus.INVALID_HEADER, "reserved bytes are not zero")
