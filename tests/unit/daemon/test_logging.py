from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, IntFlag
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.daemon.log_output import LogOutput
from edgeroot.daemon.logging import (
    JsonFormatter,
    TextFormatter,
    effective_level,
    format_time,
    get_logger,
    setup_logging,
    text_value,
)
from edgeroot.daemon.redaction import describe_exception, redact
from edgeroot.psa import Secret

SECRET = b"hunter2"


@dataclass
class Holder:
    key: bytes


class Colour(Enum):
    RED = 1


class Bits(IntFlag):
    ONE = 1
    TWO = 2


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """What is logged goes here after ``setup_logging`` with an output to the descriptor of ``fd_of``."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield tmp_path / "log"
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def fd_of(log_file: Path) -> Iterator[int]:
    fd = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    yield fd
    os.close(fd)


def record(message: object, *args: object, fields: dict[str, object] | None = None) -> logging.LogRecord:
    made = logging.LogRecord("edgeroot.x", logging.INFO, "x.py", 1, message, args, None)
    made.created = 1772366400.25
    made.edgeroot_fields = fields or {}
    return made


def test_text_lines_look_like_upstreams() -> None:
    made = record("Parsec is ready.", fields={"workers": 2, "path": Path("/run/x"), "note": "two words", "none": None})
    assert TextFormatter().format(made) == (
        '[INFO edgeroot.x] Parsec is ready. workers=2 path=/run/x note="two words" none=null'
    )
    assert TextFormatter(timestamps=True).format(made).startswith("[2026-03-01T12:00:00.250Z INFO edgeroot.x] Parsec")


def test_json_lines_are_objects_and_their_own_keys_cannot_be_taken() -> None:
    made = record("hello", fields={"level": "fake", "sizes": [1, 2]})
    assert json.loads(JsonFormatter().format(made)) == {
        "ts": "2026-03-01T12:00:00.250Z",
        "level": "info",
        "module": "edgeroot.x",
        "pid": os.getpid(),
        "message": "hello",
        "level_": "fake",
        "sizes": [1, 2],
    }


@given(st.text())
def test_nothing_logged_can_make_another_line_or_field(text: str) -> None:
    line = TextFormatter().format(record("%s", text, fields={"name": text, "next": 1}))
    assert line.isprintable()
    value = text_value(text)
    assert line.endswith(f" name={value} next=1")
    if value.startswith('"'):
        assert json.loads(value) == text
    else:
        assert value == text
        assert not set(value) & set(' ="')
    assert json.loads(JsonFormatter().format(record(text, fields={"name": text})))["name"] == text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (SECRET, "<7 bytes>"),
        (bytearray(SECRET), "<7 bytes>"),
        (memoryview(SECRET), "<7 bytes>"),
        (memoryview(b"12345678").cast("I"), "<8 bytes>"),
        (Secret(SECRET), "<7 bytes>"),
        (Holder(SECRET), "<Holder>"),
        ([SECRET, 1, {"k": SECRET}], ["<7 bytes>", 1, {"k": "<7 bytes>"}]),
        ({SECRET: (True, None)}, {"<7 bytes>": [True, None]}),
        (frozenset([SECRET]), ["<7 bytes>"]),
        (Colour.RED, "RED"),
        (Bits.ONE | Bits.TWO, "ONE|TWO"),
        (Path("/a"), "/a"),
        (1.5, 1.5),
        (ValueError("bad", 3), "ValueError: ('bad', 3)"),
        (KeyError(SECRET), "KeyError: ['<7 bytes>']"),
        (ValueError(Holder(SECRET)), "ValueError: ['<Holder>']"),
    ],
)
def test_what_may_be_shown_is_decided_by_type(value: object, shown: object) -> None:
    assert redact(value) == shown


def test_bytes_in_messages_of_libraries_are_redacted_too() -> None:
    assert "got <7 bytes> from 3" in TextFormatter().format(record("got %s from %d", SECRET, 3))
    assert "hunter2" not in TextFormatter().format(record("%d", SECRET))
    assert "<7 bytes>" in TextFormatter().format(record("%(key)s", {"key": SECRET}))


def _fail() -> None:
    try:
        SECRET.decode("utf-16")
    except UnicodeDecodeError as error:
        raise ValueError("no\ntext") from error


def test_an_exception_is_one_line_with_its_causes_and_without_bytes() -> None:
    with pytest.raises(ValueError, match="no") as raised:
        _fail()
    text = describe_exception(raised.value)
    assert "hunter2" not in text
    assert text.index("UnicodeDecodeError: ['utf-16") < text.index("ValueError: no\ntext")
    assert "test_logging.py" in text
    made = record("failed")
    made.exc_info = (raised.type, raised.value, raised.tb)
    line = TextFormatter().format(made)
    assert line.isprintable()
    assert line.endswith('ValueError: no\\ntext"')


def test_a_context_that_was_suppressed_is_not_told() -> None:
    def fail() -> None:
        try:
            raise KeyError("inner")
        except KeyError:
            raise ValueError("outer") from None

    with pytest.raises(ValueError, match="outer") as raised:
        fail()
    assert "KeyError: 'inner'" not in describe_exception(raised.value)


@pytest.mark.parametrize(
    ("level", "rust_log", "expected"),
    [
        (None, None, logging.INFO),
        (None, "", logging.INFO),
        (None, "debug", logging.DEBUG),
        (None, "parsec_service=trace", logging.INFO),
        (None, "warn,parsec_service=trace", logging.WARNING),
        (None, "info,WARN/filter", logging.WARNING),
        (None, "nonsense", logging.INFO),
        ("error", "trace", logging.ERROR),
        ("trace", None, 5),
        ("off", None, logging.CRITICAL + 1),
    ],
)
def test_the_configuration_decides_the_level_and_rust_log_after_it(
    level: str | None, rust_log: str | None, expected: int
) -> None:
    assert effective_level(level, {} if rust_log is None else {"RUST_LOG": rust_log}) == expected


def test_logging_to_a_descriptor(log_file: Path, fd_of: int) -> None:
    setup_logging(level="debug", output=LogOutput(fd_of), environ={})
    setup_logging(level="trace", output=LogOutput(fd_of), environ={})  # after a reload: no line comes twice
    log = get_logger("edgeroot.test")
    calls: list[Callable[..., None]] = [log.trace, log.debug, log.info, log.warning, log.error]
    for call in calls:
        call("100 %s", key=SECRET)
    try:
        raise KeyError("gone")
    except KeyError:
        log.exception("oh")
    lines = log_file.read_text().splitlines()
    assert lines[:5] == [
        f'[{level} edgeroot.test] 100 %s key="<7 bytes>"' for level in ("TRACE", "DEBUG", "INFO", "WARN", "ERROR")
    ]
    assert lines[5].startswith('[ERROR edgeroot.test] oh exception="')
    assert lines[5].endswith("KeyError: 'gone'\"")


def test_the_level_and_the_format_are_obeyed(log_file: Path, fd_of: int) -> None:
    setup_logging(level=None, log_format="json", output=LogOutput(fd_of), environ={"RUST_LOG": "warn"})
    get_logger("edgeroot.test").info("no")
    get_logger("edgeroot.test").warning("yes")
    (line,) = log_file.read_text().splitlines()
    assert json.loads(line)["message"] == "yes"
    setup_logging(level="off", output=LogOutput(fd_of), environ={})
    get_logger("edgeroot.test").error("no")
    assert len(log_file.read_text().splitlines()) == 1


def test_a_log_that_cannot_be_written_disturbs_nobody(log_file: Path) -> None:
    log_file.touch()
    fd = os.open(log_file, os.O_RDONLY)
    try:
        setup_logging(level="info", output=LogOutput(fd), environ={})
        get_logger("edgeroot.test").info("x")
    finally:
        os.close(fd)


def test_times_are_utc_with_milliseconds() -> None:
    assert format_time(0.0) == "1970-01-01T00:00:00.000Z"
    assert format_time(951782400.9999) == "2000-02-29T00:00:00.999Z"
