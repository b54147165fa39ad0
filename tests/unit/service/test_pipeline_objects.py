"""Stored objects and tokens in the pipeline: whose they are, and that nothing is lost or left behind."""

from __future__ import annotations

from typing import cast

import pytest

from edgeroot.auth import PeerCredentials
from edgeroot.keystore.records import KeyState
from edgeroot.keystore.recovery import end_of
from edgeroot.psa import PsaError, bound_challenge
from edgeroot.service.effects import ResponseSteps, StoreWrite
from edgeroot.testing.objects_in_memory import ObjectsInMemory
from edgeroot.wire import operations as ops
from edgeroot.wire.header import FLAG_EXTENDED
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.status import ResponseStatus as Status
from tests.unit.service.pipeline_kit import P256, USER, BackEnd, BlobBackEnd, Harness

OTHER = PeerCredentials(pid=2, uid=2000, gid=2000)
ADMIN = PeerCredentials(pid=3, uid=0, gid=0)


class Keeping(ObjectsInMemory, BackEnd):
    """A back end that keeps keys and objects."""


class Storing(ObjectsInMemory, BlobBackEnd):
    """A back end that keeps objects and no keys."""


@pytest.fixture(params=["here", "in a host process", "no keys"])
def harness(request: pytest.FixtureRequest) -> Harness:
    """Providers of every kind."""
    if request.param == "no keys":
        return Harness(Storing())
    return Harness(Keeping(), remote=request.param == "in a host process")


def objects(harness: Harness) -> dict[bytes, tuple[bytes, int]]:
    return cast(ObjectsInMemory, harness.provider).objects


def ask(harness: Harness, operation: ops.Operation, peer: PeerCredentials = USER) -> tuple[Status, ops.Result | None]:
    status, result, _ = harness.run(operation, flags=FLAG_EXTENDED, peer=peer)
    return status, result


def put(harness: Harness, name: str, data: bytes, *, flags: int = 0, peer: PeerCredentials = USER) -> Status:
    return ask(harness, ops.StorageSet(name, data, flags), peer)[0]


def got(harness: Harness, name: str, peer: PeerCredentials = USER) -> bytes | Status:
    status, result = ask(harness, ops.StorageGet(name), peer)
    return result.data if isinstance(result, ops.StorageGetResult) else status


def test_an_object_lives_from_set_to_remove(harness: Harness) -> None:
    assert put(harness, "wifi", b"secret") is Status.SUCCESS
    assert got(harness, "wifi") == b"secret"
    assert ask(harness, ops.StorageGet("wifi", 2, 3)) == (Status.SUCCESS, ops.StorageGetResult(b"cre"))
    assert ask(harness, ops.StorageInfo("wifi")) == (Status.SUCCESS, ops.StorageInfoResult(6, 6, 0))
    assert put(harness, "wifi", b"") is Status.SUCCESS
    assert got(harness, "wifi") == b""
    assert ask(harness, ops.StorageRemove("wifi"))[0] is Status.SUCCESS
    assert got(harness, "wifi") is Status.PSA_ERROR_DOES_NOT_EXIST
    assert ask(harness, ops.StorageRemove("wifi"))[0] is Status.PSA_ERROR_DOES_NOT_EXIST
    assert objects(harness) == {}
    assert not harness.model.keys


def test_nobody_sees_another_users_object(harness: Harness) -> None:
    put(harness, "wifi", b"mine")
    assert got(harness, "wifi", OTHER) is Status.PSA_ERROR_DOES_NOT_EXIST
    assert ask(harness, ops.StorageRemove("wifi"), OTHER)[0] is Status.PSA_ERROR_DOES_NOT_EXIST
    assert put(harness, "wifi", b"theirs", peer=OTHER) is Status.SUCCESS
    assert got(harness, "wifi") == b"mine"
    assert got(harness, "wifi", OTHER) == b"theirs"


def test_objects_and_keys_of_one_name_do_not_meet(harness: Harness) -> None:
    put(harness, "name", b"secret")
    assert harness.status(ops.PsaGenerateKey("name", P256)) is Status.SUCCESS
    assert ask(harness, ops.ListKeys())[1] == ops.ListKeysResult((ops.KeyInfo(1, "name", P256),))
    assert ask(harness, ops.StorageList())[1] == ops.StorageListResult((ops.StoredObject(1, "name"),))
    assert harness.status(ops.PsaDestroyKey("name")) is Status.SUCCESS
    assert got(harness, "name") == b"secret"
    assert harness.status(ops.PsaDestroyKey("name")) is Status.PSA_ERROR_DOES_NOT_EXIST


def test_many_objects_are_listed_in_slices(harness: Harness) -> None:
    names = [f"{number:03}" for number in range(250)]
    for name in names:
        put(harness, name, b"")
    status, result, effects = harness.run(ops.StorageList(), flags=FLAG_EXTENDED)
    assert status is Status.SUCCESS
    assert result == ops.StorageListResult(tuple(ops.StoredObject(1, name) for name in names))
    assert effects == ["PAUSE", "PAUSE"]


def test_a_write_once_object_stays_as_it_is(harness: Harness) -> None:
    assert put(harness, "serial", b"4711", flags=1) is Status.SUCCESS
    assert put(harness, "serial", b"4712") is Status.PSA_ERROR_NOT_PERMITTED
    assert ask(harness, ops.StorageRemove("serial"))[0] is Status.PSA_ERROR_NOT_PERMITTED
    assert got(harness, "serial") == b"4711"


def test_unknown_flags_are_refused_and_leave_nothing(harness: Harness) -> None:
    assert put(harness, "wifi", b"secret", flags=8) is Status.PSA_ERROR_NOT_SUPPORTED
    assert not harness.model.keys
    assert objects(harness) == {}


def test_a_creation_whose_answer_is_lost_leaves_nothing(harness: Harness) -> None:
    cast(ObjectsInMemory, harness.provider).lost.append("set_object")
    assert put(harness, "wifi", b"secret") is Status.PSA_ERROR_COMMUNICATION_FAILURE
    assert objects(harness) == {}
    assert not harness.model.keys
    assert put(harness, "wifi", b"secret") is Status.SUCCESS


def test_a_write_once_creation_whose_answer_is_lost_was_one(harness: Harness) -> None:
    cast(ObjectsInMemory, harness.provider).lost.append("set_object")
    assert put(harness, "serial", b"4711", flags=1) is Status.SUCCESS
    assert got(harness, "serial") == b"4711"


def test_a_change_whose_answer_is_lost_keeps_the_object(harness: Harness) -> None:
    put(harness, "wifi", b"old")
    cast(ObjectsInMemory, harness.provider).lost.append("set_object")
    assert put(harness, "wifi", b"new") is Status.PSA_ERROR_COMMUNICATION_FAILURE
    assert got(harness, "wifi") in (b"old", b"new")


def test_an_object_that_is_removed_while_it_is_changed_is_not_left_behind(harness: Harness) -> None:
    put(harness, "wifi", b"old")
    provider = cast(ObjectsInMemory, harness.provider)
    # Whoever changes the object knows it by now; before its call arrives somebody else removes it.
    provider.before_set.append(lambda: removals.append(ask(harness, ops.StorageRemove("wifi"))[0]))
    removals: list[Status] = []
    assert put(harness, "wifi", b"new") is Status.SUCCESS
    assert removals == [Status.SUCCESS]
    assert got(harness, "wifi") == b"new"
    assert len(objects(harness)) == 1, "the place that was removed is empty"


def test_a_removal_that_nobody_answered_is_carried_out_later(harness: Harness) -> None:
    put(harness, "wifi", b"secret")
    cast(ObjectsInMemory, harness.provider).lost.append("destroy")
    assert ask(harness, ops.StorageRemove("wifi"))[0] is Status.PSA_ERROR_COMMUNICATION_FAILURE
    [orphan] = harness.model.keys.values()
    assert orphan.state is KeyState.MARKED
    harness.provider.destroy(orphan.record.reference)
    harness.write(end_of(orphan, orphan.holder or "", None))
    assert not harness.model.keys
    assert objects(harness) == {}


@pytest.mark.parametrize("at", ["reserved", "marked"])
def test_recovery_lets_a_write_once_object_live(harness: Harness, at: str) -> None:
    if at == "reserved":
        steps = cast(ResponseSteps, harness.begin(ops.StorageSet("serial", b"4711", 1), flags=FLAG_EXTENDED))
        outcome = None
        effect = steps.send(None)
        while not (isinstance(effect, StoreWrite) and type(effect.write).__name__ == "Commit"):
            outcome = harness.outcome(effect)
            effect = steps.send(outcome)
    else:
        put(harness, "serial", b"4711", flags=1)
        steps = cast(ResponseSteps, harness.begin(ops.StorageRemove("serial"), flags=FLAG_EXTENDED))
        harness.outcome(steps.send(None))  # the mark; and then the process dies
    [orphan] = harness.model.keys.values()
    assert orphan.state is not KeyState.LIVE
    with pytest.raises(PsaError) as raised:
        harness.provider.destroy(orphan.record.reference)
    harness.write(end_of(orphan, orphan.holder or "", raised.value.status))
    assert got(harness, "serial") == b"4711"


def test_deleting_a_client_takes_its_objects_along(harness: Harness) -> None:
    put(harness, "wifi", b"secret")
    put(harness, "wifi", b"theirs", peer=OTHER)
    assert ask(harness, ops.ListClients(), ADMIN)[1] == ops.ListClientsResult(("1000", "2000"))
    assert ask(harness, ops.DeleteClient("1000"), ADMIN)[0] is Status.SUCCESS
    assert got(harness, "wifi") is Status.PSA_ERROR_DOES_NOT_EXIST
    assert got(harness, "wifi", OTHER) == b"theirs"
    assert len(objects(harness)) == 1


def test_a_token_has_the_callers_challenge(harness: Harness) -> None:
    challenge = bytes(range(32))
    assert ask(harness, ops.AttestationToken(challenge)) == (
        Status.SUCCESS,
        ops.AttestationTokenResult(b"token for " + challenge),
    )
    assert ask(harness, ops.AttestationToken(bytes(31)))[0] is Status.PSA_ERROR_INVALID_ARGUMENT


class Binding(Keeping):
    binds_callers = True


@pytest.mark.parametrize("remote", [False, True])
def test_where_a_token_names_no_caller_he_is_in_the_challenge(*, remote: bool) -> None:
    harness = Harness(Binding(), remote=remote)
    for size_bytes in (32, 48, 64):
        for peer in (USER, OTHER):
            challenge = bytes(size_bytes)
            bound = bound_challenge(challenge, authenticator=3, application=str(peer.uid))
            assert ask(harness, ops.AttestationToken(challenge), peer)[1] == ops.AttestationTokenResult(
                b"token for " + bound
            )
    for size_bytes in (0, 31, 65):
        assert ask(harness, ops.AttestationToken(bytes(size_bytes)))[0] is Status.PSA_ERROR_INVALID_ARGUMENT


def test_bound_challenges_are_not_mistaken_for_each_other() -> None:
    bound = {
        bound_challenge(challenge, authenticator=authenticator, application=application)
        for challenge in (bytes(32), bytes(48), bytes(64))
        for authenticator in (1, 3)
        for application in ("", "\0" * 16, "a", "é")
    }
    assert len(bound) == 3 * 2 * 4
    assert bound_challenge(bytes(range(32)), authenticator=3, application="1000") == bytes.fromhex(
        "2299c18668ea5eee4d2c439a21a94c6c21a89d43729fb5985cbdeee1dba51389"
    )


EXTENSIONS = [
    ops.KeyStatement("n", bytes(32)),
    ops.StorageSet("n", b""),
    ops.StorageGet("n"),
    ops.StorageInfo("n"),
    ops.StorageRemove("n"),
    ops.AttestationToken(bytes(32)),
]


@pytest.mark.parametrize("operation", [*EXTENSIONS, ops.StorageList()], ids=lambda one: type(one).__name__)
def test_to_requests_that_are_not_extended_they_do_not_exist(harness: Harness, operation: ops.Operation) -> None:
    assert harness.run(operation)[0] is Status.OPCODE_DOES_NOT_EXIST


@pytest.mark.parametrize("operation", EXTENSIONS, ids=lambda one: type(one).__name__)
def test_providers_without_storage_say_so(operation: ops.Operation) -> None:
    assert ask(Harness(BackEnd()), operation)[0] is Status.PSA_ERROR_NOT_SUPPORTED


def test_they_are_listed_to_extended_requests_only(harness: Harness) -> None:
    def listed(provider: int, flags: int) -> set[int]:
        result = harness.run(ops.ListOpcodes(provider), flags=flags)[1]
        assert isinstance(result, ops.ListOpcodesResult)
        return {opcode for opcode in result.opcodes if opcode >= 0x1000}

    assert listed(1, FLAG_EXTENDED) == {
        Opcode.STORAGE_SET,
        Opcode.STORAGE_GET,
        Opcode.STORAGE_INFO,
        Opcode.STORAGE_REMOVE,
        Opcode.ATTESTATION_TOKEN,
    }
    assert listed(0, FLAG_EXTENDED) == {Opcode.STORAGE_LIST}
    assert listed(1, 0) == listed(0, 0) == set()
