"""What a process can still do to files and to others once it has given up the rest."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeroot.confinement import landlock, process
from tests.support.forked import error_of, outcome_of
from tests.support.requirements import unavailable

SYSTEM = tuple(map(Path, ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache")))
TRUNCATE_ABI = 3
NETWORK_ABI = 4
SCOPE_ABI = 6


@pytest.fixture(autouse=True)
def _landlock() -> None:
    if landlock.abi() == 0:
        unavailable("this needs a kernel with Landlock")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """``read``, ``write`` and ``other``, each with a file, and a program in the first two."""
    for name in ("read", "write", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        shutil.copy("/bin/true", tmp_path / name / "program")
    return tmp_path


def confined(
    tree: Path,
    *attempts: Callable[[], object],
    read: tuple[Path, ...] = (),
    devices: tuple[Path, ...] = (),
    execute: bool = False,
    network: bool = False,
) -> list[str]:
    """The errors of attempts in a process that may read one tree and write another."""

    def attempt() -> list[str]:
        process.protect_process()
        refused = landlock.restrict(
            read=[tree / "read", *read],
            write=[tree / "write"],
            devices=devices,
            execute=execute,
            network=network,
        )
        assert refused == []
        return [error_of(one) for one in attempts]

    return outcome_of(attempt)


def test_a_kernel_without_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    [sentence] = landlock.restrict(read=[Path("/")])
    assert "no Landlock" in sentence


def test_without_no_new_privileges_the_kernel_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "_RESTRICT_SELF", 1 << 20)  # a system call that no kernel has
    [sentence] = outcome_of(lambda: landlock.restrict(read=[Path("/")]))
    assert sentence == "files stay within reach (Landlock: Function not implemented)"


class TestFiles:
    def test_what_may_be_read_can_be_read_and_no_more(self, tree: Path) -> None:
        place = tree / "read"
        assert confined(
            tree,
            (place / "file").read_text,
            lambda: list(place.iterdir()),
            lambda: (place / "file").write_text(""),
            (place / "new").touch,
            (place / "new").mkdir,
            (place / "file").unlink,
            lambda: (place / "file").rename(place / "other"),
            lambda: (place / "link").symlink_to("file"),
        ) == ["", "", *["EACCES"] * 6]
        assert (place / "file").read_text() == "read"

    def test_what_may_be_written_can_be_changed_in_every_way(self, tree: Path) -> None:
        place = tree / "write"
        assert (
            confined(
                tree,
                (place / "file").read_text,
                lambda: (place / "file").write_text("changed"),
                (place / "new").touch,
                lambda: (place / "new").rename(place / "newer"),
                (place / "newer").unlink,
                (place / "folder").mkdir,
                (place / "folder" / "file").touch,
                lambda: list(place.iterdir()),
                lambda: os.truncate(place / "file", 3),
            )
            == [""] * 9
        )
        assert (place / "file").read_text() == "cha"

    def test_everything_else_is_out_of_reach(self, tree: Path) -> None:
        place = tree / "other"
        assert (
            confined(
                tree,
                (place / "file").read_text,
                lambda: list(place.iterdir()),
                lambda: (place / "file").write_text(""),
                (place / "new").touch,
                (place / "file").unlink,
                lambda: list(tree.iterdir()),
                Path("/proc/self/environ").read_bytes,
                Path("/etc/passwd").read_text,
            )
            == ["EACCES"] * 8
        )
        assert (place / "file").read_text() == "other"

    def test_a_file_that_may_be_reached_leads_nowhere_else(self, tree: Path) -> None:
        (tree / "write" / "link").symlink_to(tree / "other" / "file")
        assert confined(
            tree,
            (tree / "write" / "link").read_text,
            (tree / "write" / ".." / "other" / "file").read_text,
            lambda: os.link(tree / "read" / "file", tree / "write" / "moved"),
            lambda: (tree / "write" / "file").rename(tree / "read" / "moved"),
        ) == ["EACCES", "EACCES", "EXDEV", "EACCES"]

    def test_one_file_may_be_named(self, tree: Path) -> None:
        file = tree / "other" / "file"
        assert confined(tree, file.read_text, lambda: file.write_text(""), read=(file,)) == ["", "EACCES"]
        assert confined(tree, (tree / "other" / "program").read_bytes, read=(file,)) == ["EACCES"]

    def test_what_is_not_there_is_left_out(self, tree: Path) -> None:
        assert confined(tree, (tree / "read" / "file").read_text, read=(tree / "missing",)) == [""]

    def test_truncating_is_writing(self, tree: Path) -> None:
        if landlock.abi() < TRUNCATE_ABI:
            unavailable("this needs a kernel with the third version of Landlock")
        assert confined(tree, lambda: os.truncate(tree / "read" / "file", 0)) == ["EACCES"]

    def test_an_open_descriptor_stays_open(self, tree: Path) -> None:
        with (tree / "other" / "file").open() as file:
            assert confined(tree, lambda: os.pread(file.fileno(), 100, 0)) == [""]


class TestDevices:
    def test_a_named_one_can_be_written_and_asked_and_no_other(self, tree: Path) -> None:
        """/dev/null has no such request, which is what it says once the request gets that far."""
        named, other = Path("/dev/null"), Path("/dev/zero")

        def ask() -> None:
            with named.open("r+b", buffering=0) as node:
                fcntl.ioctl(node, termios.TIOCGWINSZ, bytes(8))

        attempts = (lambda: named.write_bytes(b"x"), ask, other.read_text)
        assert confined(tree, *attempts, devices=(named,)) == ["", "ENOTTY", "EACCES"]
        assert confined(tree, *attempts) == ["EACCES"] * 3


class TestPrograms:
    @pytest.mark.parametrize(("execute", "found"), [(False, ["EACCES", "EACCES"]), (True, ["", "EACCES"])])
    def test_only_those_in_trees_to_read_and_only_if_that_is_allowed(
        self, tree: Path, execute: bool, found: list[str]
    ) -> None:
        """What a process can write it can never run."""
        programs = [tree / "read" / "program", tree / "write" / "program"]
        runs = [lambda program=program: subprocess.run([program], check=True) for program in programs]
        assert confined(tree, *runs, read=SYSTEM, execute=execute) == found

    def test_a_child_is_confined_like_its_parent(self, tree: Path) -> None:
        def read_in_a_child() -> None:
            done = subprocess.run(["/bin/cat", tree / "other" / "file"], capture_output=True, check=False)
            if b"Permission denied" in done.stderr:
                raise PermissionError(13, "as it should be")

        assert confined(tree, read_in_a_child, read=SYSTEM, execute=True) == ["EACCES"]


def test_it_is_for_ever(tree: Path) -> None:
    def more() -> None:
        assert landlock.restrict(read=[Path("/")], write=[Path("/")], execute=True, network=True) == []

    assert confined(tree, more, (tree / "other" / "file").read_text, (tree / "read" / "file").read_text) == [
        "",
        "EACCES",
        "",
    ]


class TestOthers:
    @pytest.mark.parametrize(("network", "error"), [(False, "EACCES"), (True, "")])
    def test_tcp(self, tree: Path, network: bool, error: str) -> None:
        if landlock.abi() < NETWORK_ABI:
            unavailable("this needs a kernel with the fourth version of Landlock")
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client, socket.socket() as other:
            address = server.getsockname()
            assert confined(
                tree, lambda: client.connect(address), lambda: other.bind(("127.0.0.1", 0)), network=network
            ) == [error, error]

    @pytest.mark.parametrize(("network", "error"), [(False, "EPERM"), (True, "")])
    def test_abstract_sockets(self, tree: Path, network: bool, error: str) -> None:
        if landlock.abi() < SCOPE_ABI:
            unavailable("this needs a kernel with the sixth version of Landlock")
        name = f"\0edgeroot-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(name)
            server.listen()
            assert confined(tree, lambda: client.connect(name), network=network) == [error]

    @pytest.mark.parametrize("network", [False, True])
    def test_a_socket_in_the_file_system_can_be_talked_to(self, tree: Path, network: bool) -> None:
        """So the service, confined, reaches the secure world that it is shut out of."""
        path = str(tree / "other" / "socket")
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(path)
            server.listen()
            assert confined(tree, lambda: client.connect(path), network=network) == [""]

    @pytest.mark.parametrize("network", [False, True])
    def test_signals(self, tree: Path, network: bool) -> None:
        if landlock.abi() < SCOPE_ABI:
            unavailable("this needs a kernel with the sixth version of Landlock")
        parent = os.getpid()
        assert confined(
            tree, lambda: os.kill(parent, 0), lambda: os.kill(os.getpid(), signal.SIGCONT), network=network
        ) == ["EPERM", ""]
