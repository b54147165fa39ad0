"""What of a value may be shown in a log: decided by its type, so that nobody has to remember it at the call.

Numbers, strings, paths and names of enumerations are shown. Bytes of any kind show their length only, because they may
be key material, plaintext or a token. Everything else shows the name of its type: its printed form may hold bytes.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath

Shown = str | int | float | bool | list["Shown"] | dict[str, "Shown"] | None


def redact(value: object) -> Shown:
    """A form of ``value`` that JSON can hold and that tells no secret."""
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{memoryview(value).nbytes} bytes>"
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, BaseException):
        return _redact_exception(value)
    if isinstance(value, Mapping):
        return {str(redact(key)): redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item) for item in value]
    return f"<{type(value).__name__}>"


def describe_exception(error: BaseException) -> str:
    """Traceback and redacted message of an exception and of those that led to it, the first cause first."""
    chain = [error]
    while (earlier := _led_to(chain[-1])) is not None and earlier not in chain:
        chain.append(earlier)
    return "\n".join(f"{''.join(traceback.format_tb(one.__traceback__))}{redact(one)}" for one in reversed(chain))


def _led_to(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _redact_exception(error: BaseException) -> str:
    """Its type and message; the message only piecewise if it may have been made from more than plain values."""
    if all(isinstance(arg, str | int | float | PurePath | None) for arg in error.args):
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__}: {redact(error.args)}"
