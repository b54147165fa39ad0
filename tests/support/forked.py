"""Trying something in a process of its own: what it gives up is given up there, for ever."""

from __future__ import annotations

import errno
import os
import traceback
from ast import literal_eval
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

_T = TypeVar("_T")

NOBODY: Final = 65534


def children() -> set[int]:
    """The processes that this one has begun and not waited for; tests before may have left some that run for all."""
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def outcome_of(function: Callable[[], _T]) -> _T:
    """What the function returns in a forked process: plain values. AssertionError if it raises or is killed."""
    readable, writable = os.pipe()
    pid = forked(lambda: os.write(writable, repr(function()).encode()))
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        text = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 0, f"the process ended with {code}"
    value: _T = literal_eval(text.decode())
    return value


def exit_code_of(function: Callable[[], object]) -> int:
    """How a forked process ends that calls the function: 0, 1 for an exception, or less for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(forked(function), 0)[1])


def error_of(function: Callable[[], object]) -> str:
    """The name of the error number of the OSError that the function raises, empty if it raises none."""
    try:
        function()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def become_nobody() -> None:
    """Of root: be an ordinary user from now on."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def forked(function: Callable[[], object]) -> int:
    """The id of a new process that calls the function and ends."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        function()
        code = 0
    finally:
        if code:
            traceback.print_exc()
        os._exit(code)
