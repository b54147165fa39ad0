"""The table of users."""

from __future__ import annotations

import json

import pytest

from edgeroot.secure.spm.users import UserTable, UserTableError, decode_users


def test_ids_are_kept_and_never_given_twice() -> None:
    table = UserTable().allow(1000).allow(998)
    assert (table.ffa_id(1000), table.ffa_id(998), table.ffa_id(0)) == (1, 2, None)
    assert table.allow(1000) == table
    again = table.refuse(998).allow(5).allow(998)
    assert (again.ffa_id(5), again.ffa_id(998)) == (3, 4)
    assert decode_users(again.encode()) == again


def test_ids_run_out() -> None:
    with pytest.raises(UserTableError, match="every FF-A id"):
        UserTable(next_id=0x8000).allow(7)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"next": 1},
        {"next": 0x9000},
        {"users": [{"uid": 1, "id": 1}, {"uid": 1, "id": 2}]},
        {"users": [{"uid": 1, "id": 1}, {"uid": 2, "id": 1}]},
        {"users": [{"uid": -1, "id": 1}]},
        {"users": [{"uid": 1, "id": 0x8001}]},
        {"users": [{"uid": 1, "id": True}]},
        {"users": [{"uid": "1", "id": 1}]},
        {"users": [{"uid": 1}]},
        {"users": None},
    ],
)
def test_damaged_table_is_refused(change: dict[str, object]) -> None:
    """A table that gave one id to two users would give one of them the other's keys."""
    document = json.loads(UserTable().allow(1).allow(2).encode()) | change
    with pytest.raises(UserTableError):
        decode_users(json.dumps(document))


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "7"])
def test_text_that_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(UserTableError):
        decode_users(text)
