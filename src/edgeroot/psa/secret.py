"""Bytes that must never show in a log, a repr or an error."""

from __future__ import annotations


class Secret(bytes):
    """Key material or another secret: ordinary bytes whose printed form never tells anything but the length."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Secret of {len(self)} bytes>"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return repr(self)
