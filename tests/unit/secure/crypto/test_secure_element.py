"""Keys of the crypto partition in an emulated secure element: their life, what they refuse, and what a kill leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from edgeroot.secure.partitions.crypto.secure_element import SecureElement
from edgeroot.testing.atecc import Atecc, Bus, Model
from tests.support.crypto_partition import ALICE, BOB, TRANSPORT_LAYER, Context, World, attributes, tlv, u32
from tests.support.secure_element import element_keys, on_a_bus, roomy

GENERATE, DESTROY, EXPORT, EXPORT_PUBLIC, IMPORT = 0x0101, 0x0102, 0x0105, 0x0106, 0x0107
SIGN, VERIFY, COPY, GET_ATTRIBUTES, AGREE = 0x0108, 0x0109, 0x010D, 0x010F, 0x0116
SET, REMOVE = 0x100, 0x103
NOT_SUPPORTED, INVALID_ARGUMENT, INVALID_HANDLE, EXISTS, NO_STORAGE = -134, -135, -136, -139, -142
COMMUNICATION, HARDWARE = -145, -147
P256, P384, AES = 0x7112, 0x7112, 0x2400
ECDSA_SHA256, ECDSA_SHA384, ECDH = 0x06000609, 0x0600060A, 0x09020000
IN_ELEMENT = 0x101
SLOTS = 14
HASH = bytes(range(32))


class Killed(BaseException):
    """The partition ends here."""


@pytest.fixture
def part(tmp_path: Path) -> Atecc:
    return roomy(Model.ATECC608A, tmp_path / "atecc608a")


@pytest.fixture
def bus(part: Atecc) -> Iterator[Bus]:
    with on_a_bus(part) as made:
        yield made


@pytest.fixture
def world(bus: Bus, tmp_path: Path) -> Iterator[World]:
    del bus
    keys = element_keys(Model.ATECC608A, tmp_path)
    yield World(element=SecureElement(keys))
    keys.close()


@pytest.fixture
def context(world: World) -> Context:
    return world.context()


def pair(key_id: int, alg: int = ECDSA_SHA256, usage: int = 0x3003, lifetime: int = IN_ELEMENT) -> bytes:
    return attributes(P256, 256, usage=usage, alg=alg, key_id=key_id, lifetime=lifetime)


def listed(tmp_path: Path) -> dict[int, str]:
    (path,) = tmp_path.glob("*-slots")
    return {int(slot): name for slot, name in json.loads(path.read_text())["slots"].items()}


def signature_of(context: Context, key_id: int) -> bytes:
    return context.ok(SIGN, u32(key_id, ECDSA_SHA256) + tlv(1, HASH))[4:]


def test_a_key_that_is_made_there_signs(context: Context) -> None:
    assert context.ok(GENERATE, pair(7)) == u32(7)
    point = context.ok(EXPORT_PUBLIC, u32(7))[4:]
    signature = signature_of(context, 7)
    r, s = (int.from_bytes(signature[at : at + 32], "big") for at in (0, 32))
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    public.verify(encode_dss_signature(r, s), HASH, ec.ECDSA(Prehashed(SHA256())))
    context.ok(VERIFY, u32(7, ECDSA_SHA256) + tlv(1, HASH) + tlv(2, signature))


def test_its_attributes_say_where_it_is(context: Context) -> None:
    context.ok(GENERATE, pair(7))
    assert context.ok(GET_ATTRIBUTES, u32(7))[8:16] == u32(IN_ELEMENT, 7)


def test_its_private_part_is_in_no_storage(context: Context, world: World, part: Atecc) -> None:
    context.ok(GENERATE, pair(7))
    (slot,) = (number for number in range(16) if any(part.zones.read_slot(number)))
    private = part.zones.read_slot(slot)[4:36]
    assert not any(private in record for record in world.storage.objects.values())
    (record,) = world.storage.objects.values()
    assert record[:4] == b"EGS2"


def test_nothing_takes_it_out(context: Context) -> None:
    context.ok(GENERATE, pair(7))
    assert context.call(EXPORT, u32(7))[0] == NOT_SUPPORTED
    assert context.call(COPY, u32(7) + pair(8, lifetime=1))[0] == NOT_SUPPORTED


def test_nothing_but_generated_pairs_of_its_kind_comes_in(context: Context, tmp_path: Path) -> None:
    private = (5).to_bytes(32, "big")
    assert context.call(IMPORT, pair(7) + tlv(1, private))[0] == NOT_SUPPORTED
    assert context.call(GENERATE, pair(7, alg=ECDSA_SHA384))[0] == NOT_SUPPORTED
    aes = attributes(AES, 128, usage=0x100, alg=0x04C01000, key_id=7, lifetime=IN_ELEMENT)
    assert context.call(GENERATE, aes)[0] == NOT_SUPPORTED
    assert (
        context.call(GENERATE, attributes(P384, 384, usage=0x1000, alg=ECDSA_SHA384, key_id=7, lifetime=IN_ELEMENT))[0]
        == NOT_SUPPORTED
    )
    for lifetime in (0x100, 0x102, 0x201, 0x80000001):
        assert context.call(GENERATE, pair(7, lifetime=lifetime))[0] == INVALID_ARGUMENT
    assert not list(tmp_path.glob("*-slots")) or listed(tmp_path) == {}


def test_without_an_element_there_is_no_such_place() -> None:
    assert World().context().call(GENERATE, pair(7))[0] == INVALID_ARGUMENT


def test_a_source_has_no_use_of_anothers_key(context: Context) -> None:
    context.ok(GENERATE, pair(7))
    assert context.call(SIGN, u32(7, ECDSA_SHA256) + tlv(1, HASH), caller=BOB)[0] == INVALID_HANDLE
    assert context.ok(GENERATE, pair(7), caller=BOB) == u32(7)
    assert context.call(GENERATE, pair(7))[0] == EXISTS


def test_slots_are_free_when_their_keys_are_destroyed(context: Context, part: Atecc, tmp_path: Path) -> None:
    for key_id in range(1, SLOTS + 1):
        context.ok(GENERATE, pair(key_id))
    assert context.call(GENERATE, pair(99))[0] == NO_STORAGE
    before = [part.zones.read_slot(number) for number in range(SLOTS)]
    for key_id in range(1, SLOTS + 1):
        context.ok(DESTROY, u32(key_id))
        assert context.call(SIGN, u32(key_id, ECDSA_SHA256) + tlv(1, HASH))[0] == INVALID_HANDLE
    assert listed(tmp_path) == {}
    assert not any(part.zones.read_slot(number) == old for number, old in enumerate(before))


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("opcode", [SET, REMOVE])
def test_a_kill_leaves_a_whole_key_or_none(
    context: Context, world: World, tmp_path: Path, opcode: int, moment: str
) -> None:
    if opcode == REMOVE:
        context.ok(GENERATE, pair(7))

    def kill(called: int) -> None:
        if called == opcode:
            raise Killed

    setattr(world.storage, moment, kill)
    with pytest.raises(Killed):
        context.call(*((GENERATE, pair(7)) if opcode == SET else (DESTROY, u32(7))))
    setattr(world.storage, moment, lambda _opcode: None)
    again = world.restarted().context()
    is_there = again.call(SIGN, u32(7, ECDSA_SHA256) + tlv(1, HASH))[0] == 0
    assert is_there == ((opcode, moment) in {(SET, "after"), (REMOVE, "before")})
    again.ok(GENERATE, pair(8))
    assert len(listed(tmp_path)) == 1 + is_there
    assert len(signature_of(again, 8)) == 64


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_creation_that_storage_fails_leaves_nothing(
    context: Context, world: World, tmp_path: Path, moment: str
) -> None:
    def fail(opcode: int) -> None:
        if opcode == SET:
            raise TRANSPORT_LAYER

    setattr(world.storage, moment, fail)
    assert context.call(GENERATE, pair(7))[0] == COMMUNICATION
    setattr(world.storage, moment, lambda _opcode: None)
    assert context.call(SIGN, u32(7, ECDSA_SHA256) + tlv(1, HASH))[0] == INVALID_HANDLE
    context.ok(GENERATE, pair(7))
    assert len(listed(tmp_path)) == 1


def test_an_element_that_is_away_is_a_hardware_failure_until_it_is_back(
    context: Context, bus: Bus, tmp_path: Path
) -> None:
    context.ok(GENERATE, pair(7))
    bus.on_write = lambda _data: None
    assert context.call(SIGN, u32(7, ECDSA_SHA256) + tlv(1, HASH))[0] == HARDWARE
    assert context.call(DESTROY, u32(7))[0] == HARDWARE
    bus.on_write = lambda data: data
    assert context.call(DESTROY, u32(7))[0] == INVALID_HANDLE
    context.ok(GENERATE, pair(8))
    assert len(listed(tmp_path)) == 1


def test_local_keys_stay_what_they_were(context: Context, world: World, part: Atecc) -> None:
    part.opcodes.clear()
    context.ok(GENERATE, pair(7, lifetime=1))
    assert len(signature_of(context, 7)) == 64
    (record,) = world.storage.objects.values()
    assert record[:4] == b"EGK2"
    context.ok(DESTROY, u32(7))
    assert part.opcodes == []
    assert ALICE.source_id << 32 | 7 not in world.storage.objects
