"""The verifier's memory in one SQLite file, which several processes may have open."""

from edgeroot.verifier.store.sqlite import KEEP_RESULTS, SqliteStorage, open_store

__all__ = ["KEEP_RESULTS", "SqliteStorage", "open_store"]
