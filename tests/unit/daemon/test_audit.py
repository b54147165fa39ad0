from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.daemon.audit import AuditLog, format_audit_json, format_audit_text
from edgeroot.daemon.log_output import LogOutput

# Time, opcode, provider, authenticator, application, key, status, duration, uid, pid, quota.
ENTRY = (1772366400.25, "PsaSignHash", "p", 3, "1000", "my key", "Success", 84, 1000, 77, "")
NAMES = st.text(max_size=100)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.set_blocking(reading, False)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def read_all(fd: int) -> bytes:
    received = b""
    while True:
        try:
            received += os.read(fd, 1 << 20)
        except BlockingIOError:
            return received


def test_the_line_as_json() -> None:
    assert json.loads(format_audit_json(*ENTRY)) == {
        "ts": "2026-03-01T12:00:00.250Z",
        "event": "key_operation",
        "opcode": "PsaSignHash",
        "provider": "p",
        "authenticator": 3,
        "application": "1000",
        "key": "my key",
        "status": "Success",
        "duration_us": 84,
        "uid": 1000,
        "pid": 77,
    }


def test_the_line_as_text() -> None:
    assert format_audit_text(*ENTRY) == (
        "[2026-03-01T12:00:00.250Z AUDIT edgeroot] key_operation opcode=PsaSignHash provider=p authenticator=3 "
        'application=1000 key="my key" status=Success duration_us=84 uid=1000 pid=77\n'
    )


def test_what_goes_beyond_a_quota_says_so() -> None:
    beyond = (*ENTRY[:-1], "max_keys")
    assert json.loads(format_audit_json(*beyond))["quota"] == "max_keys"
    assert format_audit_text(*beyond).endswith(" pid=77 quota=max_keys\n")


@given(NAMES, NAMES, NAMES)
def test_no_name_can_forge_a_line_or_a_field(provider: str, application: str, key: str) -> None:
    entry = (0.0, "PsaSignHash", provider, 1, application, key, "Success", 1, 2, 3)
    as_json = format_audit_json(*entry)
    decoded = json.loads(as_json)
    assert decoded["provider"] == provider
    assert decoded["status"] == "Success"
    assert len(decoded) == 11
    as_text = format_audit_text(*entry)
    for line in (as_json, as_text):
        assert line.endswith("\n")
        assert len(line[:-1].splitlines()) == 1
    assert (decoded["application"], decoded["key"]) == (application, key)
    assert as_text[:-1].isprintable()


@pytest.mark.parametrize("form", [format_audit_json, format_audit_text])
@pytest.mark.parametrize("char", ["a", "\x00", "\u2603", "\U0001f511"])
@pytest.mark.parametrize("length", [125, 250, 375, 1500, 1_000_000])
def test_the_longest_names_still_make_an_atomic_line_and_remain_distinct(
    form: Callable[..., str], char: str, length: int
) -> None:
    first, second = (
        form(0.0, "PsaSignHash", "p", 1, name, name, "Success", 1, 2, 3)
        for name in (char * length, char * length + "x")
    )
    assert len(first.encode()) <= 4096
    assert first != second


def test_an_ordinary_long_name_is_shown_whole() -> None:
    name = "spiffe://example.org/" + "x" * 1400
    assert json.loads(format_audit_json(0.0, "PsaSignHash", "p", 4, name, name, "Success", 1, 2, 3))["key"] == name


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_lines_wait_for_the_flush_and_come_in_order(tmp_path: Path, log_format: str) -> None:
    file = tmp_path / "audit"
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        audit = AuditLog(LogOutput(fd), log_format=log_format)
        audit.flush(0.0)
        for pid in range(100):
            audit.record((*ENTRY[:-2], pid, ""))
        assert file.read_bytes() == b""
        assert audit.pending
        audit.flush(0.0)
    finally:
        os.close(fd)
    form = format_audit_json if log_format == "json" else format_audit_text
    assert file.read_text() == "".join(form(*ENTRY[:-2], pid, "") for pid in range(100))
    assert not audit.pending


def test_entries_that_are_many_or_long_do_not_wait_to_become_lines(tmp_path: Path) -> None:
    """Names may be as long as a request: only what is shown of them is kept."""
    fd = os.open(tmp_path / "audit", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        audit = AuditLog(LogOutput(fd))
        audit.record((*ENTRY[:5], "n" * 1_000_000, *ENTRY[6:]))
        assert 0 < audit.pending_bytes < 4096
        for _ in range(1000):
            audit.record(ENTRY)
        assert audit.pending_bytes > 100 * len(format_audit_json(*ENTRY))
    finally:
        os.close(fd)


def test_a_pipe_gets_whole_lines_in_atomic_writes(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = pipe
    audit = AuditLog(LogOutput(writing))
    for _ in range(100):
        audit.record(ENTRY)
    sizes = []
    write = os.write

    def noting_write(fd: int, block: bytes) -> int:
        assert block.endswith(b"\n")
        sizes.append(len(block))
        return write(fd, block)

    monkeypatch.setattr(os, "write", noting_write)
    audit.flush(0.0)
    assert max(sizes) <= 4096
    assert read_all(reading) == format_audit_json(*ENTRY).encode() * 100


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_full_pipe_makes_lines_wait_then_get_lost_and_the_loss_is_told(
    pipe: tuple[int, int], log_format: str
) -> None:
    reading, writing = pipe
    audit = AuditLog(LogOutput(writing), log_format=log_format, limit_bytes=1000)
    written = 0
    while not audit.lost_lines:
        audit.record(ENTRY)
        audit.flush(0.0)
        written += 1
    assert 0 < audit.pending_bytes <= 1000
    first = read_all(reading)
    audit.flush(0.0)
    lines = (first + read_all(reading)).decode().splitlines(keepends=True)
    form = format_audit_json if log_format == "json" else format_audit_text
    assert lines[:-1] == [form(*ENTRY)] * (written - 1)
    loss = (
        '{"ts":"1970-01-01T00:00:00.000Z","event":"audit_lost","lines":1}\n'
        if log_format == "json"
        else "[1970-01-01T00:00:00.000Z AUDIT edgeroot] audit_lost lines=1\n"
    )
    assert lines[-1] == loss
    assert (audit.pending_bytes, audit.lost_lines) == (0, 0)


def test_a_write_cut_short_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "audit"
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    write = os.write
    try:
        audit = AuditLog(LogOutput(fd))
        audit.record(ENTRY)
        audit.record(ENTRY)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda fd, block: write(fd, block[:300]))
            audit.flush(0.0)
        audit.flush(0.0)
    finally:
        os.close(fd)
    assert file.read_text() == format_audit_json(*ENTRY) * 2
    assert not audit.pending
