"""What a configuration zone means for the service."""

from __future__ import annotations

import pytest

from edgeroot.element.settings import DeviceType
from edgeroot.element.slots import ECDSA, PAIR, PUBLIC, Part, Role, Slot
from edgeroot.providers.api import Function
from edgeroot.providers.secure_element.capabilities import capabilities
from edgeroot.psa import Algorithm, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, UsageFlags
from edgeroot.testing.atecc import Atecc, Model, key_config, slot_config
from edgeroot.testing.atecc.zones import KEY_AES, KEY_OTHER, KEY_P256
from tests.support.secure_element import ACCESS_SLOT, AGREE, ALWAYS, ENCRYPTED, GENKEY, NEVER, SIGN, personalised

ALL = frozenset(range(16))
PAIR_KEY = key_config(KEY_P256, private=True, pub_info=True)
SECRET_KEY = key_config(KEY_OTHER)


def read(part: Atecc, *, allowed: frozenset[int] = ALL, access_keys: tuple[int, ...] = ()) -> Part:
    return Part.read(part.model.revision, part.zones.config, allowed=allowed, access_keys=access_keys)


def only(number: int, config: int, key: int, *, access_keys: tuple[int, ...] = ()) -> Slot | None:
    """What there is of a part in which one slot is configured so, and all others are of no use."""
    part = Atecc(Model.ATECC608A)
    for other in range(16):
        part.zones.set_slot(other, slot_config(write_config=NEVER), SECRET_KEY)
    part.zones.set_slot(number, config, key)
    slots = read(part, access_keys=access_keys).slots
    assert [slot.number for slot in slots] in ([], [number])
    return slots[0] if slots else None


def test_a_part_with_slots_of_every_kind() -> None:
    part = read(personalised(Model.ATECC608A), access_keys=(ACCESS_SLOT,))
    assert (part.device, part.serial_number.hex(), part.is_locked, part.has_aes) == (
        DeviceType.ATECC608A,
        "0123456789abcdefee",
        True,
        True,
    )
    roles = {slot.number: slot.role for slot in part.slots}
    assert roles == {
        **dict.fromkeys((1, 2, 3, 5, 13), Role.PAIR),
        **dict.fromkeys((6, 7), Role.AES),
        **dict.fromkeys((9, 10), Role.HMAC),
        **dict.fromkeys((11, 12), Role.PUBLIC),
    }
    of = {slot.number: slot for slot in part.slots}
    assert (of[5].can_generate, of[5].can_write, of[5].can_sign, of[5].can_agree) == (False, True, False, True)
    assert (of[1].can_generate, of[1].can_write, of[1].can_sign, of[1].can_agree) == (True, False, True, False)
    assert (of[10].write_key, of[9].write_key) == (ACCESS_SLOT, None)


def test_without_the_access_key_nothing_is_written_encrypted() -> None:
    slots = {slot.number: slot for slot in read(personalised(Model.ATECC608A)).slots}
    assert set(slots) == {1, 2, 3, 13, 6, 9, 11, 12}
    assert not slots[2].can_write


def test_only_slots_that_are_allowed() -> None:
    part = read(personalised(Model.ATECC608A), allowed=frozenset({1, 6, 0, 8}))
    assert [slot.number for slot in part.slots] == [1, 6]


@pytest.mark.parametrize(
    ("number", "config", "key"),
    [
        (0, slot_config(read_key=SIGN, write_config=NEVER), PAIR_KEY),
        (0, slot_config(read_key=SIGN, write_config=ENCRYPTED, write_key=4), PAIR_KEY),
        (0, slot_config(read_key=SIGN, write_config=GENKEY), key_config(KEY_P256, private=True)),
        (0, slot_config(read_key=SIGN, write_config=GENKEY), key_config(KEY_OTHER, private=True, pub_info=True)),
        (0, slot_config(read_key=SIGN, write_config=GENKEY, limited_use=True), PAIR_KEY),
        (0, slot_config(read_key=SIGN, write_config=GENKEY), PAIR_KEY | 0x80),
        (0, slot_config(read_key=SIGN, write_config=GENKEY), PAIR_KEY | 0x1000),
        (7, slot_config(write_config=ALWAYS), key_config(KEY_P256)),
        (8, slot_config(write_config=ALWAYS, is_secret=True), key_config(KEY_P256)),
        (8, slot_config(write_config=ALWAYS, encrypt_read=True), key_config(KEY_P256)),
        (8, slot_config(write_config=GENKEY), key_config(KEY_P256)),
        (3, slot_config(write_config=ALWAYS), key_config(KEY_AES)),
        (3, slot_config(write_config=ALWAYS, is_secret=True, encrypt_read=True), key_config(KEY_AES)),
        (3, slot_config(write_config=ALWAYS), SECRET_KEY),
        (3, slot_config(write_config=NEVER, is_secret=True), SECRET_KEY),
        (3, slot_config(write_config=0b0001, is_secret=True), SECRET_KEY),
        (3, slot_config(write_config=ALWAYS, is_secret=True, limited_use=True), SECRET_KEY),
        (3, slot_config(write_config=ALWAYS, is_secret=True), key_config(5)),
    ],
)
def test_slots_of_no_use(number: int, config: int, key: int) -> None:
    assert only(number, config, key) is None


def test_what_other_slots_depend_on_is_left_alone() -> None:
    usable = slot_config(write_config=ALWAYS, is_secret=True)
    for other in (
        (slot_config(write_config=ENCRYPTED, write_key=3), SECRET_KEY),
        (slot_config(read_key=3, encrypt_read=True, write_config=NEVER), SECRET_KEY),
        (slot_config(write_config=NEVER), key_config(KEY_OTHER, req_auth=True, auth_key=3)),
        (slot_config(read_key=AGREE | 8, write_config=NEVER), PAIR_KEY),
    ):
        part = Atecc(Model.ATECC608A)
        for number in range(16):
            part.zones.set_slot(number, slot_config(write_config=NEVER), SECRET_KEY)
        part.zones.set_slot(3, usable, SECRET_KEY)
        assert [slot.number for slot in read(part).slots] == [3]
        assert read(part, access_keys=(3,)).slots == ()
        part.zones.set_slot(2, *other)
        assert read(part).slots == ()


@pytest.mark.parametrize(
    ("offset", "bytes_there"),
    [
        (18, b"\x31"),
        (68, b"\x3a"),
        (69, b"\x83"),
        (70, b"\x01\x3f"),
        (70, b"\x02\xf3"),
        (90, b"\x02\x30"),
    ],
    ids=["CountMatch", "UseLock", "VolatileKeyPermission", "SecureBootDigest", "SecureBootKey", "IOProtectionKey"],
)
def test_what_the_part_as_a_whole_depends_on_is_left_alone(offset: int, bytes_there: bytes) -> None:
    for model, expected in ((Model.ATECC608A, []), (Model.ATECC508A, [3])):
        part = Atecc(model)
        for number in range(16):
            part.zones.set_slot(number, slot_config(write_config=NEVER), SECRET_KEY)
        part.zones.set_slot(3, slot_config(write_config=ALWAYS, is_secret=True), SECRET_KEY)
        part.zones.write_config(offset, bytes(len(bytes_there)))
        assert [slot.number for slot in read(part).slots] == [3]
        part.zones.write_config(offset, bytes_there)
        assert [slot.number for slot in read(part).slots] == expected


@pytest.mark.parametrize("protection", [1, 2, 3])
def test_a_608_that_protects_agreements_has_none(protection: int) -> None:
    part = personalised(Model.ATECC608A)
    part.zones.write_config(91, bytes([protection]))
    slots = read(part, access_keys=(ACCESS_SLOT,)).slots
    assert any(slot.can_sign for slot in slots)
    assert not any(slot.can_agree for slot in slots)
    agree = KeyAttributes(PAIR, 256, UsageFlags.NONE, Algorithm.ECDH)
    assert not capabilities(read(part)).can_use(Function.RAW_KEY_AGREEMENT, agree)


def test_a_public_key_is_written_in_the_clear_or_not_at_all() -> None:
    encrypted = slot_config(write_config=ENCRYPTED, write_key=4)
    assert only(9, encrypted, key_config(KEY_P256), access_keys=(4,)) is None


def test_an_agreement_whose_result_stays_inside_is_none() -> None:
    slot = only(0, slot_config(read_key=SIGN | AGREE | 8, write_config=GENKEY), PAIR_KEY)
    assert slot is not None
    assert (slot.can_sign, slot.can_agree) == (True, False)


def attributes(key_type: KeyType, alg: Algorithm = Algorithm.NONE) -> KeyAttributes:
    return KeyAttributes(key_type, 0, UsageFlags.NONE, alg)


def test_which_key_fits_where() -> None:
    signs = only(0, slot_config(read_key=SIGN, write_config=GENKEY), PAIR_KEY)
    agrees = only(0, slot_config(read_key=AGREE, write_config=ENCRYPTED, write_key=4), PAIR_KEY, access_keys=(4,))
    assert signs is not None
    assert agrees is not None
    for slot, generates, alg in ((signs, True, ECDSA), (agrees, False, Algorithm.ECDH)):
        ways = {"generates": generates, "imports": not generates}
        others = {"generates": not generates, "imports": generates}
        wrong = Algorithm.ECDH if alg == ECDSA else ECDSA
        assert slot.fits(attributes(PAIR, alg), **ways)
        assert slot.fits(attributes(PAIR), **ways)
        assert not slot.fits(attributes(PAIR, wrong), **ways)
        assert not slot.fits(attributes(PAIR, alg), **others)
        assert not slot.fits(attributes(PUBLIC, alg), **ways)
        assert not slot.fits(attributes(KeyType.AES), **ways)
        assert not slot.fits(attributes(KeyType.RAW_DATA), **ways)


def test_a_locked_slot_gets_no_key() -> None:
    part = personalised(Model.ATECC608A)
    part.zones.lock_slot(11)
    part.zones.lock_slot(12)
    found = {slot.number: slot for slot in read(part).slots}
    assert found[11].is_locked
    assert not found[11].fits(attributes(PUBLIC), generates=True, imports=True)
    assert not capabilities(read(part)).can_hold(Function.IMPORT_KEY, PUBLIC, 256)


def test_other_parts_and_what_is_no_configuration() -> None:
    config = personalised(Model.ATECC508A).zones.config
    for revision in (bytes(4), b"\0\0\x20\0", b"\0\0"):
        with pytest.raises(PsaError, match="neither an ATECC508A nor an ATECC608") as raised:
            Part.read(revision, config, allowed=ALL, access_keys=())
        assert raised.value.status is PsaStatus.NOT_SUPPORTED
    with pytest.raises(PsaError, match="127 bytes"):
        Part.read(Model.ATECC508A.revision, config[1:], allowed=ALL, access_keys=())


@pytest.mark.parametrize(("config", "data"), [(False, False), (True, False)])
def test_a_part_that_is_not_locked(*, config: bool, data: bool) -> None:
    part = Atecc(Model.ATECC608A)
    if config:
        part.zones.lock_config()
    if data:
        part.zones.lock_data()
    assert not read(part).is_locked


def test_capabilities_follow_part_and_configuration() -> None:
    both = {model: capabilities(read(personalised(model), access_keys=(ACCESS_SLOT,))) for model in Model}
    assert both[Model.ATECC608A].can_hold(Function.GENERATE_KEY, KeyType.AES, 128)
    assert not both[Model.ATECC508A].can_hold(Function.GENERATE_KEY, KeyType.AES, 128)
    assert not Function.CIPHER_ENCRYPT & Function(sum(f.value for f in both[Model.ATECC508A].offered))
    for model in Model:
        can = both[model]
        assert can.can_hold(Function.IMPORT_KEY, PAIR, 256)
        assert can.can_use(Function.SIGN_HASH, KeyAttributes(PAIR, 256, UsageFlags.NONE, ECDSA))
        assert can.can_use(Function.RAW_KEY_AGREEMENT, KeyAttributes(PAIR, 256, UsageFlags.NONE, Algorithm.ECDH))
        assert can.can_use(
            Function.MAC_COMPUTE, KeyAttributes(KeyType.HMAC, 256, UsageFlags.NONE, Algorithm.hmac(Hash.SHA_256))
        )
        assert not can.can_hold(Function.GENERATE_KEY, PAIR, 384)
    assert not capabilities(read(personalised(Model.ATECC608A))).can_hold(Function.IMPORT_KEY, PAIR, 256)


def test_aes_that_is_switched_off_is_not_offered() -> None:
    part = personalised(Model.ATECC608A)
    part.zones.write_config(13, b"\0")
    assert not capabilities(read(part)).can_hold(Function.GENERATE_KEY, KeyType.AES, 128)


def test_a_part_without_slots_for_the_service_has_random_bytes_and_a_hash() -> None:
    rows = capabilities(read(personalised(Model.ATECC608A), allowed=frozenset({0}))).rows
    assert [row.key_type for row in rows] == [KeyType.NONE, KeyType.NONE]
