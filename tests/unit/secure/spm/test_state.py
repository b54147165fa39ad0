"""The folders of a secure world: whose they are, what others may do there, and the table of users."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from edgeroot.secure.spm.manifest import Manifest
from edgeroot.secure.spm.state import State, StateError
from edgeroot.secure.spm.users import UserTable, UserTableError
from tests.support.forked import NOBODY, become_nobody, outcome_of
from tests.support.requirements import require_root


def manifest(name: str, *, storage: bool = False, counters: bool = False, flash: bool = False) -> Manifest:
    return Manifest(
        name=name, id=0x8001, module="m", services=(), boot_order=1, callers=frozenset(),
        storage=storage, counters=counters, flash=flash,
    )  # fmt: skip


def prepared(folder: Path) -> State:
    state = State(folder / "state", folder / "run")
    state.prepare()
    return state


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_others_pass_through_but_see_no_names_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    before = os.umask(umask)
    try:
        state = State(tmp_path / "state", tmp_path / "run")
        state.prepare()
        state.prepare()
    finally:
        os.umask(before)
    assert [mode(state.path / name) for name in (".", "partitions", "counters")] == [0o711] * 3
    assert mode(state.runtime) == 0o755


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=f"cannot use {tmp_path}/file/state: Not a directory"):
        State(tmp_path / "file" / "state", tmp_path / "run").prepare()


@pytest.mark.parametrize("foreign", ["state", "run"])
def test_a_place_of_somebody_else_is_refused(tmp_path: Path, foreign: str) -> None:
    require_root("give a folder away")
    (tmp_path / foreign).mkdir()
    os.chown(tmp_path / foreign, NOBODY, NOBODY)
    with pytest.raises(StateError, match=f"{tmp_path / foreign} belongs to user 65534: choose another place"):
        prepared(tmp_path)


def test_partitions_get_the_folders_that_they_ask_for(tmp_path: Path) -> None:
    state = prepared(tmp_path)
    nothing = state.folders_of(manifest("crypto"))
    assert (nothing.storage, nothing.counters, nothing.flash) == (None, None, None)
    everything = state.folders_of(manifest("storage", storage=True, counters=True, flash=True))
    folders = [everything.storage, everything.counters, everything.flash]
    assert folders == [state.path / "partitions/storage", state.path / "counters/storage", state.path / "flash"]
    assert [mode(folder) for folder in folders if folder is not None] == [0o700] * 3
    assert state.folders_of(manifest("storage", storage=True, counters=True, flash=True)) == everything


def test_as_root_each_partition_has_a_user_of_its_own_for_ever(tmp_path: Path) -> None:
    require_root("give folders away")
    state = prepared(tmp_path)
    state.keep_users(UserTable({65000: 1, 65001: 2}, 3))
    names = ["one", "two", "three"]
    users = {name: state.folders_of(manifest(name, counters=True)).user_id for name in names}
    assert sorted(user for user in users.values() if user is not None) == [65002, 65003, 65004]
    for name in reversed(names):
        folders = prepared(tmp_path).folders_of(manifest(name, counters=True))
        assert folders.user_id == users[name]
        assert folders.counters is not None
        assert folders.counters.stat().st_uid == (state.path / "partitions" / name).stat().st_uid == users[name]


def test_an_ordinary_user_has_no_others_to_give(tmp_path: Path) -> None:
    require_root("become an ordinary user")
    os.chown(tmp_path, NOBODY, NOBODY)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)

    def as_nobody() -> tuple[int | None, int]:
        become_nobody()
        folders = prepared(tmp_path).folders_of(manifest("storage", storage=True))
        assert folders.storage is not None
        return folders.user_id, folders.storage.stat().st_uid

    assert outcome_of(as_nobody) == (None, NOBODY)


def test_the_table_of_users_is_empty_at_first_and_kept_from_others(tmp_path: Path) -> None:
    state = prepared(tmp_path)
    assert state.users() == UserTable()
    table = UserTable().allow(1000).allow(998)
    state.keep_users(table)
    assert prepared(tmp_path).users() == table
    assert mode(state.path / "users.json") == 0o600
    (state.path / "users.json").write_text("{")
    with pytest.raises(UserTableError):
        state.users()
