"""Planning, making, finding and destroying keys, in steps over the real crypto partition."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeroot import engine
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.providers.api import BackEndAnswer, BackEndCall, Created, LoadedKey, Steps
from edgeroot.providers.trusted_services.provider import TrustedServicesProviderType
from edgeroot.providers.trusted_services.reference import KeyReference
from edgeroot.providers.trusted_services.steps import TsKey
from edgeroot.psa import (
    Algorithm,
    DhFamily,
    EccFamily,
    Hash,
    KeyAttributes,
    KeyType,
    PsaError,
    PsaStatus,
    Secret,
    UsageFlags,
)
from tests.support.crypto_partition import BOB
from tests.support.driven_steps import DrivenPartition
from tests.vectors.keys import refused

ES256 = Algorithm.ecdsa(Hash.SHA_256)
P256 = KeyAttributes(KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, UsageFlags.SIGN_HASH, ES256)
AES = KeyAttributes(KeyType.AES, 0, UsageFlags.EXPORT | UsageFlags.ENCRYPT, Algorithm.GCM)
RSA = KeyType.RSA_KEY_PAIR
FREE = BackEndAnswer(int(PsaStatus.INVALID_HANDLE))
LOST = BackEndAnswer(error=PsaError(PsaStatus.COMMUNICATION_FAILURE, "gone"))


@pytest.fixture
def partition() -> DrivenPartition:
    return DrivenPartition()


@pytest.fixture
def ids(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The random numbers that ids are made of, from first to last."""
    numbers: list[int] = []
    monkeypatch.setattr(engine, "random", lambda size: Secret(numbers.pop(0).to_bytes(size)))
    return numbers


def made(partition: DrivenPartition, attributes: KeyAttributes, material: bytes | None = None) -> Created:
    steps = partition.steps()
    reference = partition.run(steps.plan(attributes))
    return partition.run(steps.create(reference, attributes, None if material is None else Secret(material)))


def id_in(reference: bytes) -> int:
    return KeyReference.from_bytes(reference).key_id


def first_call(steps: Steps[object]) -> BackEndCall:
    return next(steps)


class TestPlan:
    def test_an_id_is_taken_only_if_it_was_seen_free(self, partition: DrivenPartition, ids: list[int]) -> None:
        ids[:] = [5, 5, 5, 9]
        assert id_in(made(partition, P256).reference) == 5
        assert id_in(partition.run(partition.steps().plan(P256))) == 9
        assert partition.opcodes == [Op.GET_KEY_ATTRIBUTES] * 3

    def test_planning_makes_nothing(self, partition: DrivenPartition) -> None:
        reference = partition.run(partition.steps().plan(P256))
        assert partition.opcodes == [Op.GET_KEY_ATTRIBUTES]
        assert not partition.run(partition.steps().exists(reference))

    def test_ids_are_in_the_users_range_and_never_zero(self, partition: DrivenPartition, ids: list[int]) -> None:
        ids[:] = [0, 0xC0000000, 0xFFFFFFFF]
        assert id_in(partition.run(partition.steps().plan(P256))) == 0x3FFFFFFF
        assert len(partition.calls) == 1

    def test_after_eight_taken_ids_there_is_no_place(self, partition: DrivenPartition) -> None:
        taken = partition.context.ok  # whatever is there, the answer is the same
        taken(Op.GENERATE_KEY, first_call(partition.steps().create(_reference(3), P256, None)).request)
        found = BackEndAnswer(0, taken(Op.GET_KEY_ATTRIBUTES, (3).to_bytes(4, "little")))
        partition.instead[Op.GET_KEY_ATTRIBUTES] = [found] * 9
        with refused(PsaStatus.INSUFFICIENT_STORAGE):
            partition.run(partition.steps().plan(P256))
        assert len(partition.calls) == 8

    @pytest.mark.parametrize("answer", [LOST, BackEndAnswer(int(PsaStatus.STORAGE_FAILURE))])
    def test_what_could_not_be_looked_at_is_not_free(self, partition: DrivenPartition, answer: BackEndAnswer) -> None:
        partition.instead[Op.GET_KEY_ATTRIBUTES] = [answer]
        with refused(answer.error.status if answer.error else PsaStatus.STORAGE_FAILURE):
            partition.run(partition.steps().plan(P256))
        assert len(partition.calls) == 1

    def test_another_callers_id_is_free(self, partition: DrivenPartition, ids: list[int]) -> None:
        request = first_call(partition.steps().create(_reference(5), P256, None)).request
        partition.context.ok(Op.GENERATE_KEY, request, caller=BOB)
        ids[:] = [5]
        assert id_in(partition.run(partition.steps().plan(P256))) == 5


class TestCreate:
    def test_a_generated_key_is_at_the_planned_place(self, partition: DrivenPartition) -> None:
        steps = partition.steps()
        reference = partition.run(steps.plan(P256))
        assert partition.run(steps.create(reference, P256, None)) == Created(reference, P256)
        assert partition.opcodes == [Op.GENERATE_KEY]
        assert partition.run(steps.exists(reference))

    def test_an_imported_key_comes_back_as_it_was(self, partition: DrivenPartition) -> None:
        sized = KeyAttributes(AES.key_type, 128, AES.usage, AES.algorithm)
        created = made(partition, sized, bytes(range(16)))
        assert partition.opcodes == [Op.IMPORT_KEY]
        key = partition.steps().load(created.reference, created.attributes)
        exported = partition.run(partition.steps().export_key(key))
        assert isinstance(exported, Secret)
        assert bytes(exported) == bytes(range(16))

    @pytest.mark.parametrize("size_bytes", [16, 24, 32])
    def test_an_imported_keys_size_is_asked_for(self, partition: DrivenPartition, size_bytes: int) -> None:
        steps = partition.steps()
        planned = partition.run(steps.plan(AES))
        created = partition.run(steps.create(planned, AES, Secret(bytes(size_bytes))))
        assert partition.opcodes == [Op.IMPORT_KEY, Op.GET_KEY_ATTRIBUTES]
        assert created.attributes == KeyAttributes(AES.key_type, 8 * size_bytes, AES.usage, AES.algorithm)
        assert KeyReference.from_bytes(created.reference).attributes == created.attributes
        # A crash between the two leaves the planned reference, which has to find the same key.
        assert id_in(created.reference) == id_in(planned)
        assert partition.run(steps.exists(planned))
        assert partition.run(steps.exists(created.reference))

    def test_a_key_that_vanishes_at_once_is_an_error(self, partition: DrivenPartition) -> None:
        partition.instead[Op.GET_KEY_ATTRIBUTES] = [None, FREE]
        with refused(PsaStatus.CORRUPTION_DETECTED):
            made(partition, AES, bytes(16))

    def test_a_place_that_was_taken_meanwhile(self, partition: DrivenPartition) -> None:
        steps = partition.steps()
        reference = partition.run(steps.plan(P256))
        partition.run(steps.create(reference, P256, None))
        with refused(PsaStatus.ALREADY_EXISTS):
            partition.run(steps.create(reference, P256, None))
        with refused(PsaStatus.ALREADY_EXISTS):
            partition.run(steps.create(reference, AES, Secret(bytes(16))))
        assert len(partition.calls) == 1
        assert partition.run(steps.exists(reference))

    def test_material_that_is_no_key(self, partition: DrivenPartition) -> None:
        with refused(PsaStatus.INVALID_ARGUMENT):
            made(partition, AES, bytes(17))
        assert partition.opcodes == [Op.IMPORT_KEY]

    def test_material_that_no_record_holds(self, partition: DrivenPartition) -> None:
        raw = KeyAttributes(KeyType.RAW_DATA, 0, UsageFlags.EXPORT, Algorithm.NONE)
        with refused(PsaStatus.INVALID_ARGUMENT):
            made(partition, raw, bytes(0x10000))
        assert partition.opcodes == []

    @pytest.mark.parametrize("opcode", [Op.GENERATE_KEY, Op.IMPORT_KEY])
    def test_a_lost_answer_is_told(self, partition: DrivenPartition, opcode: Op) -> None:
        partition.instead[opcode] = [LOST]
        with refused(PsaStatus.COMMUNICATION_FAILURE):
            made(
                partition, P256 if opcode is Op.GENERATE_KEY else AES, None if opcode is Op.GENERATE_KEY else bytes(16)
            )

    @pytest.mark.parametrize("key_id", [b"", b"\1\0\0", bytes(4), bytes.fromhex("00000040"), b"\xff" * 4])
    def test_what_upstream_does_not_write(self, key_id: bytes) -> None:
        with refused(PsaStatus.DATA_INVALID):
            TrustedServicesProviderType().adopted(key_id, P256)

    @pytest.mark.parametrize("number", [1, 0x123456, 0x3FFFFFFF])
    def test_upstreams_ids_are_ours(self, number: int) -> None:
        reference = TrustedServicesProviderType().adopted(number.to_bytes(4, "little"), P256)
        assert KeyReference.from_bytes(reference) == KeyReference(number, P256)

    def test_a_reference_of_another_provider(self, partition: DrivenPartition) -> None:
        with refused(PsaStatus.DATA_INVALID):
            partition.run(partition.steps().create(b"\x02" + bytes(18), P256, None))
        assert partition.calls == []


class TestDestroy:
    def test_a_destroyed_key_is_no_more(self, partition: DrivenPartition) -> None:
        steps = partition.steps()
        created = made(partition, P256)
        partition.run(steps.destroy(created.reference))
        assert partition.opcodes == [Op.GET_KEY_ATTRIBUTES, Op.DESTROY_KEY]
        assert not partition.run(steps.exists(created.reference))
        partition.run(steps.destroy(created.reference))
        assert partition.opcodes == [Op.GET_KEY_ATTRIBUTES]

    @pytest.mark.parametrize(
        "other",
        [
            KeyAttributes(P256.key_type, 384, P256.usage, P256.algorithm),
            KeyAttributes(P256.key_type, 256, UsageFlags.VERIFY_HASH, P256.algorithm),
            KeyAttributes(P256.key_type, 256, P256.usage, Algorithm.ECDSA_ANY),
            KeyAttributes(KeyType.AES, 256, UsageFlags.ENCRYPT, Algorithm.CTR),
        ],
    )
    def test_what_is_at_the_place_and_does_not_match_stays(
        self, partition: DrivenPartition, other: KeyAttributes
    ) -> None:
        steps = partition.steps()
        theirs = partition.run(steps.create(_reference(77, other), other, None)).reference
        mine = _reference(77)
        assert not partition.run(steps.exists(mine))
        partition.run(steps.destroy(mine))
        assert partition.opcodes == [Op.GET_KEY_ATTRIBUTES]
        assert partition.run(steps.exists(theirs))

    def test_usage_that_the_partition_implies_matches(self, partition: DrivenPartition) -> None:
        both = UsageFlags.SIGN_HASH | UsageFlags.SIGN_MESSAGE | UsageFlags.VERIFY_HASH | UsageFlags.VERIFY_MESSAGE
        signs = KeyAttributes(P256.key_type, 256, UsageFlags.SIGN_HASH | UsageFlags.VERIFY_HASH, ES256)
        reference = made(partition, signs).reference
        assert partition.run(partition.steps().exists(reference))
        assert partition.run(partition.steps().exists(_reference(id_in(reference), KeyAttributes(*_with(signs, both)))))

    def test_somebody_else_was_faster(self, partition: DrivenPartition) -> None:
        created = made(partition, P256)
        partition.instead[Op.DESTROY_KEY] = [FREE]
        partition.run(partition.steps().destroy(created.reference))
        assert partition.opcodes == [Op.GET_KEY_ATTRIBUTES, Op.DESTROY_KEY]

    @pytest.mark.parametrize("opcode", [Op.GET_KEY_ATTRIBUTES, Op.DESTROY_KEY])
    def test_other_errors_are_told(self, partition: DrivenPartition, opcode: Op) -> None:
        created = made(partition, P256)
        partition.instead[opcode] = [BackEndAnswer(int(PsaStatus.STORAGE_FAILURE))]
        with refused(PsaStatus.STORAGE_FAILURE):
            partition.run(partition.steps().destroy(created.reference))
        assert partition.run(partition.steps().exists(created.reference))


class TestUse:
    def test_the_first_use_of_a_key_that_is_gone_says_so(self, partition: DrivenPartition) -> None:
        steps = partition.steps()
        created = made(partition, P256)
        key = steps.load(created.reference, created.attributes)
        partition.run(steps.destroy(created.reference))
        with refused(PsaStatus.DOES_NOT_EXIST):
            partition.run(steps.sign_hash(key, ES256, bytes(32)))
        with refused(PsaStatus.DOES_NOT_EXIST):
            partition.run(steps.export_public_key(key))

    def test_a_public_key_is_exported(self, partition: DrivenPartition) -> None:
        steps = partition.steps()
        private = ec.derive_private_key(12345, ec.SECP256R1())
        created = made(partition, P256, (12345).to_bytes(32))
        exported = partition.run(steps.export_public_key(steps.load(created.reference, P256)))
        assert exported == private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def test_a_key_that_may_not_be_exported(self, partition: DrivenPartition) -> None:
        created = made(partition, P256)
        with refused(PsaStatus.NOT_PERMITTED):
            partition.run(partition.steps().export_key(partition.steps().load(created.reference, P256)))

    def test_a_key_of_another_provider(self, partition: DrivenPartition) -> None:
        key = LoadedKey(_reference(1), P256)
        with refused(PsaStatus.INVALID_HANDLE):
            partition.run(partition.steps().export_key(key))

    def test_a_reference_that_is_none(self, partition: DrivenPartition) -> None:
        with refused(PsaStatus.DATA_INVALID):
            partition.steps().load(b"", P256)


class TestSlowCalls:
    @pytest.mark.parametrize(
        ("attributes", "material", "slow"),
        [
            (KeyAttributes(RSA, 1024, UsageFlags.NONE, Algorithm.NONE), None, True),
            (KeyAttributes(RSA, 1024, UsageFlags.NONE, Algorithm.NONE), b"proven", True),
            (KeyAttributes(KeyType.RSA_PUBLIC_KEY, 2048, UsageFlags.NONE, Algorithm.NONE), b"public", False),
            (KeyAttributes(KeyType.dh_key_pair(DhFamily.RFC7919), 2048, UsageFlags.NONE, Algorithm.FFDH), None, True),
            (P256, None, False),
            (AES, b"material", False),
        ],
    )
    def test_making_keys(self, attributes: KeyAttributes, material: bytes | None, slow: bool) -> None:
        secret = None if material is None else Secret(material)
        assert first_call(DrivenPartition().steps().create(_reference(1), attributes, secret)).slow is slow

    @pytest.mark.parametrize(
        ("key_type", "bits", "slow"),
        [
            (RSA, 3072, False),
            (RSA, 3073, True),
            (KeyType.dh_key_pair(DhFamily.RFC7919), 2048, True),
            (P256.key_type, 521, False),
        ],
    )
    def test_using_keys(self, key_type: KeyType, bits: int, slow: bool) -> None:
        steps = DrivenPartition().steps()
        key = TsKey(_reference(1), KeyAttributes(key_type, bits, UsageFlags.NONE, Algorithm.NONE))
        calls = [
            first_call(steps.sign_hash(key, ES256, bytes(32))),
            first_call(steps.sign_message(key, ES256, b"message")),
            first_call(steps.asymmetric_decrypt(key, Algorithm.RSA_PKCS1V15_CRYPT, bytes(384), b"")),
            first_call(steps.raw_key_agreement(key, Algorithm.ECDH, bytes(65))),
            first_call(steps.export_public_key(key)),
        ]
        assert [call.slow for call in calls] == [slow] * 5
        # Operations with the public half alone are quick.
        assert not first_call(steps.verify_hash(key, ES256, bytes(32), bytes(64))).slow


def _reference(key_id: int, attributes: KeyAttributes = P256) -> bytes:
    return bytes(KeyReference(key_id, attributes))


def _with(attributes: KeyAttributes, usage: UsageFlags) -> tuple[KeyType, int, UsageFlags, Algorithm]:
    return attributes.key_type, attributes.key_bits, usage, attributes.algorithm
