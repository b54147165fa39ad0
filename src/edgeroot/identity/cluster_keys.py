"""The public keys of a cluster's issuer: from the API server, from a file, or from memory while neither is there."""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple

from edgeroot.auth.identity import AuthenticationError
from edgeroot.auth.key_set import MAX_KEY_SET_BYTES, KeySet, KeySetError, TrustedKey, read_key_set
from edgeroot.identity.api_server import ApiServerError

_log: Final = logging.getLogger(__name__)

_REFRESH_INTERVAL_S: Final = 300.0
# Anybody can make up key ids. Who waits for a new key after all waits no longer than this.
_LEAST_INTERVAL_S: Final = 2.0
_MODE: Final = 0o644


class _Version(NamedTuple):
    inode: int
    modified_ns: int
    size_bytes: int


class ClusterKeys:
    """The last good key set, in ``file`` as well as in memory. ``fetch`` asks the API server; without it only the file
    counts, and is read again whenever it has changed.

    A set that cannot be used never replaces one that can.
    """

    def __init__(self, file: Path | None, fetch: Callable[[], bytes] | None) -> None:
        self._file = file
        self._fetch = fetch
        self._lock = threading.Lock()
        self._keys: KeySet = {}
        self._document = b""
        self._version: _Version | None = None
        self._asked_at_s = float("-inf")
        self._trouble = "nobody has given one yet"

    def find(self, key_id: str) -> TrustedKey:
        """The key with this id; AuthenticationError if the issuer has none, or if no key set is to be had."""
        key = self._keys.get(key_id)
        # Who knows his key does not wait for those who ask on behalf of others.
        if self._lock.acquire(blocking=key is None):
            try:
                self._refresh(key_id)
            finally:
                self._lock.release()
        key = self._keys.get(key_id)
        if key is not None:
            return key
        if not self._keys:
            raise AuthenticationError(f"there is no key set to check the token with: {self._trouble}")
        raise AuthenticationError(f"the cluster has no key {key_id[:80]!r}")

    def take(self, document: bytes) -> None:
        """A key set as the API server gave it; KeySetError if it is none."""
        with self._lock:
            self._asked_at_s = monotonic()
            self._take(document)

    def _refresh(self, key_id: str) -> None:
        if not self._keys or self._fetch is None:
            self._read_file()
        if self._fetch is None:
            return
        age_s = monotonic() - self._asked_at_s
        if age_s < (_REFRESH_INTERVAL_S if key_id in self._keys else _LEAST_INTERVAL_S):
            return
        self._asked_at_s = monotonic()
        try:
            self._take(self._fetch())
        except (ApiServerError, KeySetError) as error:
            self._note(str(error))

    def _take(self, document: bytes) -> None:
        if document == self._document:
            return
        self._keys, self._document, self._trouble = read_key_set(document), document, ""
        if self._file is not None:
            try:
                _replace(self._file, document)
            except OSError as error:
                _log.warning("cannot keep the cluster's key set for later in %s: %s", self._file, error.strerror)

    def _read_file(self) -> None:
        if self._file is None:
            return
        try:
            with self._file.open("rb") as file:
                found = os.fstat(file.fileno())
                version = _Version(found.st_ino, found.st_mtime_ns, found.st_size)
                if version == self._version:
                    return
                self._version = version
                _check_owner(found)
                document = file.read(MAX_KEY_SET_BYTES + 1)
            self._keys, self._document, self._trouble = read_key_set(document), document, ""
        except FileNotFoundError:
            if self._fetch is None:
                self._note(f"there is no file {self._file}")
        except OSError as error:
            self._note(f"{self._file}: {error.strerror}")
        except KeySetError as error:
            self._note(f"{self._file}: {error}")

    def _note(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.warning("no newer key set of the cluster: %s", trouble)
            self._trouble = trouble


def _check_owner(found: os.stat_result) -> None:
    """Who writes the key set decides who is who."""
    if not stat.S_ISREG(found.st_mode):
        raise KeySetError("this is no file")
    if found.st_uid not in {0, os.geteuid()} or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise KeySetError("others could write it; give it to root or the service, and take away the others' right")


def _replace(path: Path, data: bytes) -> None:
    """Whole or not at all, whenever the power goes."""
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
