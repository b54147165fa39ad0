from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable

import pytest

from edgeroot.confinement import landlock, seccomp
from edgeroot.secure.spm import measures, sandbox
from tests.support.forked import become_nobody, outcome_of

ALONE = {"no new privileges", "no core dumps", "no debugger", "bounded resources"}


def lacking_in_a_child(prepare: Callable[[], object]) -> set[str]:
    """The measures that are not in force for a process that was prepared so; to try them is for ever."""

    def lacking() -> list[str]:
        prepare()
        return [finding.measure for finding in measures.try_measures() if not finding.in_force]

    return set(outcome_of(lacking))


def test_every_measure_is_named_once_with_what_follows_and_what_to_do() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "edgeroot.secure.spm.measures"], capture_output=True, text=True, check=True
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(one["measure"] for one in found) == sorted(
        ALONE
        | {"name spaces", "users of their own", "Landlock", "seccomp"}
        | {"memory out of swap", "no network", "the service shut out"}
    )
    assert all(one["consequence"] and one["remedy"] for one in found)
    assert done.stderr == ""


def test_what_a_process_does_by_itself_is_always_granted() -> None:
    assert not lacking_in_a_child(lambda: None) & ALONE


@pytest.mark.usefixtures("as_root")
def test_root_and_an_ordinary_user_differ_in_the_partitions_users() -> None:
    assert lacking_in_a_child(become_nobody) - lacking_in_a_child(lambda: None) == {"users of their own"}


def test_without_landlock_a_service_of_the_same_user_is_not_shut_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def without() -> None:
        monkeypatch.setattr(landlock, "abi", lambda: 0)
        monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert lacking_in_a_child(without) >= {"Landlock", "the service shut out", "users of their own"}


def test_without_seccomp_the_name_spaces_keep_the_network_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def without() -> None:
        monkeypatch.setattr(seccomp, "is_available", lambda: False)

    lacking = lacking_in_a_child(without)
    assert "seccomp" in lacking
    assert ("no network" in lacking) == ("name spaces" in lacking)


def test_with_neither_there_is_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def without() -> None:
        monkeypatch.setattr(seccomp, "is_available", lambda: False)
        monkeypatch.setattr(sandbox, "_bubblewrap", lambda: None)

    assert lacking_in_a_child(without) >= {"seccomp", "name spaces", "no network"}


def test_a_filter_that_the_kernel_refuses_is_not_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    def without() -> None:
        monkeypatch.setattr(seccomp, "compile_filter", lambda _allowed: bytes(8))  # an instruction that is none

    assert "seccomp" in lacking_in_a_child(without)


@pytest.mark.parametrize("limit", [0, 8 << 20])
def test_memory_stays_out_of_swap_only_without_a_limit(limit: int) -> None:
    assert "memory out of swap" in lacking_in_a_child(
        lambda: resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
    )
