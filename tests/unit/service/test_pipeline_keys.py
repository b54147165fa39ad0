"""How keys are made and destroyed where the back end keeps them: whatever fails, the store and the back end agree."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeroot.auth import PeerCredentials
from edgeroot.keystore.records import KeyState
from edgeroot.keystore.writes import NOBODY, Mark, Outcome, Result
from edgeroot.providers.api import Created, LoadedKey, Provider
from edgeroot.psa import Algorithm, KeyAttributes, PsaStatus, Secret, UsageFlags
from edgeroot.service.jobs import Job, JobOutcome
from edgeroot.service.pipeline import Rules
from edgeroot.wire import operations as ops
from edgeroot.wire.header import FLAG_EXTENDED
from edgeroot.wire.status import ResponseStatus as Status
from tests.unit.service.pipeline_kit import ES256, P256, PROVIDER, USER, BackEnd, BlobBackEnd, Harness

GENERATE = ops.PsaGenerateKey("key", P256)
DESTROY = ops.PsaDestroyKey("key")
SIGN = ops.PsaSignHash("key", ES256, bytes(32))


@pytest.fixture(params=[False, True], ids=["local", "remote"])
def remote(request: pytest.FixtureRequest) -> bool:
    value: bool = request.param
    return value


@pytest.fixture
def back_end() -> BackEnd:
    return BackEnd()


@pytest.fixture
def harness(back_end: BackEnd, remote: bool) -> Harness:
    return Harness(back_end, remote=remote)


def effects(remote: bool, *names: str) -> list[str]:
    return [name for name in names if remote or name != "Job"]


def test_life_of_a_key_in_a_back_end(harness: Harness, back_end: BackEnd, remote: bool) -> None:
    assert harness.run(GENERATE) == (Status.SUCCESS, ops.Empty(), effects(remote, "Job", "Reserve", "Job", "Commit"))
    assert back_end.keys == {b"place 1"}
    status, signed, on_the_way = harness.run(SIGN)
    assert (status, signed) == (Status.SUCCESS, ops.PsaSignHashResult(b"signed by place 1"))
    assert on_the_way == effects(remote, "Job")
    assert harness.run(DESTROY) == (Status.SUCCESS, ops.Empty(), effects(remote, "Mark", "Job", "Finish"))
    assert back_end.keys == set()
    assert harness.model.keys == {}
    assert harness.status(SIGN) is Status.PSA_ERROR_DOES_NOT_EXIST
    assert harness.status(DESTROY) is Status.PSA_ERROR_DOES_NOT_EXIST


def test_life_of_a_key_that_the_store_keeps(remote: bool) -> None:
    harness = Harness(BlobBackEnd(), remote=remote)
    assert harness.run(GENERATE)[2] == effects(remote, "Job", "Insert")
    assert harness.status(SIGN) is Status.SUCCESS
    assert harness.status(GENERATE) is Status.PSA_ERROR_ALREADY_EXISTS
    assert harness.run(DESTROY)[2] == ["Remove"]
    assert harness.model.keys == {}


@pytest.mark.parametrize(
    "refusal", [PsaStatus.INSUFFICIENT_STORAGE, PsaStatus.NOT_SUPPORTED, PsaStatus.INVALID_ARGUMENT]
)
def test_refused_creation_gives_the_name_back(
    harness: Harness, back_end: BackEnd, remote: bool, refusal: PsaStatus
) -> None:
    back_end.fails["create"] = [refusal]
    status, _, on_the_way = harness.run(GENERATE)
    assert status is Status.from_psa(refusal)
    assert on_the_way == effects(remote, "Job", "Reserve", "Job", "Release")
    assert "destroy" not in back_end.calls
    assert harness.model.keys == {}
    assert harness.status(GENERATE) is Status.SUCCESS


def test_taken_name_comes_before_any_other_fault(remote: bool) -> None:
    for back_end in (BackEnd(), BlobBackEnd()):
        harness = Harness(back_end, remote=remote)
        harness.run(GENERATE)
        back_end.fails["create"] = [PsaStatus.INVALID_ARGUMENT]
        assert harness.status(GENERATE) is Status.PSA_ERROR_ALREADY_EXISTS


def test_creation_of_unknown_outcome_is_undone(harness: Harness, back_end: BackEnd, remote: bool) -> None:
    back_end.fails["create"] = [PsaStatus.COMMUNICATION_FAILURE]
    status, _, on_the_way = harness.run(GENERATE)
    assert status is Status.PSA_ERROR_COMMUNICATION_FAILURE
    assert on_the_way == effects(remote, "Job", "Reserve", "Job", "Job", "Release")
    assert back_end.keys == set()
    assert harness.model.keys == {}


def test_what_cannot_be_undone_stays_reserved_for_recovery(harness: Harness, back_end: BackEnd, remote: bool) -> None:
    back_end.fails = {"create": [PsaStatus.COMMUNICATION_FAILURE], "destroy": [PsaStatus.COMMUNICATION_FAILURE]}
    status, _, on_the_way = harness.run(GENERATE)
    assert status is Status.PSA_ERROR_COMMUNICATION_FAILURE
    assert on_the_way == effects(remote, "Job", "Reserve", "Job", "Job", "Claim")
    [reserved] = harness.model.keys.values()
    assert (reserved.state, reserved.holder, reserved.record.reference) == (KeyState.RESERVED, NOBODY, b"place 1")
    assert back_end.keys == {b"place 1"}
    assert harness.status(SIGN) is Status.PSA_ERROR_DOES_NOT_EXIST
    assert harness.status(GENERATE) is Status.PSA_ERROR_ALREADY_EXISTS


def test_refused_destruction_leaves_the_key_alive(harness: Harness, back_end: BackEnd, remote: bool) -> None:
    harness.run(GENERATE)
    back_end.fails["destroy"] = [PsaStatus.NOT_PERMITTED]
    status, _, on_the_way = harness.run(DESTROY)
    assert status is Status.PSA_ERROR_NOT_PERMITTED
    assert on_the_way == effects(remote, "Mark", "Job", "Unmark")
    assert harness.status(SIGN) is Status.SUCCESS
    assert harness.status(DESTROY) is Status.SUCCESS


def test_destruction_of_unknown_outcome_stays_marked_for_recovery(
    harness: Harness, back_end: BackEnd, remote: bool
) -> None:
    harness.run(GENERATE)
    harness.run(SIGN)
    back_end.fails["destroy"] = [PsaStatus.HARDWARE_FAILURE]
    status, _, on_the_way = harness.run(DESTROY)
    assert status is Status.PSA_ERROR_HARDWARE_FAILURE
    assert on_the_way == effects(remote, "Mark", "Job", "Claim")
    [marked] = harness.model.keys.values()
    assert (marked.state, marked.holder) == (KeyState.MARKED, NOBODY)
    assert harness.status(SIGN) is Status.PSA_ERROR_DOES_NOT_EXIST
    assert harness.status(GENERATE) is Status.PSA_ERROR_ALREADY_EXISTS


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (Result.ALREADY_EXISTS, Status.PSA_ERROR_ALREADY_EXISTS),
        (Result.NO_SPACE, Status.PSA_ERROR_INSUFFICIENT_STORAGE),
        (Result.FAILED, Status.KEY_INFO_MANAGER_ERROR),
        (Result.CONFLICT, Status.KEY_INFO_MANAGER_ERROR),
    ],
)
def test_name_that_cannot_be_reserved_keeps_the_back_end_out(
    harness: Harness, back_end: BackEnd, remote: bool, result: Result, status: Status
) -> None:
    """The writer has the last word: two requests for one name may both have seen it free."""
    planned = [JobOutcome(Status.SUCCESS, reference=b"place 1")] if remote else []
    answered = harness.run(GENERATE, answers=[*planned, Outcome(result)])
    assert answered == (status, None, effects(remote, "Job", "Reserve"))
    assert back_end.calls == []


def test_key_that_cannot_be_marked_is_not_destroyed(harness: Harness, back_end: BackEnd) -> None:
    harness.run(GENERATE)
    assert harness.run(DESTROY, answers=[Outcome(Result.FAILED)])[0] is Status.KEY_INFO_MANAGER_ERROR
    assert back_end.keys == {b"place 1"}
    assert harness.status(SIGN) is Status.SUCCESS


def test_only_one_of_two_destructions_happens(harness: Harness, back_end: BackEnd) -> None:
    harness.run(GENERATE)
    assert harness.write(Mark(harness.identity("key"), "another process")).result is Result.DONE
    assert harness.status(DESTROY) is Status.PSA_ERROR_DOES_NOT_EXIST
    assert back_end.keys == {b"place 1"}


def test_provider_that_plans_no_place_makes_no_key() -> None:
    class Planless(BackEnd):
        def plan(self, attributes: KeyAttributes) -> bytes | None:
            return None

    harness = Harness(Planless())
    assert harness.run(GENERATE) == (Status.PSA_ERROR_GENERIC_ERROR, None, [])


def test_deleting_a_client_goes_on_after_a_key_that_resists(harness: Harness, back_end: BackEnd, remote: bool) -> None:
    for key_name in "abc":
        assert harness.status(ops.PsaGenerateKey(key_name, P256)) is Status.SUCCESS
    back_end.fails["destroy"] = [PsaStatus.NOT_PERMITTED]
    admin = PeerCredentials(pid=1, uid=0, gid=0)
    status, _, on_the_way = harness.run(ops.DeleteClient(str(USER.uid)), peer=admin)
    assert status is Status.SUCCESS
    one = effects(remote, "Mark", "Job", "Finish")
    assert on_the_way == [*one[:-1], "Unmark", *one, *one]
    assert {identity.key_name for identity in harness.model.keys} == {"a"}


def test_deleting_a_client_of_blobs_is_one_write() -> None:
    harness = Harness(BlobBackEnd())
    for key_name in "abc":
        harness.run(ops.PsaGenerateKey(key_name, P256))
    admin = PeerCredentials(pid=1, uid=0, gid=0)
    assert harness.run(ops.DeleteClient(str(USER.uid)), peer=admin)[2] == ["RemoveClient"]
    assert harness.model.keys == {}


def test_inferred_size_is_what_is_stored(harness: Harness) -> None:
    inferred = KeyAttributes(P256.key_type, 0, P256.usage, P256.algorithm)
    assert harness.status(ops.PsaImportKey("key", inferred, b"secret")) is Status.SUCCESS
    listed = harness.run(ops.ListKeys())[1]
    assert listed == ops.ListKeysResult((ops.KeyInfo(1, "key", P256),))


def test_lists_are_made_in_slices() -> None:
    harness = Harness(BlobBackEnd())
    key_names = [f"{number:03}" for number in range(250)]
    for key_name in key_names:
        harness.run(ops.PsaGenerateKey(key_name, P256))
    status, listed, on_the_way = harness.run(ops.ListKeys())
    assert status is Status.SUCCESS
    assert isinstance(listed, ops.ListKeysResult)
    assert [key.name for key in listed.keys] == key_names
    assert on_the_way == ["PAUSE", "PAUSE"]


def test_lost_helper_is_a_status(back_end: BackEnd) -> None:
    harness = Harness(back_end, remote=True)
    harness.run(GENERATE)
    lost = JobOutcome(Status.PSA_ERROR_COMMUNICATION_FAILURE)
    assert harness.run(SIGN, answers=[lost]) == (Status.PSA_ERROR_COMMUNICATION_FAILURE, None, ["Job"])
    assert harness.status(SIGN) is Status.SUCCESS


def test_remote_provider_is_never_called_here() -> None:
    class Untouchable(BackEnd):
        def load(self, reference: bytes, attributes: KeyAttributes) -> None:  # type: ignore[override] # never returns
            raise AssertionError

        def create(self, reference: bytes | None, attributes: KeyAttributes, material: Secret | None) -> Created:
            raise AssertionError

        def destroy(self, reference: bytes) -> None:
            raise AssertionError

    elsewhere = BackEnd()
    harness = Harness(Untouchable(), remote=True)
    harness.executor._providers = {0: elsewhere}  # the host process has a provider of its own
    for operation in (GENERATE, SIGN, ops.PsaGenerateRandom(8), DESTROY):
        assert harness.status(operation) is Status.SUCCESS
    assert elsewhere.calls == ["create", "load", "sign_hash", "destroy"]


class TestCache:
    def test_key_is_looked_up_and_loaded_once(self, back_end: BackEnd) -> None:
        harness = Harness(back_end)
        harness.run(GENERATE)
        for _ in range(3):
            assert harness.status(SIGN) is Status.SUCCESS
        assert harness.reader.finds == 1
        assert back_end.calls.count("load") == 1

    def test_a_key_made_here_needs_no_look(self) -> None:
        harness = Harness(BlobBackEnd())
        harness.run(GENERATE)
        assert harness.status(SIGN) is Status.SUCCESS
        assert harness.status(DESTROY) is Status.SUCCESS
        assert harness.reader.finds == 0
        assert harness.status(SIGN) is Status.PSA_ERROR_DOES_NOT_EXIST

    @pytest.mark.parametrize("when", ["before the answer", "after the answer"])
    def test_a_key_made_here_and_made_anew_by_another_worker_is_the_new_one(self, when: str) -> None:
        harness = Harness(BlobBackEnd())
        other = Harness(BlobBackEnd())
        other.model, other.reader._model = harness.model, harness.model
        other.generations = harness.generations

        def make_anew() -> None:
            assert other.status(DESTROY) is Status.SUCCESS
            assert other.status(ops.PsaGenerateKey("key", replace(P256, usage=UsageFlags.NONE))) is Status.SUCCESS

        steps = harness.begin(GENERATE)
        assert not isinstance(steps, bytes)
        outcome = harness.outcome(next(steps))
        if when == "before the answer":
            make_anew()
        with pytest.raises(StopIteration):
            steps.send(outcome)
        if when == "after the answer":
            make_anew()
        assert harness.status(SIGN) is Status.PSA_ERROR_NOT_PERMITTED
        assert harness.status(DESTROY) is Status.SUCCESS
        assert not harness.model.keys

    def test_key_destroyed_by_another_worker_is_not_used(self, back_end: BackEnd) -> None:
        harness = Harness(back_end)
        harness.run(GENERATE)
        assert harness.status(SIGN) is Status.SUCCESS
        harness.write(Mark(harness.identity("key"), "another process"))
        assert harness.status(SIGN) is Status.PSA_ERROR_DOES_NOT_EXIST

    def test_key_made_anew_by_another_worker_is_the_new_one(self, back_end: BackEnd) -> None:
        harness = Harness(back_end)
        harness.run(GENERATE)
        harness.run(SIGN)
        other = Harness(back_end)
        other.model, other.reader._model = harness.model, harness.model
        other.generations = harness.generations
        assert other.status(DESTROY) is Status.SUCCESS
        assert other.status(GENERATE) is Status.SUCCESS
        assert harness.run(SIGN)[1] == ops.PsaSignHashResult(b"signed by place 2")


def test_deprecated_primitives_are_refused_before_anything_else() -> None:
    """Even before the name is looked for, as upstream does; imports are let through."""
    from edgeroot.psa import Algorithm, Hash

    old = replace(P256, algorithm=Algorithm.ecdsa(Hash.SHA_1))
    harness = Harness(BackEnd())
    harness.run(GENERATE)
    assert harness.status(ops.PsaGenerateKey("key", old)) is Status.DEPRECATED_PRIMITIVE
    assert harness.status(ops.PsaImportKey("old", old, b"x")) is Status.SUCCESS
    lenient = Harness(BackEnd(), rules=Rules(allow_deprecated=True))
    assert lenient.status(ops.PsaGenerateKey("key", old)) is Status.SUCCESS


def test_operation_that_the_provider_lacks_is_refused_before_the_key_is_looked_for(harness: Harness) -> None:
    assert harness.status(ops.PsaVerifyHash("no", ES256, bytes(32), b"")) is Status.PSA_ERROR_NOT_SUPPORTED
    assert harness.status(ops.PsaSignHash("no", ES256, bytes(32))) is Status.PSA_ERROR_DOES_NOT_EXIST
    assert harness.status(ops.PrepareKeyAttestation("no", "")) is Status.PSA_ERROR_NOT_SUPPORTED


def test_observer_hears_of_every_answer(harness: Harness) -> None:
    harness.run(GENERATE)
    harness.run(SIGN)
    harness.run(ops.Ping())
    harness.run(ops.PsaSignHash("no", ES256, bytes(32)))
    harness.run(ops.ListOpcodes(99))
    harness.run(ops.DeleteClient("1001"), peer=PeerCredentials(1, 0, 0))
    heard = [(call.key_name, status) for call, status in harness.observed]
    assert heard == [
        ("key", Status.SUCCESS),
        ("key", Status.SUCCESS),
        (None, Status.SUCCESS),
        ("no", Status.PSA_ERROR_DOES_NOT_EXIST),
        (None, Status.PROVIDER_DOES_NOT_EXIST),
        ("1001", Status.SUCCESS),
    ]
    assert harness.observed[0][0].provider is not None
    assert harness.observed[0][0].provider.name == PROVIDER


def test_our_own_faults_are_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(BackEnd):
        def capabilities(self) -> None:  # type: ignore[override] # the fault
            return None

    provider: Provider = Faulty()
    harness = Harness(provider)
    assert harness.run(ops.ListOpcodes(1), flags=FLAG_EXTENDED)[0] is Status.PSA_ERROR_GENERIC_ERROR
    assert harness.run(SIGN)[0] is Status.PSA_ERROR_GENERIC_ERROR
    assert "a fault in the service itself" in caplog.text


class MovingBackEnd(BlobBackEnd):
    """Wants its keys to be reached by a newer reference than the one it made them with."""

    def sign_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes) -> bytes:
        if not key.reference.startswith(b"new "):
            key.replacement = b"new " + key.reference
            self.keys.add(key.replacement)
        return super().sign_hash(key, alg, hash_value)


def test_a_reference_that_a_provider_hands_back_is_kept(remote: bool) -> None:
    harness = Harness(MovingBackEnd(), remote=remote)
    assert harness.status(GENERATE) is Status.SUCCESS
    first = harness.run(SIGN)
    assert first == (Status.SUCCESS, ops.PsaSignHashResult(b"signed by blob 1"), effects(remote, "Job", "Replace"))
    assert harness.model.keys[harness.identity("key")].record.reference == b"new blob 1"
    second = harness.run(SIGN)
    assert second == (Status.SUCCESS, ops.PsaSignHashResult(b"signed by new blob 1"), effects(remote, "Job"))


def test_an_answer_survives_a_reference_that_cannot_be_kept(remote: bool, caplog: pytest.LogCaptureFixture) -> None:
    harness = Harness(MovingBackEnd(), remote=remote)
    assert harness.status(GENERATE) is Status.SUCCESS
    full = Outcome(Result.NO_SPACE)
    job = [harness.executor.execute(_job(harness))] if remote else []
    status, signed, _ = harness.run(SIGN, answers=[*job, full])
    assert (status, signed) == (Status.SUCCESS, ops.PsaSignHashResult(b"signed by blob 1"))
    assert "new reference could not be stored" in caplog.text


def _job(harness: Harness) -> Job:
    steps = harness.begin(SIGN)
    assert not isinstance(steps, bytes)
    effect = next(steps)
    assert isinstance(effect, Job)
    return effect


def test_taken_place_is_given_up_for_another_one(harness: Harness, back_end: BackEnd, remote: bool) -> None:
    """Somebody else's key at the planned place is neither touched nor mistaken for ours."""
    back_end.fails["create"] = [PsaStatus.ALREADY_EXISTS]
    status, _, on_the_way = harness.run(GENERATE)
    assert status is Status.SUCCESS
    once = ("Job", "Reserve", "Job")
    assert on_the_way == effects(remote, *once, "Release", *once, "Commit")
    assert back_end.keys == {b"place 2"}
    assert "destroy" not in back_end.calls


def test_back_end_without_a_free_place_ends_the_creation(harness: Harness, back_end: BackEnd) -> None:
    back_end.fails["create"] = [PsaStatus.ALREADY_EXISTS] * 3
    assert harness.status(GENERATE) is Status.PSA_ERROR_GENERIC_ERROR
    assert harness.model.keys == {}
