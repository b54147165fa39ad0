"""Keys that another program made in an element, taken over by their slots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.element.slots import ECDSA, PAIR, PUBLIC
from edgeroot.providers.secure_element.provider import SecureElementProvider, SecureElementProviderType
from edgeroot.providers.secure_element.reference import new_reference
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, UsageFlags
from edgeroot.testing.atecc import Atecc, Model, curve
from tests.support.secure_element import on_a_bus, open_provider, personalised

DIGEST = bytes(range(32))
SIGNING = KeyAttributes(PAIR, 256, UsageFlags.SIGN_HASH, ECDSA)
AGREEING = KeyAttributes(PAIR, 256, UsageFlags.DERIVE, Algorithm.ECDH)
VERIFYING = KeyAttributes(PUBLIC, 256, UsageFlags.VERIFY_HASH, ECDSA)
CTR = KeyAttributes(KeyType.AES, 128, UsageFlags.ENCRYPT, Algorithm.CTR)
HMAC = KeyAttributes(KeyType.HMAC, 256, UsageFlags.SIGN_MESSAGE, Algorithm.hmac(Hash.SHA_256))
RAW = KeyAttributes(KeyType.RAW_DATA, 256, UsageFlags.EXPORT, Algorithm.NONE)


@pytest.fixture
def part() -> Atecc:
    return personalised(Model.ATECC608A)


@pytest.fixture
def provider(part: Atecc, tmp_path: Path) -> Iterator[SecureElementProvider]:
    """Not started, as when it is asked what could be taken over."""
    with on_a_bus(part):
        opened = open_provider(Model.ATECC608A, tmp_path)
        yield opened
        opened.close()


def adopted(slot: int, attributes: KeyAttributes) -> bytes:
    return SecureElementProviderType().adopted(bytes([slot]), attributes)


def put_pair(part: Atecc, slot: int) -> bytes:
    """The public key."""
    private = curve.new_key()
    part.zones.write_slot(slot, 4, private)
    return b"\x04" + curve.public_of(private)


def put_public(part: Atecc, slot: int, point: bytes) -> None:
    part.zones.write_slot(slot, 4, point[1:33])
    part.zones.write_slot(slot, 40, point[33:])


def test_a_look_changes_nothing(provider: SecureElementProvider, part: Atecc, tmp_path: Path) -> None:
    put_pair(part, 1)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert provider.check_adopted(adopted(1, SIGNING), SIGNING) == SIGNING
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_pair_works_on_and_its_slot_is_taken(provider: SecureElementProvider, part: Atecc) -> None:
    public, reference = put_pair(part, 1), adopted(1, SIGNING)
    provider.check_adopted(reference, SIGNING)
    provider.start(None)
    provider.adopt(reference)
    provider.adopt(reference)  # as after an interruption
    assert provider.check_adopted(reference, SIGNING) == SIGNING
    key = provider.load(reference, SIGNING)
    assert provider.export_public_key(key) == public
    assert curve.verifies(public[1:], DIGEST, provider.sign_hash(key, ECDSA, DIGEST))
    for _ in range(3):
        provider.create(provider.plan(SIGNING), SIGNING, None)
    with pytest.raises(PsaError, match=r"taken \(slots 1, 2, 3, 13\)"):
        provider.plan(SIGNING)
    assert provider.export_public_key(provider.load(reference, SIGNING)) == public
    provider.destroy(reference)
    assert not provider.exists(reference)
    assert b"\x04" + curve.public_of(part.zones.read_slot(1)[4:36]) != public


def test_it_is_done_again_by_another_process_that_knows_of_nothing(
    provider: SecureElementProvider, part: Atecc, tmp_path: Path
) -> None:
    public, reference = put_pair(part, 1), adopted(1, SIGNING)
    provider.start(None)
    provider.adopt(reference)  # and killed before the record, and what the start returned, were stored
    provider.close()
    again = open_provider(Model.ATECC608A, tmp_path)
    assert again.check_adopted(reference, SIGNING) == SIGNING
    again.start(None)
    again.adopt(reference)
    assert again.export_public_key(again.load(reference, SIGNING)) == public
    again.close()


def test_other_kinds_work_on(provider: SecureElementProvider, part: Atecc) -> None:
    theirs = ec.generate_private_key(ec.SECP256R1())
    numbers = theirs.public_key().public_numbers()
    point = b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    put_pair(part, 5)
    put_public(part, 11, point)
    kinds = {5: AGREEING, 11: VERIFYING, 6: CTR, 9: HMAC}
    references = {slot: adopted(slot, attributes) for slot, attributes in kinds.items()}
    for slot, attributes in kinds.items():
        assert provider.check_adopted(references[slot], attributes) == attributes
    provider.start(None)
    for reference in references.values():
        provider.adopt(reference)
    keys = {slot: provider.load(references[slot], attributes) for slot, attributes in kinds.items()}
    agreed = theirs.exchange(
        ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), provider.export_public_key(keys[5]))
    )
    assert bytes(provider.raw_key_agreement(keys[5], Algorithm.ECDH, point)) == agreed
    assert provider.export_public_key(keys[11]) == point
    sealed = provider.cipher_encrypt(keys[6], Algorithm.CTR, b"a text")
    assert bytes(provider.cipher_decrypt(keys[6], Algorithm.CTR, sealed)) == b"a text"
    assert len(provider.mac_compute(keys[9], HMAC.algorithm, b"a text")) == 32


def test_sizes_that_upstream_did_not_write_down(provider: SecureElementProvider, part: Atecc) -> None:
    put_pair(part, 1)
    for slot, attributes in ((1, SIGNING), (6, CTR)):
        assert provider.check_adopted(adopted(slot, attributes), replace(attributes, key_bits=0)) == attributes


@pytest.mark.parametrize(
    ("slot", "attributes", "status", "said"),
    [
        (3, SIGNING, PsaStatus.DOES_NOT_EXIST, "slot 3 of the element has no such key"),
        (11, VERIFYING, PsaStatus.DOES_NOT_EXIST, "slot 11 of the element has no such key"),
        (0, SIGNING, PsaStatus.NOT_SUPPORTED, "slot 0 .* not one that the service can use"),
        (1, AGREEING, PsaStatus.NOT_SUPPORTED, "slot 1 .* not one that the service can use"),
        (6, SIGNING, PsaStatus.NOT_SUPPORTED, "slot 6 .* not one that the service can use"),
        (8, RAW, PsaStatus.NOT_SUPPORTED, "slot 8 .* not one that the service can use"),
        (1, replace(SIGNING, key_type=KeyType.ecc_key_pair(EccFamily.SECP_K1)), PsaStatus.NOT_SUPPORTED, "slot 1"),
        (1, replace(SIGNING, algorithm=Algorithm.ecdsa(Hash.SHA_512)), PsaStatus.NOT_SUPPORTED, "can be used in this"),
        (6, replace(CTR, algorithm=Algorithm.CFB), PsaStatus.NOT_SUPPORTED, "can be used in this"),
        (9, replace(HMAC, key_bits=0), PsaStatus.NOT_SUPPORTED, "of 0 bits"),
    ],
)
def test_what_cannot_be_taken_over(
    provider: SecureElementProvider, part: Atecc, slot: int, attributes: KeyAttributes, status: PsaStatus, said: str
) -> None:
    put_pair(part, 1)
    with pytest.raises(PsaError, match=said) as raised:
        provider.check_adopted(adopted(slot, attributes), attributes)
    assert raised.value.status is status


def test_a_slot_with_a_key_of_ours(provider: SecureElementProvider, tmp_path: Path) -> None:
    provider.start(None)
    provider.create(provider.plan(SIGNING), SIGNING, None)
    for ask in (lambda ref: provider.check_adopted(ref, SIGNING), provider.adopt):
        with pytest.raises(PsaError, match="slot 1 of the element has a key of this service's already"):
            ask(adopted(1, SIGNING))
    assert len(list(tmp_path.glob("*-slots"))) == 1


def test_an_element_that_does_not_answer_is_told(provider: SecureElementProvider, part: Atecc) -> None:
    put_pair(part, 1)
    with on_a_bus(part) as bus:
        bus.on_write = lambda data: None
        with pytest.raises(PsaError, match="ATCA_") as raised:
            provider.check_adopted(adopted(1, SIGNING), SIGNING)
    assert raised.value.status is PsaStatus.HARDWARE_FAILURE


@pytest.mark.parametrize("key_id", [b"", b"\x10", b"\xff"])
def test_what_is_no_slot(key_id: bytes) -> None:
    with pytest.raises(PsaError, match="no slot") as raised:
        SecureElementProviderType().adopted(key_id, SIGNING)
    assert raised.value.status is PsaStatus.DATA_INVALID


def test_a_key_of_ours_is_none_of_upstreams(provider: SecureElementProvider) -> None:
    with pytest.raises(PsaError, match="not made by upstream's"):
        provider.check_adopted(new_reference(), SIGNING)
