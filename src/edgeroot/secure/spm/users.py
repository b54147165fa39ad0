"""The table of users: which user of the normal world has which FF-A id.

An id is all that the secure world knows of a caller: keys and stored objects belong to it. So ids are given by hand,
kept for ever, and never follow from the order in which somebody connects. Whoever is not listed is refused.

The file, version 1, is JSON: ``{"version": 1, "users": [{"uid": 998, "id": 1}, ...], "next": 2}``. ``next`` only grows,
so that an id that was taken from one user never comes to another, with the first one's keys.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Final

_FIRST_ID: Final = 1
_LAST_ID: Final = 0x7FFF  # of a virtual machine (FF-A ids); 0 is the hypervisor or the only kernel
_VERSION: Final = 1
_MAX_UID: Final = 2**32 - 2


class UserTableError(Exception):
    """The table of users cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class UserTable:
    """User ids (of the operating system) to FF-A ids."""

    ids: dict[int, int] = field(default_factory=dict)
    next_id: int = _FIRST_ID

    def ffa_id(self, uid: int) -> int | None:
        """The user's FF-A id, None for a user who is not listed."""
        return self.ids.get(uid)

    def allow(self, uid: int) -> UserTable:
        """The table with this user in it; UserTableError if all ids are given."""
        if uid in self.ids:
            return self
        if self.next_id > _LAST_ID:
            raise UserTableError("every FF-A id has been given to somebody already")
        return replace(self, ids={**self.ids, uid: self.next_id}, next_id=self.next_id + 1)

    def refuse(self, uid: int) -> UserTable:
        """The table without this user, whose id nobody gets again."""
        return replace(self, ids={one: ffa_id for one, ffa_id in self.ids.items() if one != uid})

    def encode(self) -> str:
        users = [{"uid": uid, "id": ffa_id} for uid, ffa_id in sorted(self.ids.items())]
        return json.dumps({"version": _VERSION, "users": users, "next": self.next_id}, indent=1) + "\n"


def decode_users(text: str) -> UserTable:
    """The table in a file's text; UserTableError for anything that this module would not have written."""
    try:
        document = json.loads(text)
        if document["version"] != _VERSION:
            raise UserTableError(f"the table of users has version {document['version']!r}, not {_VERSION}")
        ids = {entry["uid"]: entry["id"] for entry in document["users"]}
        next_id = document["next"]
        count = len(document["users"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserTableError("the table of users is damaged: restore it from a backup") from error
    numbers = [*ids.values(), next_id]
    sound = (
        len(ids) == count == len(set(ids.values()))
        and all(type(number) is int for number in (*ids, *numbers))
        and all(0 <= uid <= _MAX_UID for uid in ids)
        and all(_FIRST_ID <= ffa_id < next_id for ffa_id in ids.values())
        and _FIRST_ID <= next_id <= _LAST_ID + 1
    )
    if not sound:
        raise UserTableError("the table of users contradicts itself: restore it from a backup")
    return UserTable(ids, next_id)
