"""The sandbox around a partition: what is inside, tried from inside, and what is left without bubblewrap."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import edgeroot
from edgeroot.secure.spm import sandbox
from edgeroot.secure.spm.sandbox import SandboxSpec, command, readable, spawn
from tests.support.forked import NOBODY, become_nobody, outcome_of
from tests.support.requirements import require_root, unavailable

LOOK = """
    import json, os, socket, sys
    from pathlib import Path
    path, kept = Path(sys.argv[1]), int(sys.argv[2])
    def attempt(function):
        try:
            function()
        except OSError as error:
            return type(error).__name__
        return ""
    descriptors = []
    for number in range(3, os.sysconf("SC_OPEN_MAX")):
        try:
            os.fstat(number)
            descriptors.append(number)
        except OSError:
            pass
    seen = {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": os.umask(0o077),
        "user": os.getresuid(),
        "groups": os.getgroups(),
        "descriptors": descriptors,
        "hostname": socket.gethostname(),
        "root": sorted(os.listdir("/")),
        "write": attempt(lambda: (path / "made").write_bytes(b"inside")),
        "write elsewhere": attempt(lambda: Path(os.__file__).write_bytes(b"")),
        "make elsewhere": attempt(lambda: Path("/made").touch()),
        "network": [name for _, name in socket.if_nameindex()],
        "processes": Path("/proc").exists(),
        "input": sys.stdin.read(),
    }
    os.write(kept, json.dumps(seen).encode())
"""


def seen_by(spec: SandboxSpec, inside: str) -> dict[str, Any]:
    """What a process in the sandbox says of its surroundings."""
    readable_end, kept = os.pipe()
    other = os.open("/", os.O_RDONLY)
    os.set_inheritable(other, True)
    try:
        arguments = [sys.executable, "-I", "-c", textwrap.dedent(LOOK), inside, str(kept)]
        with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as sink:
            assert sink.stdin is not None
            popen = spawn(spec, arguments, pass_fds=(kept,), stderr=sink.stdin.fileno())
            os.close(kept)
            kept = -1
            with os.fdopen(readable_end, "rb") as pipe:
                said = pipe.read()
            assert popen.wait() == 0
        found: dict[str, Any] = json.loads(said)
        return found
    finally:
        os.close(other)
        if kept >= 0:
            os.close(kept)


@contextmanager
def without_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as context:
        context.setattr(sandbox, "_bubblewrap", lambda: None)
        yield


def require_bubblewrap() -> None:
    if not next(finding.in_force for finding in sandbox.probe() if finding.measure == sandbox.NAME_SPACES):
        unavailable("this needs bubblewrap, and a system that lets it make name spaces")


@pytest.fixture
def spec(tmp_path: Path) -> SandboxSpec:
    return SandboxSpec(name="storage", user_id=None, writable={"/storage": tmp_path})


def test_inside_there_is_code_the_own_folder_and_nothing_else(spec: SandboxSpec, tmp_path: Path) -> None:
    require_bubblewrap()
    seen = seen_by(spec, "/storage")
    assert seen["write"] == ""
    assert (tmp_path / "made").read_bytes() == b"inside"
    assert seen["write elsewhere"] == seen["make elsewhere"] == "OSError"  # a read-only file system
    assert not {"proc", "sys", "dev", "run", "root", "home", "var"} & set(seen["root"]) - {
        Path(path).parts[1] for path in readable(sys.executable)
    }
    assert not seen["processes"]
    assert seen["network"] in ([], ["lo"])
    assert seen["hostname"] == "storage"


@pytest.mark.parametrize("has_bubblewrap", [True, False])
def test_a_partition_inherits_what_it_is_given_and_nothing_else(
    spec: SandboxSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_bubblewrap: bool
) -> None:
    monkeypatch.setenv("EDGEROOT_SECRET", "of the manager")
    if has_bubblewrap:
        require_bubblewrap()
        seen = seen_by(spec, "/storage")
    else:
        with without_bubblewrap(monkeypatch):
            seen = seen_by(spec, str(tmp_path))
    assert seen["environment"] == seen["environment"] | {
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/",
    }
    assert set(seen["environment"]) <= {"LC_ALL", "PYTHONDONTWRITEBYTECODE", "HOME", "PWD"}
    assert (seen["folder"], seen["umask"], seen["input"]) == ("/", 0o077, "")
    assert len(seen["descriptors"]) == 1


def test_a_partition_runs_as_its_user_without_any_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_root("start a process as another user")
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    os.chown(tmp_path, NOBODY, NOBODY)
    with without_bubblewrap(monkeypatch):
        seen = seen_by(SandboxSpec(name="storage", user_id=NOBODY, writable={"/storage": tmp_path}), str(tmp_path))
    assert (seen["user"], seen["groups"]) == ([NOBODY] * 3, [])
    assert seen["write"] == ""


def test_folders_are_named_as_they_are_seen(spec: SandboxSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda: "/usr/bin/bwrap")
    assert spec.seen_inside() == {"/storage": "/storage"}
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda: None)
    assert spec.seen_inside() == {"/storage": str(tmp_path)}


def test_the_command_line_shares_no_name_space_and_ends_with_the_program(spec: SandboxSpec, tmp_path: Path) -> None:
    line = command(spec, [sys.executable, "-I", "--", "x"], bwrap="/usr/bin/bwrap")
    options, program = line[: line.index("--")], line[line.index("--") + 1 :]
    assert program == [sys.executable, "-I", "--", "x"]
    assert {"--unshare-all", "--die-with-parent", "--new-session", "--clearenv"} <= set(options)
    assert "--share-net" not in options
    at = options.index("--bind")
    assert options[at : at + 3] == ["--bind", str(tmp_path), "/storage"]
    assert options.count("--bind") == 1


def test_the_trees_of_code_hold_the_interpreter_and_the_package_once() -> None:
    trees = readable(sys.executable)
    package = Path(edgeroot.__file__).parent
    for needed in (Path(sys.executable), Path(sys.executable).resolve(), package, Path(os.__file__)):
        assert any(needed == Path(tree) or Path(tree) in needed.parents for tree in trees), needed
    assert all(Path(tree).exists() for tree in trees)
    for tree in trees:
        assert not any(Path(other) in Path(tree).parents for other in trees), tree
    assert not {"/", "/home", "/root", "/etc", "/var", "/tmp", str(Path.cwd())} & set(trees)


def test_every_measure_that_is_missing_says_what_follows_and_what_to_do() -> None:
    findings = sandbox.probe()
    assert [finding.measure for finding in findings] == ["name spaces", "users of their own", "Landlock", "seccomp"]
    assert all(finding.sentence == f"{finding.consequence}: {finding.remedy}" for finding in findings)


def test_as_an_ordinary_user_partitions_have_no_users_of_their_own() -> None:
    require_root("become an ordinary user")

    def own_users() -> bool:
        become_nobody()
        return next(finding.in_force for finding in sandbox.probe() if finding.measure == sandbox.OWN_USERS)

    assert not outcome_of(own_users)
    assert next(finding.in_force for finding in sandbox.probe() if finding.measure == sandbox.OWN_USERS)


def test_the_first_folder_that_others_may_not_enter_is_found() -> None:
    with TemporaryDirectory() as name:  # pytest's own are hidden already
        above = Path(name)
        (above / "hidden" / "below").mkdir(parents=True)
        above.chmod(0o711)
        (above / "hidden").chmod(0o750)
        assert sandbox.hidden(["/usr/lib", str(above / "hidden")]) is None
        assert sandbox.hidden(["/usr/lib", str(above / "hidden" / "below")]) == above / "hidden"
