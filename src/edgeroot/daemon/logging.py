"""The service's log: one line an event, as text (``[LEVEL module] message key=value``) or as a JSON object.

It stands on the standard library's logging, so that what libraries log comes out the same way. Our own modules use
:func:`get_logger`, whose methods take fields. Nothing that a client sends can begin a new line or a new field.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from time import gmtime, strftime
from typing import Final

from edgeroot.daemon.log_output import LogOutput, standard_error
from edgeroot.daemon.redaction import Shown, describe_exception, redact

TRACE: Final = 5
DEFAULT_LEVEL: Final = "info"
_MAX_WAITING_BYTES: Final = 256 * 1024
_LEVELS: Final = {
    "off": logging.CRITICAL + 1,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}
_FIELDS: Final = "edgeroot_fields"
_PLAIN_WORD: Final = re.compile(r'[^ "\\=]+')


class Logger:
    """A named logger whose methods take a message and fields. Fields are redacted by type, see :func:`redact`."""

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def trace(self, message: str, /, **fields: object) -> None:
        self._log(TRACE, message, fields)

    def debug(self, message: str, /, **fields: object) -> None:
        self._log(logging.DEBUG, message, fields)

    def info(self, message: str, /, **fields: object) -> None:
        self._log(logging.INFO, message, fields)

    def warning(self, message: str, /, **fields: object) -> None:
        self._log(logging.WARNING, message, fields)

    def error(self, message: str, /, **fields: object) -> None:
        self._log(logging.ERROR, message, fields)

    def exception(self, message: str, /, **fields: object) -> None:
        """An error together with the exception being handled."""
        self._log(logging.ERROR, message, fields, exc_info=True)

    def _log(self, level: int, message: str, fields: dict[str, object], *, exc_info: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, message, exc_info=exc_info, extra={_FIELDS: fields})


def get_logger(name: str) -> Logger:
    """The logger of a module; call it with ``__name__``."""
    return Logger(name)


def setup_logging(
    *,
    level: str | None,
    log_format: str = "text",
    timestamps: bool = False,
    environ: Mapping[str, str] | None = None,
    output: LogOutput | None = None,
) -> None:
    """Send the log of this process and of those it forks to ``output``, which is standard error if it is not given; to
    be called again after a reload.

    ``level`` is ``log_level`` of the configuration; if None, RUST_LOG decides, then :data:`DEFAULT_LEVEL`.
    """
    handler = _OutputHandler(output or standard_error())
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter(timestamps=timestamps))
    root = logging.getLogger()
    for old in _handlers():
        old.flush()
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(effective_level(level, os.environ if environ is None else environ))


def forget_waiting_lines() -> None:
    """In a forked child: lines that wait to be written are the parent's."""
    for handler in _handlers():
        handler.forget()


def effective_level(level: str | None, environ: Mapping[str, str]) -> int:
    """The number of the level in force. Of RUST_LOG (``warn,parsec_service=debug``) only the general part counts."""
    if level is None:
        general = [part.strip().lower() for part in environ.get("RUST_LOG", "").split("/", 1)[0].split(",")]
        level = next((part for part in reversed(general) if part in _LEVELS), DEFAULT_LEVEL)
    return _LEVELS[level]


class _OutputHandler(logging.Handler):
    """Writes each line with one call, so that lines of several processes do not mix.

    A log that cannot be written is no reason to refuse service. Lines wait for the next one; when too many do, further
    ones are lost, and as soon as lines pass again, one says how many.
    """

    def __init__(self, output: LogOutput) -> None:
        super().__init__()
        self._output = output
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._lost_lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.flush()
        line = self.format(record).encode() + b"\n"
        if self._waiting_bytes + len(line) > _MAX_WAITING_BYTES:
            self._lost_lines += 1
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        self.flush()

    def flush(self) -> None:
        """Write what waits, as far as it is taken."""
        while self._waiting and self._output.write(self._waiting[0]):
            self._waiting_bytes -= len(self._waiting.popleft())
        if self._lost_lines and not self._waiting:
            lost, self._lost_lines = self._lost_lines, 0
            self._waiting.append(self.format(_loss(lost)).encode() + b"\n")
            self._waiting_bytes = len(self._waiting[0])
            self.flush()

    def forget(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = self._lost_lines = 0
        self._output.forget()


def _handlers() -> list[_OutputHandler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, _OutputHandler)]


def _loss(lines: int) -> logging.LogRecord:
    record = logging.LogRecord(__name__, logging.ERROR, __file__, 0, "lines of this log were lost", None, None)
    record.__dict__[_FIELDS] = {"lines": lines}
    return record


class TextFormatter(logging.Formatter):
    """``[2026-03-01T12:00:00.000Z INFO edgeroot.daemon.loop] message key=value``."""

    def __init__(self, *, timestamps: bool = False) -> None:
        super().__init__()
        self._timestamps = timestamps

    def format(self, record: logging.LogRecord) -> str:
        time = f"{format_time(record.created)} " if self._timestamps else ""
        message = _message(record)
        if not message.isprintable():
            message = encode_basestring_ascii(message)[1:-1]
        fields = "".join(f" {key}={text_value(value)}" for key, value in _fields(record).items())
        return f"[{time}{_level_name(record.levelno)} {record.name}] {message}{fields}"


class JsonFormatter(logging.Formatter):
    """An object with ``ts``, ``level``, ``module``, ``pid``, ``message`` and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Shown] = {
            "ts": format_time(record.created),
            "level": _level_name(record.levelno).lower(),
            "module": record.name,
            "pid": record.process,
            "message": _message(record),
        }
        for key, value in _fields(record).items():
            line[f"{key}_" if key in line else key] = value
        return json.dumps(line)


def text_value(value: Shown) -> str:
    """A field's value in a text line: as it is if it is one plain word, else as JSON in ASCII."""
    if not isinstance(value, str):
        return json.dumps(value)
    return value if value.isprintable() and _PLAIN_WORD.fullmatch(value) else encode_basestring_ascii(value)


def format_time(time_s: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC with milliseconds."""
    return _format_millisecond(int(time_s * 1000))


@lru_cache(maxsize=8)
def _format_millisecond(time_ms: int) -> str:
    seconds, milliseconds = divmod(time_ms, 1000)
    return f"{_format_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=8)
def _format_second(seconds: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds))


def _level_name(number: int) -> str:
    return next((name.upper() for name, level in _LEVELS.items() if number >= level and name != "off"), "TRACE")


def _message(record: logging.LogRecord) -> str:
    """The message with its arguments, of which only what may be shown: libraries may log bytes."""
    message = str(record.msg)
    if not record.args:
        return message
    if isinstance(record.args, Mapping):
        shown: object = {key: redact(value) for key, value in record.args.items()}
    else:
        shown = tuple(redact(value) for value in record.args)
    try:
        return message % shown
    except (TypeError, ValueError, KeyError):
        return message


def _fields(record: logging.LogRecord) -> dict[str, Shown]:
    fields = {key: redact(value) for key, value in getattr(record, _FIELDS, {}).items()}
    if record.exc_info and record.exc_info[1] is not None:
        fields["exception"] = describe_exception(record.exc_info[1])
    return fields
