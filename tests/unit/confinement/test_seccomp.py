"""Which system calls are left to a process that installed a filter, tried in processes of their own."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import importlib
import mmap
import os
import platform
import select
import signal
import socket
import termios
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from edgeroot.confinement import process, seccomp
from tests.support.forked import become_nobody, error_of, exit_code_of, outcome_of

if not seccomp.is_available():
    pytest.skip("this needs libseccomp", allow_module_level=True)

NO_SUCH_FILE = b"/nonexistent"
FIONBIO = 0x5421
TIOCSTI = 0x5412
X32_BIT = 0x40000000
EVERYTHING = None
_libc = ctypes.CDLL(None, use_errno=True)


def number_of(name: str) -> int:
    """Negative for a system call that this architecture does not have."""
    pyseccomp = importlib.import_module("pyseccomp")  # which fails to load without the library
    number: int = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    return number


def system_call(name: str, *arguments: int) -> None:
    ctypes.set_errno(0)
    if _libc.syscall(number_of(name), *arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def filtered(
    allowed: Iterable[str] | None, function: Callable[[], object], *, requests: Iterable[int] = ()
) -> Callable[[], object]:
    """The function after a filter was installed."""
    program = seccomp.compile_filter(allowed, requests=requests)

    def run() -> object:
        process.protect_process()
        assert seccomp.install(program) == []
        return function()

    return run


def test_the_lists_hold_names_of_system_calls_once_and_apart() -> None:
    # Of another architecture, or younger than the library here.
    elsewhere = {"vm86", "iopl", "ioperm", "nfsservctl", "futex_waitv", "process_madvise", "mount_setattr"}
    for names in (seccomp.PARTITION, seccomp.HOSTILE):
        assert len(names) == len(set(names))
        assert {name for name in names if number_of(name) < 0} <= elsewhere
    assert not set(seccomp.PARTITION) & set(seccomp.HOSTILE)


@pytest.mark.parametrize("allowed", [seccomp.PARTITION, EVERYTHING], ids=["partition", "everything"])
@pytest.mark.parametrize("name", [name for name in seccomp.HOSTILE if number_of(name) >= 0])
def test_who_attacks_is_ended(name: str, allowed: tuple[str, ...] | None) -> None:
    attack = filtered(allowed, lambda: system_call(name, 0, 0, 0, 0, 0, 0))
    assert exit_code_of(attack) == -signal.SIGSYS


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the other calling convention is that of x86-64")
@pytest.mark.parametrize("allowed", [seccomp.PARTITION, EVERYTHING], ids=["partition", "everything"])
def test_another_calling_convention_is_no_way_around(allowed: tuple[str, ...] | None) -> None:
    attack = filtered(allowed, lambda: _libc.syscall(X32_BIT | number_of("getpid")))
    assert exit_code_of(attack) == -signal.SIGSYS


class TestPartition:
    """What a partition's process is left with."""

    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("socket", (socket.AF_INET, socket.SOCK_STREAM, 0)),
            ("socket", (socket.AF_UNIX, socket.SOCK_STREAM, 0)),
            ("socketpair", (socket.AF_UNIX, socket.SOCK_STREAM, 0, 0)),
            ("connect", (0, 0, 0)),
            ("bind", (0, 0, 0)),
            ("listen", (0, 1)),
            ("accept4", (0, 0, 0, 0)),
            ("execve", (0, 0, 0)),
            ("execveat", (-1, 0, 0, 0, 0)),
            ("clone", (int(signal.SIGCHLD), 0, 0, 0, 0)),
            ("clone3", (0, 0)),
            ("setuid", (0,)),
            ("setresuid", (0, 0, 0)),
            ("setgroups", (0, 0)),
            ("capset", (0, 0)),
            ("mknodat", (-100, 0, 0, 0)),
            ("fchownat", (-100, 0, 0, 0, 0)),
            ("symlinkat", (0, -100, 0)),
            ("setxattr", (0, 0, 0, 0, 0)),
            ("inotify_init1", (0,)),
            ("pidfd_open", (1, 0)),
            ("seccomp", (1, 0, 0)),
            ("personality", (0,)),
            ("sethostname", (0, 0)),
            ("syslog", (3, 0, 0)),
            ("shmget", (0, 4096, 0)),
        ],
    )
    def test_what_it_does_not_need_is_refused(self, name: str, arguments: tuple[int, ...]) -> None:
        assert number_of(name) >= 0
        refused = filtered(seccomp.PARTITION, lambda: error_of(lambda: system_call(name, *arguments)))
        assert outcome_of(refused) == "EPERM"

    def test_it_starts_no_program_and_no_process(self) -> None:
        def attempts() -> object:
            return (
                error_of(lambda: os.execv("/bin/true", ["true"])),
                error_of(os.fork),
                error_of(lambda: os.posix_spawn("/bin/true", ["true"], {})),
            )

        assert outcome_of(filtered(seccomp.PARTITION, attempts)) == ("EPERM",) * 3

    def test_it_works_in_memory_and_on_the_files_that_it_has(self, tmp_path: Path) -> None:
        def work() -> object:
            folder = tmp_path / "folder"
            folder.mkdir()
            (folder / "file").write_bytes(b"content")
            (folder / "file").rename(folder / "renamed")
            names = os.listdir(folder)
            with (folder / "renamed").open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                os.fsync(file.fileno())
                os.ftruncate(file.fileno(), 3)
            content = (folder / "renamed").read_bytes().decode()
            (folder / "renamed").unlink()
            memory = os.memfd_create("memory")
            os.ftruncate(memory, 4096)
            with mmap.mmap(memory, 4096) as shared:
                shared[:3] = b"abc"
            return names, content, len(os.urandom(8)), len(bytearray(64 << 20))

        assert outcome_of(filtered(seccomp.PARTITION, work)) == (["renamed"], "con", 8, 64 << 20)

    def test_it_talks_over_the_sockets_that_it_has(self) -> None:
        def talk() -> object:
            with select.epoll() as poll:
                poll.register(theirs, select.EPOLLIN)
                assert poll.poll(10)
            message, descriptors, _, _ = socket.recv_fds(theirs, 100, 1)
            socket.send_fds(theirs, [message.upper()], descriptors)
            theirs.setblocking(False)
            return error_of(lambda: theirs.recv(1))

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            socket.send_fds(ours, [b"hello"], [0])
            assert outcome_of(filtered(seccomp.PARTITION, talk)) == "EAGAIN"
            message, descriptors, _, _ = socket.recv_fds(ours, 100, 1)
            os.close(*descriptors)
            assert message == b"HELLO"

    def test_of_ioctl_there_is_what_makes_descriptors_wait(self) -> None:
        readable, writable = os.pipe()

        def attempts() -> object:
            return (
                error_of(lambda: fcntl.ioctl(readable, FIONBIO, b"\1\0\0\0")),
                error_of(lambda: fcntl.ioctl(readable, TIOCSTI, b"x")),
                error_of(lambda: fcntl.ioctl(readable, termios.TIOCGWINSZ, bytes(8))),
            )

        try:
            assert outcome_of(filtered(seccomp.PARTITION, attempts)) == ("", "EPERM", "EPERM")
        finally:
            os.close(readable)
            os.close(writable)

    def test_a_device_on_a_bus_can_be_addressed_by_who_is_given_one(self) -> None:
        """A pipe has no such request, which is what it says once the request gets that far."""
        readable, writable = os.pipe()

        def attempts() -> object:
            return (
                error_of(lambda: fcntl.ioctl(readable, seccomp.I2C_SLAVE, 0x60)),
                error_of(lambda: fcntl.ioctl(readable, TIOCSTI, b"x")),
            )

        try:
            given = filtered(seccomp.PARTITION, attempts, requests=(seccomp.I2C_SLAVE,))
            assert outcome_of(given) == ("ENOTTY", "EPERM")
            assert outcome_of(filtered(seccomp.PARTITION, attempts)) == ("EPERM", "EPERM")
        finally:
            os.close(readable)
            os.close(writable)


def test_a_service_keeps_every_other_call() -> None:
    def work() -> object:
        socket.socketpair()
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
        pid = os.fork()
        if pid == 0:
            os.execv("/bin/true", ["true"])
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert outcome_of(filtered(EVERYTHING, work)) == 0


def test_children_have_the_filter_too() -> None:
    def attack() -> object:
        pid = os.fork()
        if pid == 0:
            system_call("ptrace", 0, 0, 0, 0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert outcome_of(filtered(EVERYTHING, attack)) == -signal.SIGSYS


def test_without_libseccomp_it_is_said_that_every_call_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> None:
        raise RuntimeError("Unable to find libseccomp")

    monkeypatch.setattr(importlib, "import_module", missing)
    assert not seccomp.is_available()
    assert seccomp.compile_filter(seccomp.PARTITION) == b""
    assert outcome_of(lambda: seccomp.install(b"")) == ["every system call stays open (libseccomp is not there)"]


def test_a_filter_that_the_kernel_does_not_take_is_told() -> None:
    def install() -> object:
        process.protect_process()
        return seccomp.install(bytes(8))

    assert outcome_of(install) == [f"every system call stays open (seccomp: {os.strerror(errno.EINVAL)})"]


@pytest.mark.usefixtures("as_root")
def test_an_ordinary_user_has_to_give_up_new_privileges_first() -> None:
    program = seccomp.compile_filter(seccomp.PARTITION)

    def install() -> object:
        become_nobody()
        return seccomp.install(program)

    assert outcome_of(install) == [f"every system call stays open (seccomp: {os.strerror(errno.EACCES)})"]
