"""PSA's semantics of stored objects, and a model of the store."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.partitions.storage.objects import Objects, Quota
from edgeroot.testing.fake_platform import FakeDisk, PowerLoss
from tests.support.stored_objects import (
    ONCE,
    content_of,
    open_objects,
    refused,
)


@pytest.fixture
def objects() -> Objects:
    return open_objects(FakeDisk())


class TestSemantics:
    def test_set_get_and_info(self, objects: Objects) -> None:
        objects.set(1, 5, b"hello", 0)
        assert objects.get(1, 5, 0, 100) == b"hello"
        assert objects.get(1, 5, 1, 3) == b"ell"
        assert objects.get(1, 5, 5, 3) == b""
        with refused(PsaStatus.INVALID_ARGUMENT):
            objects.get(1, 5, 6, 1)
        info = objects.get_info(1, 5)
        assert (info.capacity_bytes, info.size_bytes, info.flags) == (5, 5, 0)
        objects.set(1, 5, b"other", 2)
        assert objects.get(1, 5, 0, 100) == b"other"

    def test_arguments(self, objects: Objects) -> None:
        with refused(PsaStatus.INVALID_ARGUMENT):
            objects.set(1, 0, b"", 0)
        with refused(PsaStatus.NOT_SUPPORTED):
            objects.set(1, 1, b"", 8)
        with refused(PsaStatus.NOT_SUPPORTED):
            objects.create(1, 1, 8, ONCE)
        for call in (objects.get_info, objects.remove):
            with refused(PsaStatus.DOES_NOT_EXIST):
                call(1, 1)
        with refused(PsaStatus.DOES_NOT_EXIST):
            objects.get(1, 1, 0, 1)

    def test_written_once(self, objects: Objects) -> None:
        objects.set(1, 1, b"for ever", ONCE)
        calls: tuple[Callable[[], None], ...] = (
            lambda: objects.set(1, 1, b"", 0),
            lambda: objects.remove(1, 1),
            lambda: objects.set_extended(1, 1, 0, b""),
        )
        for call in calls:
            with refused(PsaStatus.NOT_PERMITTED):
                call()
        assert objects.get(1, 1, 0, 99) == b"for ever"

    def test_create_and_extend(self, objects: Objects) -> None:
        objects.create(1, 1, 6, 0)
        with refused(PsaStatus.ALREADY_EXISTS):
            objects.create(1, 1, 6, 0)
        objects.set_extended(1, 1, 0, b"abc")
        for offset, data in ((4, b"x"), (3, b"xxxx")):
            with refused(PsaStatus.INVALID_ARGUMENT):
                objects.set_extended(1, 1, offset, data)
        objects.set_extended(1, 1, 2, b"CDEF")
        assert objects.get(1, 1, 0, 99) == b"abCDEF"
        assert objects.get_info(1, 1).capacity_bytes == 6
        assert objects.get_support() == 1

    def test_sources_do_not_see_each_other(self, objects: Objects) -> None:
        objects.set(1, 7, b"one", 0)
        with refused(PsaStatus.DOES_NOT_EXIST):
            objects.get(2, 7, 0, 9)
        objects.set(2, 7, b"two", 0)
        objects.remove(2, 7)
        assert objects.get(1, 7, 0, 9) == b"one"

    def test_a_source_has_its_quota(self) -> None:
        objects = open_objects(FakeDisk(), Quota(max_objects=2, max_bytes=10, max_object_bytes=8))
        objects.set(1, 1, bytes(6), 0)
        for uid, size in ((2, 5), (1, 9)):
            with refused(PsaStatus.INSUFFICIENT_STORAGE):
                objects.set(1, uid, bytes(size), 0)
        objects.set(1, 1, bytes(8), 0)
        objects.set(1, 2, bytes(2), 0)
        with refused(PsaStatus.INSUFFICIENT_STORAGE):
            objects.set(1, 3, b"", 0)
        objects.set(2, 1, bytes(8), 0)


class StoreMachine(RuleBasedStateMachine):
    """The store against a dictionary, opened anew at any time."""

    @initialize(noting=st.booleans())
    def begin(self, noting: bool) -> None:
        self.disk = FakeDisk()
        self.noting = noting
        self.objects = open_objects(self.disk, noting=noting)
        self.model: dict[tuple[int, int], bytes] = {}

    @rule(source=st.integers(1, 2), uid=st.integers(1, 4), data=st.binary(max_size=200))
    def set(self, source: int, uid: int, data: bytes) -> None:
        self.objects.set(source, uid, data, 0)
        self.model[source, uid] = data

    @rule(source=st.integers(1, 2), uid=st.integers(1, 4))
    def remove(self, source: int, uid: int) -> None:
        try:
            self.objects.remove(source, uid)
        except PsaError:
            assert (source, uid) not in self.model
        else:
            del self.model[source, uid]

    @rule()
    def open_anew(self) -> None:
        self.objects = open_objects(self.disk, noting=self.noting)

    @rule()
    def lose_power(self) -> None:
        with pytest.raises(PowerLoss):
            self.disk.lose_power()
        self.open_anew()

    @rule()
    def compact(self) -> None:
        self.objects._log._compact()

    @invariant()
    def holds(self) -> None:
        for source in (1, 2):
            for uid in range(1, 5):
                assert content_of(self.objects, source, uid) == self.model.get((source, uid))


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
