"""What a secure world that has stopped has stored, read with its own secret."""

from __future__ import annotations

from edgeroot.secure.partitions.storage.store import ObjectLog
from edgeroot.secure.platform.counters import FileCounter
from edgeroot.secure.platform.device_secret import FileDeviceSecret
from edgeroot.secure.platform.log_file import LogFile
from tests.support.world import World


def stored_by(world: World, source_id: int) -> int:
    """How many objects of this FF-A source there are, in both services. Needs root."""
    secret = FileDeviceSecret.open(world.state / "device-secret").derive(b"partition storage")
    log = LogFile(world.state / "partitions" / "storage")
    counter = FileCounter(world.state / "counters" / "storage" / "storage", create=False)
    try:
        objects = ObjectLog(log, counter, secret)
        assert objects.fault is None
        return objects.count(source_id)
    finally:
        log.close()
        counter.close()
