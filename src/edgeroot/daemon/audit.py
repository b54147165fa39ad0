"""The audit log: one line for each operation on a key, saying who did what to which key and how it ended.

Every request pays for it. So a request only leaves its particulars, and lines are put together when they are written,
many in a row, which takes a fraction of the time that it takes between other work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Final, TypeAlias

from edgeroot.daemon.log_output import LogOutput
from edgeroot.daemon.logging import format_time, text_value

_MAX_SHOWN_BYTES: Final = 1500  # of the two names that clients choose; so no line is longer than ATOMIC_BYTES
_BEGINNING_CHARS: Final = 100
_DIGEST_CHARS: Final = 32
_SURELY_SHORT_CHARS: Final = _MAX_SHOWN_BYTES // 12  # no character takes more in either form
_KNOWN: Final = 1024
_NOTED_MAX: Final = 256


def format_audit_json(
    time_s: float,
    opcode: str,
    provider: str,
    authenticator: int,
    application: str,
    key: str,
    status: str,
    duration_us: int,
    uid: int,
    pid: int,
    quota: str = "",
) -> str:
    """A JSON object. ``opcode`` and ``status`` are the protocol's names; the other strings can hold anything.

    Of a name that would take more than 1500 bytes the beginning is shown and the beginning of its SHA-256.
    """
    who = _who_json(provider, authenticator, application)
    beyond = f',"quota":"{quota}"' if quota else ""
    return (
        f'{{"ts":"{format_time(time_s)}","event":"key_operation","opcode":"{opcode}",{who},'
        f'"key":{_bounded(key, encode_basestring_ascii)},"status":"{status}",'
        f'"duration_us":{duration_us},"uid":{uid},"pid":{pid}{beyond}}}\n'
    )


# An application does much: its name is quoted once.
@lru_cache(maxsize=_KNOWN)
def _who_json(provider: str, authenticator: int, application: str) -> str:
    return (
        f'"provider":{encode_basestring_ascii(provider)},"authenticator":{authenticator},'
        f'"application":{_bounded(application, encode_basestring_ascii)}'
    )


def format_audit_text(
    time_s: float,
    opcode: str,
    provider: str,
    authenticator: int,
    application: str,
    key: str,
    status: str,
    duration_us: int,
    uid: int,
    pid: int,
    quota: str = "",
) -> str:
    """The same as ``[time AUDIT edgeroot] key_operation key=value``; values that are not one plain word are quoted."""
    who = _who_text(provider, authenticator, application)
    beyond = f" quota={quota}" if quota else ""
    return (
        f"[{format_time(time_s)} AUDIT edgeroot] key_operation opcode={opcode} {who} "
        f"key={_bounded(key, text_value)} status={status} duration_us={duration_us} uid={uid} pid={pid}{beyond}\n"
    )


@lru_cache(maxsize=_KNOWN)
def _who_text(provider: str, authenticator: int, application: str) -> str:
    return (
        f"provider={text_value(provider)} authenticator={authenticator} application={_bounded(application, text_value)}"
    )


def _bounded(name: str, show: Callable[[str], str]) -> str:
    if len(name) <= _SURELY_SHORT_CHARS:
        return show(name)
    if len(name) <= _MAX_SHOWN_BYTES:
        shown = show(name)
        if len(shown.encode()) <= _MAX_SHOWN_BYTES:
            return shown
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    return show(f"{name[:_BEGINNING_CHARS]}…sha256:{digest}")


Entry: TypeAlias = tuple[float, str, str, int, str, str, str, int, int, int, str]
"""The arguments of :func:`format_audit_json`."""


class AuditLog:
    """Collects entries and writes them when told to.

    If the output does not take them (a full pipe, a full disk), their lines wait, up to ``limit_bytes``; further ones
    are lost, and as soon as lines pass again, one line says how many. Lines of several processes do not mix.
    """

    def __init__(self, output: LogOutput, *, log_format: str = "json", limit_bytes: int = 1 << 20) -> None:
        self._output = output
        self._format: Callable[..., str] = format_audit_text if log_format == "text" else format_audit_json
        self._json = log_format != "text"
        self._limit_bytes = limit_bytes
        self._noted: list[Entry] = []  # not yet a line
        self._lines: list[bytes] = []
        self.pending_bytes = 0  # of lines
        self.lost_lines = 0  # of which nothing has been said yet
        self.lost_lines_total = 0

    def record(self, entry: Entry) -> None:
        """Add an entry."""
        self._noted.append(entry)
        if len(self._noted) >= _NOTED_MAX or len(entry[4]) + len(entry[5]) > _MAX_SHOWN_BYTES:
            self._put_together()

    @property
    def pending(self) -> bool:
        """Whether there is anything to be written."""
        return bool(self._noted or self._lines)

    def _put_together(self) -> None:
        for entry in self._noted:
            line = self._format(*entry).encode()
            if self.pending_bytes + len(line) > self._limit_bytes:
                self.lost_lines += 1
                self.lost_lines_total += 1
            else:
                self._lines.append(line)
                self.pending_bytes += len(line)
        self._noted.clear()

    def flush(self, time_s: float) -> None:
        """Write what there is; ``time_s`` dates the line about lost lines, if there is to be one.

        What could not be written is still :attr:`pending`.
        """
        self._put_together()
        self._output.finish()
        if self._lines:
            self._write_lines()
        if self.lost_lines and not self._lines:
            self._lines.append(self._loss(time_s))
            self.pending_bytes = len(self._lines[0])
            self.lost_lines = 0
            self._write_lines()

    def _write_lines(self) -> None:
        while self._lines:
            count = self._count(self._output.max_block_bytes)
            block = b"".join(self._lines[:count])
            if not self._output.write(block):
                return
            self.pending_bytes -= len(block)
            del self._lines[:count]

    def _count(self, max_bytes: int | None) -> int:
        """How many lines, one at least, fit into a block."""
        if max_bytes is None:
            return len(self._lines)
        total = 0
        for count, line in enumerate(self._lines):
            total += len(line)
            if total > max_bytes and count:
                return count
        return len(self._lines)

    def _loss(self, time_s: float) -> bytes:
        time = format_time(time_s)
        if self._json:
            return f'{{"ts":"{time}","event":"audit_lost","lines":{self.lost_lines}}}\n'.encode()
        return f"[{time} AUDIT edgeroot] audit_lost lines={self.lost_lines}\n".encode()
