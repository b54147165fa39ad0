from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeroot.confinement import landlock, partition, process, seccomp
from tests.support.forked import error_of, exit_code_of, outcome_of
from tests.support.requirements import unavailable


@pytest.fixture
def filter_program() -> bytes:
    program = partition.system_call_filter()
    if not program or landlock.abi() == 0:
        unavailable("this needs libseccomp and a kernel with Landlock")
    return program


def test_from_the_start_resources_are_bounded_and_the_process_is_named() -> None:
    def protected() -> tuple[list[str], list[tuple[int, int]], str, bool, str]:
        refused = partition.protect("crypto")
        kinds = (resource.RLIMIT_CORE, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)
        limits = [resource.getrlimit(kind) for kind in kinds]
        status = Path("/proc/self/status").read_text()
        name = Path("/proc/self/comm").read_text().strip()
        return [one for one in refused if "swapped" not in one], limits, name, process.is_traceable(), status

    refused, limits, name, traceable, status = outcome_of(protected)
    assert refused == []
    assert limits[0] == (0, 0)
    assert all(0 < hard <= bound for (_, hard), bound in zip(limits[1:], (256, 4096, 1 << 32), strict=True))
    assert name == "edgeroot-crypto"
    assert not traceable
    assert "NoNewPrivs:\t1" in status


def test_confined_it_has_its_own_folder_and_nothing_else(tmp_path: Path, filter_program: bytes) -> None:
    own, code, other = (tmp_path / name for name in ("own", "code", "other"))
    for folder in (own, code, other):
        folder.mkdir()
        (folder / "file").write_text(folder.name)

    def attempts() -> tuple[list[str], list[str]]:
        partition.protect("test")
        refused = partition.confine(read=[code], write=[own], system_calls=filter_program)
        return refused, [
            error_of((own / "file").read_text),
            error_of(lambda: (own / "new").write_text("new")),
            error_of((code / "file").read_text),
            error_of(lambda: (code / "file").write_text("")),
            error_of((other / "file").read_text),
            error_of(lambda: os.listdir("/proc")),
            error_of(socket.socket),
            error_of(os.fork),
            error_of(lambda: os.execv("/bin/true", ["true"])),
            error_of(lambda: os.kill(parent, 0)),
        ]

    parent = os.getpid()
    scoped = "EPERM" if landlock.abi() >= 6 else ""
    assert outcome_of(attempts) == (
        [],
        ["", "", "", "EACCES", "EACCES", "EACCES", "EPERM", "EPERM", "EPERM", scoped],
    )


def test_confined_it_is_ended_when_it_reaches_for_another_process(filter_program: bytes) -> None:
    def attack() -> None:
        partition.protect("test")
        partition.confine(read=(), write=(), system_calls=filter_program)
        seccomp._libc.setns(0, 0)

    assert exit_code_of(attack) == -signal.SIGSYS


def test_what_the_system_lacks_is_told_and_the_rest_done(
    tmp_path: Path, filter_program: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_seccomp() -> tuple[list[str], str]:
        partition.protect("test")
        return partition.confine(read=(), write=(), system_calls=b""), error_of(lambda: os.listdir(tmp_path))

    refused, error = outcome_of(without_seccomp)
    assert refused == ["every system call stays open (libseccomp is not there)"]
    assert error == "EACCES"

    monkeypatch.setattr(landlock, "abi", lambda: 0)

    def without_landlock() -> tuple[list[str], str]:
        partition.protect("test")
        return partition.confine(read=(), write=(), system_calls=filter_program), error_of(socket.socket)

    [sentence], error = outcome_of(without_landlock)
    assert "no Landlock" in sentence
    assert error == "EPERM"


def test_memory_is_locked_anew_for_locks_are_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def measure(name: str) -> Callable[..., list[str]]:
        def take(*_arguments: object, **_options: object) -> list[str]:
            asked.append(name)
            return [f"no {name}"]

        return take

    monkeypatch.setattr(process, "lock_memory", measure("locks"))
    monkeypatch.setattr(landlock, "restrict", measure("files"))
    monkeypatch.setattr(seccomp, "install", measure("calls"))
    assert partition.confine(read=(), write=(), system_calls=b"x") == ["no files", "no calls"]
    # The filter comes last: it would keep the others from being applied.
    assert asked == ["locks", "files", "calls"]
