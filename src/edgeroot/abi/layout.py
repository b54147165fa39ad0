"""Messages as values: a dataclass's first fields are a packed little-endian struct, the others follow it.

What may follow: TLV records (:func:`tlv_layout`), the rest of the message as it is (:func:`raw_layout`), or a counted
list of equal items (:func:`items_layout`). Everything is prepared when a layout is made; a call does no reflection.

Bytes behind what a layout describes are ignored, as the reference does, so that a message can grow at its end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.abi.tlv import HEADER, TlvError, encode_records, find_records

T = TypeVar("T")
_NO_CONVERTERS: Final[Mapping[str, Converter]] = {}


@dataclass(frozen=True, slots=True)
class Layout(Generic[T]):
    """One kind of message, both ways.

    ``encode`` raises ValueError for a value that the format cannot hold. ``decode`` raises RpcError: of a request
    INVALID_REQUEST_BODY, of a response INVALID_RESPONSE_BODY.
    """

    value_type: type[T]
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]


AnyLayout: TypeAlias = Layout[Any]


class Operation(NamedTuple):
    """One row of a service's table."""

    opcode: int
    request: AnyLayout
    response: AnyLayout


class Tlv(NamedTuple):
    """A field carried as a record. An optional one is left out when it is empty, and empty when it is left out."""

    tag: int
    name: str
    optional: bool = False


class Converter(NamedTuple):
    """How a field of the struct that is octets (``16s``) is a value. ``from_bytes`` takes any octets."""

    to_bytes: Callable[[Any], bytes]
    from_bytes: Callable[[bytes], Any]


class Items(NamedTuple):
    """The items of a list: ``size_bytes`` each, at most ``max_count``."""

    size_bytes: int
    max_count: int
    convert: Converter


def tlv_layout(
    value_type: type[T],
    struct_format: str,
    *tlvs: Tlv,
    converters: Mapping[str, Converter] = _NO_CONVERTERS,
    response: bool = False,
) -> Layout[T]:
    """The dataclass's last fields are the records, in the order of ``tlvs``; without any, the struct is all."""
    fixed_names = _names(value_type, trailing=[tlv.name for tlv in tlvs])
    pack, unpack, size_bytes = _fixed(struct_format, fixed_names, converters)
    fault = _fault(value_type, response=response)
    make: Callable[..., T] = value_type
    if not tlvs:
        return Layout(value_type, _guarded(pack), lambda data: make(*_unpacked(unpack, data, fault)))
    if len(tlvs) == 1 and not tlvs[0].optional:
        return Layout(value_type, *_one_record(value_type, pack, unpack, size_bytes, tlvs[0], fault))

    tags = tuple(tlv.tag for tlv in tlvs)
    rows = tuple((tlv.tag, attrgetter(tlv.name), tlv.optional) for tlv in tlvs)

    def encode(value: T) -> bytes:
        records = [(tag, get(value), optional) for tag, get, optional in rows]
        return pack(value) + encode_records([(tag, field) for tag, field, optional in records if field or not optional])

    def decode(data: bytes) -> T:
        fixed = _unpacked(unpack, data, fault)
        try:
            found = find_records(data, size_bytes, tags)
        except TlvError as error:
            raise fault(str(error)) from error
        for index, record in enumerate(found):
            if record is None:
                if not rows[index][2]:
                    raise fault(f"record {tags[index]} is missing")
                found[index] = b""
        return make(*fixed, *found)

    return Layout(value_type, _guarded(encode), decode)


def _one_record(
    value_type: type[T], pack: _Pack, unpack: _Unpack, size_bytes: int, tlv: Tlv, fault: _Fault
) -> tuple[Callable[[T], bytes], Callable[[bytes], T]]:
    """The commonest shape, and what signing uses: a struct and one record that is always there."""
    make: Callable[..., T] = value_type
    tag = tlv.tag
    get = attrgetter(tlv.name)
    start = size_bytes + HEADER.size
    unpack_header = HEADER.unpack_from
    pack_header = HEADER.pack

    def encode(value: T) -> bytes:
        try:
            field: bytes = get(value)
            return pack(value) + pack_header(tag, len(field)) + field
        except struct.error as error:
            raise ValueError(f"{value_type.__name__} has a field out of range") from error

    def decode(data: bytes) -> T:
        try:
            found, length = unpack_header(data, size_bytes)
            fixed = unpack(data)
        except struct.error as error:
            raise fault(f"{len(data)} bytes are too few") from error
        if found == tag:
            end = start + length
            if end > len(data):
                raise fault(f"record {tag} says {length} bytes and has {len(data) - start}")
            return make(*fixed, data[start:end])
        try:
            record = find_records(data, size_bytes, (tag,))[0]
        except TlvError as error:
            raise fault(str(error)) from error
        if record is None:
            raise fault(f"record {tag} is missing")
        return make(*fixed, record)

    return encode, decode


def raw_layout(
    value_type: type[T], struct_format: str, *, length_at: int | None = None, response: bool = False
) -> Layout[T]:
    """The dataclass's last field is the rest of the message.

    ``length_at`` is where in the struct the length of it stands, which is no field of the dataclass: then only so much
    is taken, and fewer bytes are refused.
    """
    *fixed_names, tail_name = _fields(value_type)
    layout = struct.Struct("<" + struct_format)
    get_tail = attrgetter(tail_name)
    get_fixed = _tuple_getter(fixed_names)
    fault = _fault(value_type, response=response)
    make: Callable[..., T] = value_type
    size_bytes = layout.size

    def encode(value: T) -> bytes:
        tail: bytes = get_tail(value)
        numbers = get_fixed(value)
        if length_at is not None:
            numbers = (*numbers[:length_at], len(tail), *numbers[length_at:])
        return layout.pack(*numbers) + tail

    def decode(data: bytes) -> T:
        numbers = _unpacked(layout.unpack_from, data, fault)
        if length_at is None:
            return make(*numbers, data[size_bytes:])
        length = numbers[length_at]
        if length > len(data) - size_bytes:
            raise fault(f"it says {length} bytes of data and has {len(data) - size_bytes}")
        return make(*numbers[:length_at], *numbers[length_at + 1 :], data[size_bytes : size_bytes + length])

    return Layout(value_type, _guarded(encode), decode)


def items_layout(
    value_type: type[T], struct_format: str, *, count_at: int, items: Items, response: bool = False
) -> Layout[T]:
    """The dataclass's last field is a tuple of items; how many stands in the struct at ``count_at``."""
    *fixed_names, items_name = _fields(value_type)
    layout = struct.Struct("<" + struct_format)
    get_items = attrgetter(items_name)
    get_fixed = _tuple_getter(fixed_names)
    fault = _fault(value_type, response=response)
    make: Callable[..., T] = value_type
    begin = layout.size
    item_bytes, max_count, (to_bytes, from_bytes) = items

    def encode(value: T) -> bytes:
        given: tuple[Any, ...] = get_items(value)
        if len(given) > max_count:
            raise ValueError(f"{len(given)} items are more than {max_count}")
        numbers = get_fixed(value)
        return layout.pack(*numbers[:count_at], len(given), *numbers[count_at:]) + b"".join(map(to_bytes, given))

    def decode(data: bytes) -> T:
        numbers = _unpacked(layout.unpack_from, data, fault)
        count = numbers[count_at]
        end = begin + count * item_bytes
        if count > max_count or end > len(data):
            raise fault(f"it says {count} items and has {len(data) - begin} bytes")
        given = tuple(from_bytes(data[at : at + item_bytes]) for at in range(begin, end, item_bytes))
        return make(*numbers[:count_at], *numbers[count_at + 1 :], given)

    return Layout(value_type, _guarded(encode), decode)


_Pack: TypeAlias = Callable[[Any], bytes]
_Unpack: TypeAlias = Callable[[bytes], tuple[Any, ...]]
_Fault: TypeAlias = Callable[[str], RpcError]


def _fault(value_type: type[Any], *, response: bool) -> _Fault:
    status = RpcStatus.INVALID_RESPONSE_BODY if response else RpcStatus.INVALID_REQUEST_BODY
    name = value_type.__name__
    return lambda detail: RpcError(status, f"{name}: {detail}")


def _unpacked(unpack: _Unpack, data: bytes, fault: _Fault) -> tuple[Any, ...]:
    try:
        return unpack(data)
    except struct.error as error:
        raise fault(f"{len(data)} bytes are too few") from error


def _guarded(encode: Callable[[T], bytes]) -> Callable[[T], bytes]:
    def guarded(value: T) -> bytes:
        try:
            return encode(value)
        except struct.error as error:
            raise ValueError(f"{type(value).__name__} has a field out of range") from error

    return guarded


def _fields(value_type: type[Any]) -> list[str]:
    return [field.name for field in fields(value_type)]


def _names(value_type: type[Any], *, trailing: list[str]) -> list[str]:
    """The names of the dataclass's fields before the trailing ones, which are as given."""
    names = _fields(value_type)
    split = len(names) - len(trailing)
    if names[split:] != trailing:
        raise TypeError(f"the last fields of {value_type.__name__} are not {', '.join(trailing)}")
    return names[:split]


def _tuple_getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) == 1:
        get = attrgetter(names[0])
        return lambda value: (get(value),)
    if not names:
        return lambda _value: ()
    return attrgetter(*names)


def _fixed(struct_format: str, names: list[str], converters: Mapping[str, Converter]) -> tuple[_Pack, _Unpack, int]:
    """How the struct is written, how it is read, and its size in bytes."""
    layout = struct.Struct("<" + struct_format)
    get = _tuple_getter(names)
    pack = layout.pack
    unpack = layout.unpack_from
    if len(unpack(bytes(layout.size))) != len(names):
        raise TypeError(f"{struct_format} does not hold {', '.join(names)}")
    if not converters:
        return (lambda value: pack(*get(value))), unpack, layout.size
    to_bytes = [converters[name].to_bytes if name in converters else None for name in names]
    from_bytes = [converters[name].from_bytes if name in converters else None for name in names]

    def convert(functions: list[Callable[[Any], Any] | None], given: Iterable[Any]) -> tuple[Any, ...]:
        pairs = zip(functions, given, strict=True)
        return tuple([one if function is None else function(one) for function, one in pairs])

    return (
        (lambda value: pack(*convert(to_bytes, get(value)))),
        (lambda data: convert(from_bytes, unpack(data))),
        layout.size,
    )
