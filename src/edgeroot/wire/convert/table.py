"""Messages whose valid values can all be listed, matched by what they look like encoded.

Nearly everything that the contract says about key types and algorithms is of this kind: a few hundred nested messages.
Encoded, each is a handful of bytes, so that one dictionary finds the value, and what is not in it is invalid: an unset
oneof, an absent mandatory message, a number that is unknown or "none". That is also several times quicker than walking
through the nesting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from google.protobuf.message import Message

from edgeroot.wire.status import ResponseStatus, WireError

M = TypeVar("M", bound=Message)
N = TypeVar("N", bound=int)
V = TypeVar("V", bound=int)


class Table(Generic[M, V]):
    """Every valid value of a message type, both ways. Messages given out are shared: do not change them."""

    def __init__(self, rows: Iterable[tuple[V, M]]) -> None:
        self._messages: dict[V, M] = dict(rows)
        self._values = {message.SerializeToString(): value for value, message in self._messages.items()}

    def get(self, message: M) -> V | None:
        """The value, None if there is none."""
        value = self._values.get(message.SerializeToString())
        if value is not None:
            return value
        known = type(message)()
        known.CopyFrom(message)
        known.DiscardUnknownFields()  # a newer peer may have added fields
        return self._values.get(known.SerializeToString())

    def decode(self, message: M) -> V:
        """The value; WireError INVALID_ENCODING if there is none."""
        value = self.get(message)
        if value is None:
            raise WireError(ResponseStatus.INVALID_ENCODING, f"no valid {message.DESCRIPTOR.name}")
        return value

    def encode(self, value: V) -> M:
        """The message; WireError SERIALIZING_BODY_FAILED if the contract has none for the value."""
        message = self._messages.get(value)
        if message is None:
            raise not_in_contract(value)
        return message

    def rows(self) -> Iterable[tuple[V, M]]:
        """Values with their messages, for tables built upon this one."""
        return self._messages.items()


class EnumTable(Generic[N, V]):
    """Every valid number of an enumeration, both ways; zero is not among them."""

    def __init__(self, name: str, numbers: Mapping[N, V]) -> None:
        self._name = name
        self._values = dict(numbers)
        self._numbers = {value: number for number, value in numbers.items()}

    def decode(self, number: N) -> V:
        """The value; WireError INVALID_ENCODING if there is none."""
        value = self._values.get(number)
        if value is None:
            raise WireError(ResponseStatus.INVALID_ENCODING, f"{self._name} {number} is not valid")
        return value

    def rows(self) -> Iterable[tuple[N, V]]:
        """Numbers with their values, for tables built upon this one."""
        return self._values.items()

    def encode(self, value: V) -> N:
        """The number; WireError SERIALIZING_BODY_FAILED if the contract has none for the value."""
        number = self._numbers.get(value)
        if number is None:
            raise not_in_contract(value)
        return number


def not_in_contract(value: object) -> WireError:
    """The error for a value that cannot travel."""
    return WireError(ResponseStatus.SERIALIZING_BODY_FAILED, f"the contract cannot express {value!r}")
