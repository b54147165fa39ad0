"""The statements of the store, and its records as SQLite's rows."""

# ruff: noqa: S608 - the statements are put together from this file's constants; values are always bound

from __future__ import annotations

from typing import Final

from edgeroot.keystore.records import KeyIdentity, KeyRecord, KeyState, StoredKey, attributes_of

Row = tuple[int, bytes, bytes, bytes, bytes, bytes, int, str | None]
ALL_COLUMNS: Final = "authenticator, application, provider, key_name, reference, attributes, state, holder"
ONE_KEY: Final = "authenticator = ? AND application = ? AND provider = ? AND key_name = ?"

FIND: Final = f"SELECT reference, attributes FROM key WHERE {ONE_KEY} AND state = 0"
LOOK_UP: Final = f"SELECT {ALL_COLUMNS} FROM key WHERE {ONE_KEY}"
PENDING: Final = f"SELECT {ALL_COLUMNS} FROM key WHERE state <> 0 AND holder = ?"
PENDING_OF_PROVIDER: Final = f"{PENDING} AND provider = ? LIMIT ?"
PENDING_HOLDERS: Final = "SELECT DISTINCT holder FROM key WHERE state <> 0 ORDER BY holder"
LIST: Final = (
    "SELECT provider, key_name, attributes FROM key WHERE authenticator = ? AND application = ? AND state = 0"
    " ORDER BY provider, key_name LIMIT ?"
)
FIRST_PAGE: Final = (
    "SELECT key_name, attributes FROM key"
    " WHERE authenticator = ? AND application = ? AND provider = ? AND state = 0 ORDER BY key_name LIMIT ?"
)
NEXT_PAGE: Final = (
    "SELECT key_name, attributes FROM key"
    " WHERE authenticator = ? AND application = ? AND provider = ? AND key_name > ? AND state = 0"
    " ORDER BY key_name LIMIT ?"
)
COUNT: Final = "SELECT count(*) FROM key WHERE authenticator = ? AND application = ? AND state = 0"
# One seek for each application instead of a walk over all keys. (Compared as a pair with the authenticator, SQLite
# would walk.)
FIRST_APPLICATION: Final = (
    "SELECT application FROM key WHERE authenticator = ? AND state = 0 ORDER BY application LIMIT 1"
)
NEXT_APPLICATION: Final = (
    "SELECT application FROM key WHERE authenticator = ? AND application > ? AND state = 0 ORDER BY application LIMIT 1"
)
NEXT_AUTHENTICATOR: Final = "SELECT min(authenticator) FROM key WHERE authenticator > ?"
PROVIDER_STATE: Final = "SELECT state FROM provider_state WHERE provider = ?"

ADD: Final = (
    "INSERT INTO key (authenticator, application, provider, key_name, state, holder, attributes, reference)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
# No more than the bound is counted, so the longest list of keys costs what the bound allows.
HAS: Final = "SELECT 1 FROM key WHERE authenticator = ? AND application = ? LIMIT 1 OFFSET ?"
REMOVE: Final = f"DELETE FROM key WHERE {ONE_KEY} AND state = 0 AND reference = ?"
COMMIT: Final = (
    f"UPDATE key SET state = 0, holder = NULL, reference = ?, attributes = ?"
    f" WHERE {ONE_KEY} AND state = {KeyState.RESERVED:d} AND holder = ?"
)
RELEASE: Final = f"DELETE FROM key WHERE {ONE_KEY} AND state = {KeyState.RESERVED:d} AND holder = ?"
MARK: Final = (
    f"UPDATE key SET state = {KeyState.MARKED:d}, holder = ? WHERE {ONE_KEY} AND state = 0 RETURNING {ALL_COLUMNS}"
)
UNMARK: Final = (
    f"UPDATE key SET state = 0, holder = NULL WHERE {ONE_KEY} AND state = {KeyState.MARKED:d} AND holder = ?"
)
FINISH: Final = f"DELETE FROM key WHERE {ONE_KEY} AND state = {KeyState.MARKED:d} AND holder = ?"
REPLACE: Final = f"UPDATE key SET reference = ? WHERE {ONE_KEY} AND state = 0 AND reference = ?"
IS_LIVE: Final = f"SELECT 1 FROM key WHERE {ONE_KEY} AND state = 0"
REMOVE_CLIENT: Final = (
    "DELETE FROM key WHERE authenticator = ? AND application = ? AND provider = ? AND state = 0 RETURNING key_name"
)
SET_PROVIDER_STATE: Final = (
    "INSERT INTO provider_state VALUES (?, ?) ON CONFLICT (provider) DO UPDATE SET state = excluded.state"
)
CLAIM: Final = f"UPDATE key SET holder = ? WHERE {ONE_KEY} AND state <> 0 AND holder = ?"


def key_columns(identity: KeyIdentity) -> tuple[int, bytes, bytes, bytes]:
    """The primary key of the record, for ``ONE_KEY``."""
    authenticator, application, provider, key_name = identity
    return authenticator, application.encode(), provider.encode(), key_name.encode()


def stored_key(row: Row) -> StoredKey:
    """The record in ``ALL_COLUMNS`` of a row; ValueError if one cannot be what we wrote."""
    authenticator, application, provider, key_name, reference, attributes, state, holder = row
    identity = KeyIdentity(authenticator, application.decode(), provider.decode(), key_name.decode())
    return StoredKey(KeyRecord(identity, reference, attributes_of(attributes)), KeyState(state), holder)
