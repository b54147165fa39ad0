"""What the parameters of a query say, and HttpError 400 for those that say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from edgeroot.verifier.server.http import HttpError, Request

_ANY: Final = 1 << 62
_Choice = TypeVar("_Choice", bound=StrEnum)


def only(request: Request, *names: str) -> Mapping[str, str]:
    """The query, if it has no other parameters: what is not understood would show too much or too little."""
    for name in request.query:
        if name not in names:
            known = ", ".join(names) or "none"
            raise HttpError(400, f"the parameter {name[:40]!r} is not understood; there are: {known}")
    return request.query


def choice(query: Mapping[str, str], name: str, kind: type[_Choice]) -> _Choice | None:
    if name not in query:
        return None
    try:
        return kind(query[name])
    except ValueError as error:
        raise HttpError(400, f"{name} is one of {', '.join(kind)}") from error


def number(query: Mapping[str, str], name: str, *, most: int = _ANY) -> int | None:
    if name not in query:
        return None
    text = query[name]
    if not text.isascii() or not text.isdecimal() or len(text) > 19 or not 0 < int(text) <= most:
        raise HttpError(400, f"{name} is a number from 1" + (f" to {most}" if most < _ANY else ""))
    return int(text)


def octets(query: Mapping[str, str], name: str) -> bytes | None:
    if name not in query:
        return None
    try:
        return bytes.fromhex(query[name])
    except ValueError as error:
        raise HttpError(400, f"{name} is hexadecimal") from error
