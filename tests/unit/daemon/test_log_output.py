from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeroot.daemon.log_output import ATOMIC_BYTES, LogOutput
from edgeroot.daemon.logging import forget_waiting_lines, get_logger, setup_logging

LINE = b"x" * 99 + b"\n"


def read_all(fd: int) -> bytes:
    received = b""
    while True:
        try:
            data = os.read(fd, 1 << 20)
        except BlockingIOError:
            return received
        if not data:
            return received
        received += data


def pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 2 * ATOMIC_BYTES)
    return reading, writing


def sockets() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def terminal() -> tuple[int, int]:
    return os.openpty()


@contextmanager
def opened(make: Callable[[], tuple[int, int]]) -> Iterator[tuple[int, LogOutput]]:
    """Where to read, and an output to a descriptor that makes its writers wait, as an inherited one does."""
    reading, writing = make()
    os.set_blocking(reading, False)
    assert os.get_blocking(writing)
    output = LogOutput(writing)
    try:
        yield reading, output
        assert os.get_blocking(writing)  # others who have it are not disturbed
    finally:
        output.close()
        os.close(reading)
        os.close(writing)


@pytest.fixture(params=["opened again", "asked first"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that another user has made cannot be opened again."""
    if request.param == "asked first":

        def refuse(path: str, flags: int) -> int:
            raise PermissionError(path, flags)

        monkeypatch.setattr("edgeroot.daemon.log_output.os.open", refuse)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("make", [pipe, sockets])
def test_what_is_not_taken_is_refused_at_once_and_taken_later(make: Callable[[], tuple[int, int]]) -> None:
    check_refusing(make)


def test_a_terminal_that_shows_nothing_just_now() -> None:
    check_refusing(terminal)


def check_refusing(make: Callable[[], tuple[int, int]]) -> None:
    with opened(make) as (reading, output):
        taken = 0
        while output.write(LINE):
            taken += 1
        assert taken > 5
        first = read_all(reading)
        assert output.write(LINE)
        received = (first + read_all(reading)).replace(b"\r\n", b"\n")
    assert received == LINE * (taken + 1)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("make", [pipe, sockets])
def test_a_line_of_which_a_part_was_taken_is_ended_first(make: Callable[[], tuple[int, int]]) -> None:
    long = b"y" * (1 << 20) + b"\n"
    with opened(make) as (reading, output):
        assert output.write(long)
        assert not output.write(LINE)
        assert not output.finish()
        received = b""
        while not output.finish():
            received += read_all(reading)
        received += read_all(reading)
        assert output.write(LINE)
        assert received + read_all(reading) == long + LINE


def test_a_child_does_not_end_what_its_parent_has_begun() -> None:
    with opened(pipe) as (reading, output):
        output.write(b"y" * (3 * ATOMIC_BYTES))
        read_all(reading)
        output.forget()
        assert output.write(LINE)
        assert read_all(reading) == LINE


def test_a_pipe_without_a_reader_disturbs_nobody() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    output = LogOutput(writing)
    assert not output.write(LINE)
    output.close()
    os.close(writing)


def test_writers_to_one_file_do_not_overwrite_each_other(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT, 0o600)
    output = LogOutput(fd)
    assert output.max_block_bytes is None
    for _ in range(3):
        os.write(fd, b"theirs\n")
        assert output.write(b"ours\n")
    os.close(fd)
    assert (tmp_path / "log").read_text() == "theirs\nours\n" * 3


@pytest.fixture
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
    root.setLevel(level)


@pytest.mark.usefixtures("_root_logger")
def test_log_lines_wait_then_get_lost_and_the_loss_is_told() -> None:
    log = get_logger("edgeroot.test")
    with opened(pipe) as (reading, output):
        setup_logging(level="info", output=output, environ={})
        total = 10_000
        for number in range(total):
            log.info("line", number=number, padding="x" * 60)
        received = read_all(reading).decode().splitlines()
        kept = 0
        while new := _read_after(log.info, reading):
            received += new
            kept += 1
            if any("lost" in line for line in new):
                break
    numbers = [line.split("number=")[1].split()[0] for line in received if "number=" in line]
    assert numbers == [str(number) for number in range(len(numbers))]
    (lost,) = [line for line in received if "lost" in line]
    # Among the lost ones are those by which this test made the log go on.
    assert 0 <= int(lost.rpartition("lines=")[2]) - (total - len(numbers)) <= kept
    assert lost.startswith("[ERROR edgeroot.daemon.logging] lines of this log were lost")


def _read_after(info: Callable[[str], None], reading: int) -> list[str]:
    info("go on")
    return read_all(reading).decode().splitlines()


@pytest.mark.usefixtures("_root_logger")
def test_a_child_forgets_its_parents_lines() -> None:
    log = get_logger("edgeroot.test")
    with opened(pipe) as (reading, output):
        setup_logging(level="info", output=output, environ={})
        for _ in range(1000):
            log.info("parent's")
        read_all(reading)
        forget_waiting_lines()
        log.info("child's")
        assert read_all(reading) == b"[INFO edgeroot.test] child's\n"
