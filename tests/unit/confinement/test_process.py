from __future__ import annotations

import os
import resource
import signal
import time
from ctypes import CDLL
from functools import partial
from pathlib import Path

import pytest

from edgeroot.confinement import process
from tests.support.forked import become_nobody, error_of, exit_code_of, forked, outcome_of
from tests.support.requirements import require_root, unavailable

PTRACE_ATTACH = 16
PR_SET_DUMPABLE = 4
YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")


def status_of(pid: int | str = "self") -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


class TestProtect:
    def test_what_it_promises(self) -> None:
        def protected() -> tuple[list[str], bool, str, tuple[int, int]]:
            refused = process.protect_process()
            core = resource.getrlimit(resource.RLIMIT_CORE)
            return refused, process.is_traceable(), status_of()["NoNewPrivs"], core

        refused, traceable, no_new_privileges, core = outcome_of(protected)
        assert [sentence for sentence in refused if "swapped" not in sentence] == []
        assert (traceable, no_new_privileges, core) == (False, "1", (0, 0))

    def test_a_process_is_traceable_if_it_does_nothing(self) -> None:
        def does_nothing() -> bool:
            CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # as who did not change user
            return process.is_traceable()

        assert outcome_of(does_nothing)

    @pytest.mark.usefixtures("as_root")
    @pytest.mark.parametrize(("protect", "found"), [(True, ("EACCES", -1)), (False, ("", 0))])
    def test_another_process_of_the_user_neither_reads_nor_traces_it(
        self, protect: bool, found: tuple[str, int]
    ) -> None:
        if YAMA.exists() and YAMA.read_text().strip() != "0" and not protect:
            unavailable("this needs kernel.yama.ptrace_scope=0 to see what protects")

        def victim() -> None:
            become_nobody()
            assert CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0  # as who did not change user
            if protect:
                process.protect_process()
            os.write(writable, b"ready")
            time.sleep(60)

        def attacker() -> object:
            become_nobody()
            opened = error_of(lambda: os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY)))
            return opened, CDLL(None).ptrace(PTRACE_ATTACH, pid, 0, 0)

        readable, writable = os.pipe()
        pid = forked(victim)
        try:
            assert os.read(readable, 5) == b"ready"
            assert outcome_of(attacker) == found
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(readable)
            os.close(writable)

    def test_a_crash_leaves_no_file(self, tmp_path: Path) -> None:
        def crash() -> None:
            os.chdir(tmp_path)
            _, hard = resource.getrlimit(resource.RLIMIT_CORE)
            resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
            process.protect_process()
            os.kill(os.getpid(), signal.SIGQUIT)

        status = os.waitpid(forked(crash), 0)[1]
        assert os.WTERMSIG(status) == signal.SIGQUIT
        assert not os.WCOREDUMP(status)
        assert list(tmp_path.iterdir()) == []

    def test_what_the_system_refuses_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Refusing:
            def prctl(self, *_arguments: int) -> int:
                return -1

        monkeypatch.setattr(process, "_libc", Refusing())
        monkeypatch.setattr(process, "lock_memory", lambda: False)
        refused = outcome_of(process.protect_process)
        assert len(refused) == 3
        assert all(name in " ".join(refused) for name in ("PR_SET_DUMPABLE", "PR_SET_NO_NEW_PRIVS", "LimitMEMLOCK"))


class TestMemory:
    def test_with_a_limit_nothing_is_locked(self) -> None:
        def locked() -> object:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))
            return process.lock_memory(), status_of()["VmLck"].split()[0], len(bytearray(8 << 20))

        assert outcome_of(locked) == (False, "0", 8 << 20)

    def test_without_one_what_is_touched_stays_out_of_swap(self) -> None:
        def locked() -> object:
            try:
                resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            except ValueError:
                return None
            return process.lock_memory(), int(status_of()["VmLck"].split()[0]) > 0

        found = outcome_of(locked)
        if found is None:
            # A container's root may lack it, in CI too, and nothing that could be installed would help.
            pytest.skip("this system gives nobody here an infinite limit on locked memory")
        assert found == (True, True)


class TestLimits:
    KINDS = (resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)

    def test_they_are_set_for_good(self) -> None:
        def limited() -> object:
            process.limit_resources(processes=50, descriptors=60, file_bytes=70)
            return [resource.getrlimit(kind) for kind in self.KINDS]

        assert outcome_of(limited) == [(50, 50), (60, 60), (70, 70)]

    def test_lower_ones_stay(self) -> None:
        def limited() -> object:
            for kind in self.KINDS:
                resource.setrlimit(kind, (10, 20))
            process.limit_resources(processes=50, descriptors=60, file_bytes=70)
            return [resource.getrlimit(kind) for kind in self.KINDS]

        assert outcome_of(limited) == [(20, 20)] * 3

    def test_what_is_beyond_them_fails(self, tmp_path: Path) -> None:
        def overdone() -> object:
            process.limit_resources(processes=50, descriptors=40, file_bytes=1000)
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            with (tmp_path / "file").open("wb", buffering=0) as file:
                large = error_of(lambda: [file.write(bytes(1000)) for _ in range(2)])
            many = error_of(lambda: [os.dup(0) for _ in range(41)])
            return large, many, (tmp_path / "file").stat().st_size

        assert outcome_of(overdone) == ("EFBIG", "EMFILE", 1000)

    def test_the_limit_of_descriptors_is_raised_as_far_as_it_goes(self) -> None:
        def raised() -> object:
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
            return process.raise_descriptor_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)

        assert outcome_of(raised) == (200, (200, 200))


@pytest.mark.parametrize("kept", [(), (30,), (3, 5, 31, 30)])
def test_descriptors_are_closed_but_for_some(kept: tuple[int, ...]) -> None:
    def closed() -> None:
        for descriptor in (*range(3, 10), 30, 31, 32):
            os.dup2(0, descriptor)
        process.close_descriptors(kept)
        for descriptor in range(64):
            is_open = error_of(partial(os.fstat, descriptor)) == ""
            assert is_open is (descriptor <= 2 or descriptor in kept)

    assert exit_code_of(closed) == 0


class TestEnd:
    def test_a_process_ends_with_its_parent(self) -> None:
        def parent() -> None:
            own = os.getpid()
            pid = os.fork()
            if pid == 0:
                os.close(readable)
                process.end_with_parent(own)
                os.write(writable, b"child")
                time.sleep(60)
                os._exit(0)
            os.close(writable)
            os.read(readable, 5)  # it has asked for its end

        readable, writable = os.pipe()
        assert exit_code_of(parent) == 0
        os.close(writable)
        with os.fdopen(readable, "rb") as pipe:
            assert pipe.read() == b""  # until nobody has the other end, long before the minute is over

    def test_a_process_whose_parent_ended_before_ends_at_once(self) -> None:
        assert exit_code_of(lambda: process.end_with_parent(1 << 22)) == 1
        assert exit_code_of(lambda: process.end_with_parent(os.getppid())) == 0


def test_a_process_has_the_name_that_it_is_given() -> None:
    def named() -> object:
        process.name_process("edgeroot-with-a-long-name")
        return Path("/proc/self/comm").read_text()

    assert outcome_of(named) == "edgeroot-with-a\n"


def test_who_gives_way_cannot_go_first_again() -> None:
    require_root("go first")

    def gone_first_and_given_way() -> tuple[int, int, str]:
        process.go_first()
        first = os.getpriority(os.PRIO_PROCESS, 0)
        become_nobody()
        process.give_way()
        refused = error_of(lambda: os.setpriority(os.PRIO_PROCESS, 0, process.FIRST))
        return first, os.getpriority(os.PRIO_PROCESS, 0), refused

    assert outcome_of(gone_first_and_given_way) == (process.FIRST, 0, "EACCES")


def test_whoever_does_not_go_first_stays_as_nice() -> None:
    def given_way() -> int:
        os.nice(3)
        process.give_way()
        return os.getpriority(os.PRIO_PROCESS, 0)

    assert outcome_of(given_way) == os.getpriority(os.PRIO_PROCESS, 0) + 3


def test_without_the_right_to_go_first_nothing_happens() -> None:
    require_root("become somebody else")

    def gone_first() -> int:
        become_nobody()
        process.go_first()
        return os.getpriority(os.PRIO_PROCESS, 0)

    assert outcome_of(gone_first) == os.getpriority(os.PRIO_PROCESS, 0)
