"""The storage partition's entry for its process."""

from __future__ import annotations

import logging
from typing import Final

from edgeroot.secure.partitions.storage.objects import Objects
from edgeroot.secure.partitions.storage.service import InternalTrustedStorage, ProtectedStorage
from edgeroot.secure.partitions.storage.store import ObjectLog
from edgeroot.secure.platform.counters import FileCounter
from edgeroot.secure.platform.log_file import LogFile
from edgeroot.secure.runtime.api import Service
from edgeroot.secure.runtime.environment import Environment

_log: Final = logging.getLogger(__name__)
_INTERNAL: Final = 0
_PROTECTED: Final = 1


def create(environment: Environment) -> tuple[Service, ...]:
    """Internal trusted storage (interface 0) and protected storage (interface 1), over one log."""
    if environment.storage_folder is None or environment.counters_folder is None:
        raise ValueError("the manifest of the storage partition asks for no storage or no counters")
    log = LogFile(environment.storage_folder)
    # A counter that is missing beside a log was removed: to begin again at 0 would be to forget all changes.
    counter = FileCounter(environment.counters_folder / "storage", create=not log.exists)
    objects = ObjectLog(log, counter, environment.secret)
    if objects.fault is not None:
        _log.error("stored objects are not served: %s", objects.fault)
    return InternalTrustedStorage(Objects(objects, _INTERNAL)), ProtectedStorage(Objects(objects, _PROTECTED))
