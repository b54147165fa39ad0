"""Values for any message of a table, and what every table has to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, get_type_hints
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.abi.key_attributes import AbiKeyAttributes
from edgeroot.abi.layout import AnyLayout, Operation
from edgeroot.abi.rpc_status import RpcError, RpcStatus

U8: Final = st.integers(0, 0xFF)
U16: Final = st.integers(0, 0xFFFF)
U32: Final = st.integers(0, 0xFFFFFFFF)
U64: Final = st.integers(0, 0xFFFFFFFF_FFFFFFFF)
ATTRIBUTES: Final = st.builds(
    AbiKeyAttributes, key_type=U32, key_bits=U32, lifetime=U32, key_id=U32, usage=U32, algorithm=U32
)
_BY_TYPE: Final[dict[Any, st.SearchStrategy[Any]]] = {
    int: U32,
    bytes: st.binary(max_size=80),
    UUID: st.uuids(),
    AbiKeyAttributes: ATTRIBUTES,
}


def values(layout: AnyLayout, numbers: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Values of a layout; numbers are u32 and strategies are by type, unless named in ``numbers``."""
    value_type = layout.value_type
    hints = get_type_hints(value_type)
    names = [field.name for field in fields(value_type)]
    return st.builds(
        value_type, **{name: numbers[name] if name in numbers else _BY_TYPE[hints[name]] for name in names}
    )


def check_round_trips(layout: AnyLayout, numbers: Mapping[str, st.SearchStrategy[Any]]) -> None:
    """What is written is read again."""

    @given(values(layout, numbers))
    def check(value: object) -> None:
        assert layout.decode(layout.encode(value)) == value

    check()


def check_refuses_only_by_status(
    layout: AnyLayout, status: RpcStatus, numbers: Mapping[str, st.SearchStrategy[Any]]
) -> None:
    """Any bytes are a value, which is then written and read as the same, or RpcError with this status."""

    @given(st.one_of(st.binary(max_size=120), damaged(values(layout, numbers).map(layout.encode))))
    def check(data: bytes) -> None:
        try:
            value = layout.decode(data)
        except RpcError as error:
            refused = error.status
        else:
            assert layout.decode(layout.encode(value)) == value
            return
        assert refused is status

    check()


@st.composite
def damaged(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """A message that is cut off, or with one byte changed."""
    message = bytearray(draw(messages))
    if not message:
        return b""
    at = draw(st.integers(0, len(message) - 1))
    if draw(st.booleans()):
        return bytes(message[:at])
    message[at] ^= draw(st.integers(1, 0xFF))
    return bytes(message)


def check_fails_cut_short(layout: AnyLayout, value: object) -> None:
    """Every beginning of a message is refused, down to no bytes at all."""
    message = layout.encode(value)
    for length in range(len(message)):
        with pytest.raises(RpcError):
            layout.decode(message[:length])


def rows(operations: Mapping[int, Operation]) -> list[Any]:
    """Parameters: each layout of a table once, and the status that a malformed message has."""
    found: dict[AnyLayout, tuple[RpcStatus, str]] = {}
    for opcode, operation in operations.items():
        found.setdefault(operation.request, (RpcStatus.INVALID_REQUEST_BODY, f"{opcode:#x}-request"))
        found.setdefault(operation.response, (RpcStatus.INVALID_RESPONSE_BODY, f"{opcode:#x}-response"))
    return [pytest.param(layout, status, id=name) for layout, (status, name) in found.items()]
