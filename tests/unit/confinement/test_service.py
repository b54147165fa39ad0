"""What a service that shut itself out of its user's secure world can still do, and what it cannot."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgeroot.confinement import landlock, process, seccomp
from edgeroot.confinement.service import confine_service
from tests.support.forked import error_of, exit_code_of, outcome_of
from tests.support.requirements import unavailable


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """``config``, ``own``, and ``world`` with a secret and a socket that is listened to."""
    if landlock.abi() == 0 or not seccomp.is_available():
        unavailable("this needs libseccomp and a kernel with Landlock")
    for name in ("config", "own", "world"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    return tmp_path


def confine(places: Path) -> list[str]:
    process.protect_process()
    return confine_service(read=[places / "config"], write=[places / "own"])


def test_the_secure_worlds_files_are_out_of_reach(places: Path) -> None:
    def attempts() -> object:
        assert confine(places) == []
        world = places / "world"
        return [
            error_of((world / "file").read_bytes),
            error_of(lambda: os.listdir(world)),
            error_of(lambda: (world / "file").write_bytes(b"")),
            error_of((world / "file").unlink),
            error_of((world / "new").touch),
            error_of(lambda: world.rename(places / "own" / "world")),
            error_of(lambda: os.listdir("/proc")),
            error_of(lambda: os.listdir(Path.home())),
        ]

    assert outcome_of(attempts) == ["EACCES"] * 8
    assert (places / "world" / "file").read_text() == "world"


def test_the_secure_worlds_processes_are_out_of_reach(places: Path) -> None:
    victim = os.getpid()

    def reach_by_proc() -> object:
        assert confine(places) == []
        return error_of(lambda: Path(f"/proc/{victim}/mem").open("rb").close())

    assert outcome_of(reach_by_proc) == "EACCES"
    for name in ("ptrace", "process_vm_readv"):

        def attack(name: str = name) -> None:
            confine(places)
            getattr(ctypes.CDLL(None), name)(16, victim, 0, 0, 0, 0)

        assert exit_code_of(attack) == -signal.SIGSYS


def test_its_own_work_goes_on(places: Path) -> None:
    path = str(places / "world" / "socket")

    def work() -> object:
        assert confine(places) == []
        (places / "own" / "new").write_text("kept")
        with Path("/dev/null").open("wb") as null:
            null.write(b"gone")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
        ran = subprocess.run([sys.executable, "-I", "-c", "import edgeroot.wire.header"], check=False)
        return [
            (places / "config" / "file").read_text(),
            error_of(lambda: (places / "config" / "file").write_text("")),
            (places / "own" / "new").read_text(),
            len(Path("/dev/urandom").open("rb").read(8)),
            ran.returncode,
        ]

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        assert outcome_of(work) == ["config", "EACCES", "kept", 8, 0]


def test_what_it_can_write_it_cannot_run(places: Path) -> None:
    program = places / "own" / "program"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)

    def run() -> object:
        confine(places)
        return error_of(lambda: subprocess.run([program], check=True))

    assert error_of(lambda: subprocess.run([program], check=True)) == ""
    assert outcome_of(run) == "EACCES"


def test_what_the_system_lacks_is_told(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    monkeypatch.setattr(seccomp, "is_available", lambda: False)
    refused = outcome_of(lambda: confine_service(read=[places], write=[]))
    assert len(refused) == 2
    assert "no Landlock" in refused[0]
    assert "libseccomp" in refused[1]
