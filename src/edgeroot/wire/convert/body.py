"""How one kind of body, an operation's or a result's, is a message on the wire and a typed value inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from google.protobuf.message import Message

from edgeroot.wire.contract.generated import core_pb2

M = TypeVar("M", bound=Message)
V = TypeVar("V")


class Body(NamedTuple, Generic[M, V]):
    """A message type, the value's type, and the conversion both ways. Conversions raise WireError only."""

    message: type[M]
    value: type[V]
    decode: Callable[[M], V]
    encode: Callable[[V], M]


AnyBody: TypeAlias = Body[Any, Any]


def without_fields(value: type[V]) -> Body[core_pb2.Empty, V]:
    """A body of zero bytes. What a newer peer may put into it is skipped."""
    only = value()
    nothing = core_pb2.Empty()
    return Body(core_pb2.Empty, value, decode=lambda _: only, encode=lambda _: nothing)
