"""Bodies of requests and responses to typed operations and results, and back. Sans-IO.

An unknown opcode gives WireError OPCODE_DOES_NOT_EXIST. Decoding raises WireError DESERIALIZING_BODY_FAILED for what is
not protobuf (a string that is not UTF-8 included), INVALID_ENCODING for what is, but lacks a mandatory part or holds a
number that is unknown or "none", and PSA_ERROR_INVALID_ARGUMENT for a MAC or tag length that PSA cannot express.
Encoding raises SERIALIZING_BODY_FAILED for values that the contract cannot carry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

from google.protobuf.message import DecodeError, EncodeError, Message

from edgeroot.wire.convert.core import CORE_BODIES
from edgeroot.wire.convert.crypto import CRYPTO_BODIES
from edgeroot.wire.convert.extensions import EXTENSION_BODIES
from edgeroot.wire.convert.keys import KEY_BODIES
from edgeroot.wire.opcodes import SPECS
from edgeroot.wire.operations import Operation, Result
from edgeroot.wire.status import ResponseStatus, WireError

_Decoder: TypeAlias = tuple[Callable[[bytes], Message], Callable[[Any], Any]]

_BODIES: Final = {body.value: body for body in (*CORE_BODIES, *KEY_BODIES, *CRYPTO_BODIES, *EXTENSION_BODIES)}
_ENCODERS: Final[dict[type, Callable[[Any], Message]]] = {value: body.encode for value, body in _BODIES.items()}


def _decoder(value: type) -> _Decoder:
    body = _BODIES[value]
    return body.message.FromString, body.decode


_OPERATIONS: Final = {int(opcode): _decoder(spec.operation) for opcode, spec in SPECS.items()}
_RESULTS: Final = {int(opcode): _decoder(spec.result) for opcode, spec in SPECS.items()}


def decode_operation(opcode: int, body: bytes) -> Operation:
    """The operation that a request's body holds."""
    return cast(Operation, _decode(_OPERATIONS, opcode, body))


def decode_result(opcode: int, body: bytes) -> Result:
    """The result that the body of a successful response to ``opcode`` holds."""
    return cast(Result, _decode(_RESULTS, opcode, body))


def encode_operation(operation: Operation) -> bytes:
    """A request's body."""
    return _encode(operation)


def encode_result(result: Result) -> bytes:
    """A successful response's body."""
    return _encode(result)


def _decode(decoders: dict[int, _Decoder], opcode: int, body: bytes) -> object:
    decoder = decoders.get(opcode)
    if decoder is None:
        raise WireError(ResponseStatus.OPCODE_DOES_NOT_EXIST, f"opcode {opcode:#x}")
    parse, convert = decoder
    try:
        message = parse(body)
    except DecodeError as error:
        raise WireError(ResponseStatus.DESERIALIZING_BODY_FAILED, str(error)) from error
    return convert(message)


def _encode(value: Operation | Result) -> bytes:
    try:
        return _ENCODERS[type(value)](value).SerializeToString()
    except (ValueError, EncodeError) as error:  # a number out of range, a string with lone surrogates, 2 GiB
        raise WireError(ResponseStatus.SERIALIZING_BODY_FAILED, str(error)) from error
