"""The storage partition's entry for its process."""

from __future__ import annotations

import logging
from typing import Final

from edgeroot.secure.partitions.storage.objects import Objects
from edgeroot.secure.partitions.storage.service import InternalTrustedStorage, ProtectedStorage
from edgeroot.secure.partitions.storage.store import ObjectLog
from edgeroot.secure.platform.counters import Counter, CounterError, FileCounter
from edgeroot.secure.platform.log_file import LogFile
from edgeroot.secure.runtime.api import Service
from edgeroot.secure.runtime.environment import Environment

_log: Final = logging.getLogger(__name__)
_INTERNAL: Final = 0
_PROTECTED: Final = 1


class _NoCounter:
    """In place of one that cannot be used: the partition runs, and says of each object that it cannot be trusted."""

    strength: Final = "none"

    def __init__(self, error: CounterError) -> None:
        self._error = error

    def read(self) -> int:
        raise self._error

    def advance_to(self, value: int) -> None:
        raise self._error


def create(environment: Environment) -> tuple[Service, ...]:
    """Internal trusted storage (interface 0) and protected storage (interface 1), over one log."""
    if environment.storage_folder is None or environment.counters_folder is None:
        raise ValueError("the manifest of the storage partition asks for no storage or no counters")
    log = LogFile(environment.storage_folder)
    # A counter that is missing beside a log was removed: to begin again at 0 would be to forget all changes.
    counter: Counter
    try:
        counter = FileCounter(environment.counters_folder / "storage", create=not log.exists)
    except CounterError as error:
        counter = _NoCounter(error)
    objects = ObjectLog(log, counter, environment.secret)
    if objects.fault is not None:
        _log.error("stored objects are not served: %s", objects.fault)
    return InternalTrustedStorage(Objects(objects, _INTERNAL)), ProtectedStorage(Objects(objects, _PROTECTED))
