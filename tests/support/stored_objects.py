"""Stored objects on a fake disk, and what has become of them."""

from __future__ import annotations

import pytest

from edgeroot.abi.storage import CreateFlags
from edgeroot.psa import PsaError, PsaStatus, Secret
from edgeroot.secure.partitions.storage.objects import Objects, Quota
from edgeroot.secure.partitions.storage.store import ObjectLog
from edgeroot.testing.fake_platform import FakeCounter, FakeDisk, FakeNotingCounter

SECRET = Secret(b"s" * 32)
ONCE = int(CreateFlags.WRITE_ONCE)
RECORD_BYTES = 384  # of at most 16 bytes


def open_objects(disk: FakeDisk, quota: Quota | None = None, *, noting: bool = False) -> Objects:
    counter = FakeNotingCounter(disk) if noting else FakeCounter(disk)
    return Objects(ObjectLog(disk, counter, SECRET), 0, quota)


def refused(status: PsaStatus) -> pytest.RaisesExc[PsaError]:
    return pytest.raises(PsaError, check=lambda error: error.status is status)


def content_of(
    objects: Objects, source: int, uid: int, *, missing: PsaStatus = PsaStatus.DOES_NOT_EXIST, size_bytes: int = 1000
) -> bytes | None:
    """What the object holds; None if the answer is the one for a missing one."""
    try:
        return objects.get(source, uid, 0, size_bytes)
    except PsaError as error:
        if error.status is not missing:
            raise
        return None


def some_objects(disk: FakeDisk, count: int) -> dict[int, bytes]:
    objects = open_objects(disk)
    contents = {uid: bytes((uid,)) * 16 for uid in range(1, count + 1)}
    for uid, content in contents.items():
        objects.set(1, uid, content, 0)
    return contents


def lost(objects: Objects, contents: dict[int, bytes]) -> set[int]:
    """Which objects answer DATA_CORRUPT; the others must be as they were."""
    found = {uid: content_of(objects, 1, uid, missing=PsaStatus.DATA_CORRUPT) for uid in contents}
    gone = {uid for uid, content in found.items() if content is None}
    assert {uid: content for uid, content in found.items() if uid not in gone} == {
        uid: content for uid, content in contents.items() if uid not in gone
    }
    return gone
