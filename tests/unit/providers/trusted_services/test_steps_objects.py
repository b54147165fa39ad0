"""Stored objects in steps over the real storage service, and tokens over a scripted one."""

from __future__ import annotations

from typing import TypeVar

import pytest

from edgeroot import engine
from edgeroot.abi.storage import CreateFlags
from edgeroot.abi.storage import StorageOpcode as Op
from edgeroot.providers.api import OBJECT_ATTRIBUTES, BackEndAnswer, BackEndCall, LoadedKey, ObjectInfo, Steps
from edgeroot.providers.trusted_services.native import NoLink
from edgeroot.providers.trusted_services.objects import StoredObject, WorldSteps
from edgeroot.providers.trusted_services.steps import TsKey
from edgeroot.psa import PsaError, PsaStatus, Secret
from edgeroot.secure.partitions.storage.objects import Objects
from edgeroot.secure.partitions.storage.service import ProtectedStorage
from edgeroot.secure.partitions.storage.store import ObjectLog
from edgeroot.secure.runtime.api import Caller, Reply
from edgeroot.testing.fake_platform import FakeCounter, FakeDisk
from tests.unit.providers.trusted_services.test_steps_keys import P256, _reference
from tests.vectors.keys import refused

_T = TypeVar("_T")
CAPACITY = 1024
LONGEST = CAPACITY - 20
ALICE = Caller(source_id=1, channel=1)
LOST = BackEndAnswer(error=PsaError(PsaStatus.COMMUNICATION_FAILURE, "gone"))
GET_TOKEN = 0x101
KEY_STATEMENT = 0x1001


class DrivenStorage:
    """``instead`` are answers by opcode that the partition does not give; ``calls`` those of the last steps."""

    def __init__(self) -> None:
        disk = FakeDisk()
        self.service = ProtectedStorage(Objects(ObjectLog(disk, FakeCounter(disk), Secret(bytes(32))), 1))
        self.crypto, self.storage, self.attestation = NoLink(), NoLink(), NoLink()
        self.steps = WorldSteps(self.crypto, self.storage, self.attestation, capacity_bytes=CAPACITY)
        self.instead: dict[int, BackEndAnswer] = {}
        self.calls: list[BackEndCall] = []

    @property
    def opcodes(self) -> list[int]:
        return [call.opcode for call in self.calls]

    def run(self, steps: Steps[_T]) -> _T:
        self.calls.clear()
        answer: BackEndAnswer | None = None
        while True:
            try:
                call = next(steps) if answer is None else steps.send(answer)
            except StopIteration as end:
                result: _T = end.value
                return result
            self.calls.append(call)
            answer = self.instead.get(call.opcode) or self._answer(call)

    def _answer(self, call: BackEndCall) -> BackEndAnswer:
        assert call.link is self.storage
        assert len(call.request) <= CAPACITY
        try:
            reply = self.service.call(ALICE, call.opcode, call.request, capacity_bytes=CAPACITY)
        except PsaError as error:
            return BackEndAnswer(int(error.status))
        assert isinstance(reply, Reply)
        return BackEndAnswer(reply.status, reply.payload)

    def made(self, data: bytes, flags: int = 0) -> StoredObject:
        reference = self.run(self.steps.plan_object())
        self.run(self.steps.set_object(reference, Secret(data), flags))
        loaded = self.steps.load(reference, OBJECT_ATTRIBUTES)
        assert isinstance(loaded, StoredObject)
        return loaded


@pytest.fixture
def world() -> DrivenStorage:
    return DrivenStorage()


@pytest.fixture
def uids(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The random numbers that uids are, from first to last."""
    numbers: list[int] = []
    monkeypatch.setattr(engine, "random", lambda size: Secret(numbers.pop(0).to_bytes(size)))
    return numbers


class TestPlaces:
    def test_a_uid_is_taken_only_if_it_was_seen_free(self, world: DrivenStorage, uids: list[int]) -> None:
        uids[:] = [5, 0, 5, 7]
        assert world.made(b"first").uid == 5
        assert world.made(b"second").uid == 7

    def test_planning_makes_nothing(self, world: DrivenStorage) -> None:
        reference = world.run(world.steps.plan_object())
        assert world.opcodes == [Op.GET_INFO]
        assert not world.run(world.steps.exists(reference))

    def test_after_four_taken_uids_there_is_no_place(self, world: DrivenStorage) -> None:
        world.instead[Op.GET_INFO] = BackEndAnswer(0, bytes(20))
        with refused(PsaStatus.INSUFFICIENT_STORAGE):
            world.run(world.steps.plan_object())
        assert len(world.calls) == 4

    def test_what_could_not_be_looked_at_is_not_free(self, world: DrivenStorage) -> None:
        world.instead[Op.GET_INFO] = LOST
        with refused(PsaStatus.COMMUNICATION_FAILURE):
            world.run(world.steps.plan_object())

    def test_the_layout_of_a_reference_stays_as_it_is(self, world: DrivenStorage, uids: list[int]) -> None:
        uids[:] = [0x0102030405060708]
        assert world.run(world.steps.plan_object()).hex() == "81" + "0807060504030201"

    @pytest.mark.parametrize("reference", [b"\x81" + bytes(7), b"\x81" + bytes(9), b"\x81"])
    def test_a_reference_that_is_none(self, world: DrivenStorage, reference: bytes) -> None:
        with refused(PsaStatus.DATA_INVALID):
            world.steps.load(reference, OBJECT_ATTRIBUTES)

    def test_keys_and_objects_are_told_apart(self, world: DrivenStorage) -> None:
        key = world.steps.load(_reference(5), P256)
        assert isinstance(key, TsKey)
        for use in (world.steps.get_object(key, 0, 0), world.steps.get_object_info(LoadedKey(b"", P256))):
            with refused(PsaStatus.INVALID_HANDLE):
                world.run(use)
        for operation in (world.steps.exists(_reference(5)), world.steps.destroy(_reference(5))):
            assert next(operation).link is world.crypto


class TestObjects:
    @pytest.mark.parametrize("size_bytes", [0, 1, LONGEST])
    def test_what_is_stored_comes_back(self, world: DrivenStorage, size_bytes: int) -> None:
        data = bytes(number % 251 for number in range(size_bytes))
        stored = world.made(data)
        assert world.opcodes == [Op.SET]
        found = world.run(world.steps.get_object(stored, 0, 0))
        assert isinstance(found, Secret)
        assert bytes(found) == data
        assert world.run(world.steps.get_object_info(stored)) == ObjectInfo(size_bytes, size_bytes, 0)
        assert world.run(world.steps.exists(stored.reference))

    def test_a_part_of_it(self, world: DrivenStorage) -> None:
        stored = world.made(b"0123456789")
        assert bytes(world.run(world.steps.get_object(stored, 3, 4))) == b"3456"
        assert bytes(world.run(world.steps.get_object(stored, 8, CAPACITY * 100))) == b"89"
        assert bytes(world.run(world.steps.get_object(stored, 10, 0))) == b""
        with refused(PsaStatus.INVALID_ARGUMENT):
            world.run(world.steps.get_object(stored, 11, 1))

    def test_more_than_one_call_carries_is_refused_before_anything_is_sent(self, world: DrivenStorage) -> None:
        stored = world.made(b"before")
        with refused(PsaStatus.INSUFFICIENT_STORAGE):
            world.run(world.steps.set_object(stored.reference, Secret(bytes(LONGEST + 1)), 0))
        assert world.calls == []
        assert bytes(world.run(world.steps.get_object(stored, 0, 0))) == b"before"

    def test_replaced_in_one_step(self, world: DrivenStorage) -> None:
        stored = world.made(b"before")
        world.run(world.steps.set_object(stored.reference, Secret(b"after"), 0))
        assert world.opcodes == [Op.SET]
        assert bytes(world.run(world.steps.get_object(stored, 0, 0))) == b"after"

    def test_removed_and_removed_again(self, world: DrivenStorage) -> None:
        stored = world.made(b"data")
        for _ in range(2):
            world.run(world.steps.destroy(stored.reference))
            assert world.opcodes == [Op.REMOVE]
        assert not world.run(world.steps.exists(stored.reference))
        with refused(PsaStatus.DOES_NOT_EXIST):
            world.run(world.steps.get_object(stored, 0, 0))

    def test_what_is_written_once_stays(self, world: DrivenStorage) -> None:
        stored = world.made(b"for ever", int(CreateFlags.WRITE_ONCE))
        with refused(PsaStatus.NOT_PERMITTED):
            world.run(world.steps.set_object(stored.reference, Secret(b"else"), 0))
        with refused(PsaStatus.NOT_PERMITTED):
            world.run(world.steps.destroy(stored.reference))
        assert world.run(world.steps.get_object_info(stored)).flags == CreateFlags.WRITE_ONCE
        assert bytes(world.run(world.steps.get_object(stored, 0, 0))) == b"for ever"

    def test_errors_are_told(self, world: DrivenStorage) -> None:
        stored = world.made(b"data")
        world.instead = dict.fromkeys((Op.SET, Op.GET, Op.GET_INFO, Op.REMOVE), LOST)
        for operation in (
            world.steps.set_object(stored.reference, Secret(b"x"), 0),
            world.steps.get_object(stored, 0, 0),
            world.steps.get_object_info(stored),
            world.steps.exists(stored.reference),
            world.steps.destroy(stored.reference),
        ):
            with refused(PsaStatus.COMMUNICATION_FAILURE):
                world.run(operation)

    def test_a_malformed_answer(self, world: DrivenStorage) -> None:
        stored = world.made(b"data")
        world.instead[Op.GET_INFO] = BackEndAnswer(0, bytes(19))
        with refused(PsaStatus.COMMUNICATION_FAILURE):
            world.run(world.steps.get_object_info(stored))


class TestTokens:
    @pytest.mark.parametrize("size_bytes", [32, 48, 64])
    def test_a_token_for_a_challenge(self, world: DrivenStorage, size_bytes: int) -> None:
        world.instead[GET_TOKEN] = BackEndAnswer(0, bytes.fromhex("0001" + "0005") + b"token")
        assert world.run(world.steps.attestation_token(bytes(size_bytes))) == b"token"
        [call] = world.calls
        assert call.link is world.attestation
        assert call.request == bytes.fromhex("0001") + size_bytes.to_bytes(2) + bytes(size_bytes)

    @pytest.mark.parametrize("size_bytes", [0, 31, 33, 65])
    def test_a_challenge_of_another_size_is_not_sent(self, world: DrivenStorage, size_bytes: int) -> None:
        with refused(PsaStatus.INVALID_ARGUMENT):
            world.run(world.steps.attestation_token(bytes(size_bytes)))
        assert world.calls == []

    @pytest.mark.parametrize("answer", [LOST, BackEndAnswer(0, b"\x00"), BackEndAnswer(0, b"")])
    def test_no_token(self, world: DrivenStorage, answer: BackEndAnswer) -> None:
        world.instead[GET_TOKEN] = answer
        with refused(PsaStatus.COMMUNICATION_FAILURE):
            world.run(world.steps.attestation_token(bytes(32)))


class TestStatements:
    def test_the_id_and_the_challenge_are_sent(self, world: DrivenStorage) -> None:
        world.instead[KEY_STATEMENT] = BackEndAnswer(0, b"\0\1\0\5state")
        key = TsKey(_reference(5), P256)
        assert world.run(world.steps.key_statement(key, bytes(48))) == b"state"
        [call] = world.calls
        assert call.link is world.attestation
        assert call.request == key.key_id.to_bytes(4, "little") + b"\0\1\0\x30" + bytes(48)

    @pytest.mark.parametrize("size_bytes", [0, 31, 33, 65])
    def test_a_challenge_of_another_size_is_not_sent(self, world: DrivenStorage, size_bytes: int) -> None:
        with refused(PsaStatus.INVALID_ARGUMENT):
            world.run(world.steps.key_statement(TsKey(_reference(5), P256), bytes(size_bytes)))
        assert world.calls == []

    def test_an_object_is_no_key(self, world: DrivenStorage) -> None:
        reference = world.run(world.steps.plan_object())
        with refused(PsaStatus.INVALID_HANDLE):
            world.run(world.steps.key_statement(world.steps.load(reference, OBJECT_ATTRIBUTES), bytes(32)))

    @pytest.mark.parametrize("status", [PsaStatus.DOES_NOT_EXIST, PsaStatus.NOT_SUPPORTED])
    def test_what_the_partition_refuses(self, world: DrivenStorage, status: PsaStatus) -> None:
        world.instead[KEY_STATEMENT] = BackEndAnswer(int(status))
        with refused(status):
            world.run(world.steps.key_statement(TsKey(_reference(5), P256), bytes(32)))
