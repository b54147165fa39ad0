"""One connection, few slots, and what happens when either is lost."""

from __future__ import annotations

import pytest

from edgeroot.evidence.tpm_structures import Alg, Curve, EccPublic, ObjectFlags, Public
from edgeroot.providers.tpm import symmetric
from edgeroot.providers.tpm.device import Opened, TpmDevice
from edgeroot.providers.tpm.errors import FAILURE, HANDLE, INITIALIZE, LOCKOUT, OBJECT_MEMORY, TpmError
from edgeroot.providers.tpm.reference import SecretReference
from edgeroot.providers.tpm.templates import STORAGE_ECC, STORAGE_RSA
from edgeroot.psa import Algorithm, Hash, PsaStatus, Secret
from tests.unit.providers.tpm.scripted import SLOTS, ScriptedLock, ScriptedTpm
from tests.vectors.keys import refused

IO_ERROR = 0xA000A
REFERENCE_H0 = 0x910
REFERENCE_S0 = 0x918
RETRIES = [IO_ERROR, INITIALIZE, HANDLE, 0x18B, REFERENCE_H0, REFERENCE_S0, 0xB0910]
PUBLIC = Public(EccPublic(Curve.NIST_P256), ObjectFlags.SIGN)
SIGNING_KEY = Public(EccPublic(Curve.NIST_P256), ObjectFlags.SIGN | ObjectFlags.RESTRICTED)
KEYS = [SecretReference(bytes((number,)), PUBLIC) for number in range(5)]


@pytest.fixture
def tpm() -> ScriptedTpm:
    return ScriptedTpm()


def started(tpm: ScriptedTpm, *, lock: ScriptedLock | None = None, name: bytes = b"") -> TpmDevice:
    device = TpmDevice(tpm.connect, lock=lock, lock_wait_s=0)
    device.start(owner_auth=b"", name=name, lock_wait_s=0)
    return device


def sign(device: TpmDevice, key: SecretReference) -> bytes:
    return device.run(lambda opened: opened.connection.sign(opened.key(key, b""), b"", b""))


def test_a_start_leaves_nothing_behind_and_no_connection(tpm: ScriptedTpm) -> None:
    lock = ScriptedLock()
    started(tpm, lock=lock)
    assert tpm.loaded == {}
    assert not lock.held
    assert tpm.connections == 1


def test_a_key_is_loaded_once(tpm: ScriptedTpm) -> None:
    device = started(tpm)
    assert [sign(device, KEYS[0]) for _ in range(3)] == [KEYS[0].private] * 3
    assert tpm.count("load") == 1
    assert tpm.connections == 2


def test_the_key_that_was_not_used_for_longest_makes_room(tpm: ScriptedTpm) -> None:
    device = started(tpm)
    for number in (0, 1, 0, 2, 0, 1):  # two have room beside the primary key
        sign(device, KEYS[number])
    assert tpm.count("load") == 4
    device.close()
    assert tpm.loaded == {}


def test_a_persistent_primary_key_leaves_its_slot_to_others(tpm: ScriptedTpm) -> None:
    tpm.persistent_public = bytes(STORAGE_RSA)
    device = started(tpm)
    for number in (0, 1, 2, 0, 1, 2):
        sign(device, KEYS[number])
    assert tpm.count("load") == SLOTS
    assert tpm.count("create_primary") == 0
    device.close()
    assert tpm.loaded == {}


@pytest.mark.parametrize("code", RETRIES, ids=hex)
def test_what_was_lost_is_made_anew_and_the_command_repeated(tpm: ScriptedTpm, code: int) -> None:
    device = started(tpm, lock=ScriptedLock())
    sign(device, KEYS[0])
    tpm.fails = {"sign": [code]}
    assert sign(device, KEYS[0]) == KEYS[0].private
    assert tpm.connections == 3
    assert tpm.count("load") == 2


@pytest.mark.parametrize("code", RETRIES, ids=hex)
def test_it_is_repeated_once(tpm: ScriptedTpm, code: int) -> None:
    device = started(tpm, lock=ScriptedLock())
    tpm.fails = {"sign": [code] * 3}
    with pytest.raises(TpmError) as caught:
        sign(device, KEYS[0])
    assert caught.value.code == code
    assert tpm.count("sign") == 2


@pytest.mark.parametrize("code", [LOCKOUT, 0xB0921, FAILURE, 0x9A2, 0x98E, 0x2D2], ids=hex)
def test_other_refusals_are_not_repeated(tpm: ScriptedTpm, code: int) -> None:
    device = started(tpm)
    tpm.fails = {"sign": [code]}
    with pytest.raises(TpmError):
        sign(device, KEYS[0])
    assert tpm.count("sign") == 1
    assert tpm.connections == 2
    assert sign(device, KEYS[0]) == KEYS[0].private
    assert tpm.count("load") == 1


def test_a_tpm_that_is_away_is_looked_for_again_each_time(tpm: ScriptedTpm) -> None:
    lock = ScriptedLock()
    device = started(tpm, lock=lock)
    sign(device, KEYS[0])
    tpm.absent, tpm.fails = True, {"sign": [IO_ERROR]}
    for _ in range(2):
        with refused(PsaStatus.COMMUNICATION_FAILURE):
            sign(device, KEYS[0])
        assert not lock.held
    tpm.absent = False
    assert sign(device, KEYS[0]) == KEYS[0].private
    assert lock.held


def test_keys_make_room_for_what_the_tpm_needs_in_between(tpm: ScriptedTpm) -> None:
    device = started(tpm)
    for key in KEYS[:2]:
        sign(device, key)
    tpm.fails = {"create": [OBJECT_MEMORY, 0xB0902]}
    device.run(lambda opened: opened.connection.create(opened.primary.handle, bytes(PUBLIC), b"", Secret()))
    assert tpm.count("create") == 3
    assert list(tpm.loaded.values()) == [bytes(STORAGE_ECC)]


def test_if_there_is_no_more_room_to_make_the_tpm_is_full(tpm: ScriptedTpm) -> None:
    device = started(tpm)
    sign(device, KEYS[0])
    tpm.loaded |= {0x80FF0000 + number: b"another's" for number in range(SLOTS)}
    with refused(PsaStatus.INSUFFICIENT_MEMORY):
        sign(device, KEYS[1])


@pytest.mark.parametrize("seed", [b"a seed", b"another"])
def test_the_primary_key_is_known_by_its_name(tpm: ScriptedTpm, seed: bytes) -> None:
    device = TpmDevice(tpm.connect, lock=None, lock_wait_s=0)
    name, _ = device.start(owner_auth=b"", name=b"", lock_wait_s=0)
    tpm.seed = seed
    if seed == b"a seed":
        sign(device, KEYS[0])
        device.close()
    else:
        with refused(PsaStatus.DATA_INVALID):
            sign(device, KEYS[0])
        with refused(PsaStatus.DATA_INVALID):
            started(tpm, name=name)
    assert tpm.loaded == {}


def test_the_template_by_which_the_primary_key_was_made_is_found_again(tpm: ScriptedTpm) -> None:
    started(tpm, name=tpm.name_of(bytes(STORAGE_RSA)))
    assert tpm.count("create_primary") == 2
    tpm.algorithms = {Alg.RSA}
    started(tpm)
    assert tpm.count("create_primary") == 3


@pytest.mark.parametrize("public", [b"no public area", bytes(SIGNING_KEY)], ids=["malformed", "no parent"])
def test_another_key_in_the_storage_keys_place_is_no_parent(tpm: ScriptedTpm, public: bytes) -> None:
    tpm.persistent_public = public
    started(tpm)
    assert tpm.count("create_primary") == 1


def test_only_the_sole_user_cleans_up(tpm: ScriptedTpm) -> None:
    tpm.loaded = {0x80000001: b"left over"}
    started(tpm)
    assert tpm.loaded == {0x80000001: b"left over"}
    assert tpm.count("startup") == 0
    started(tpm, lock=ScriptedLock())
    assert tpm.loaded == {}
    assert tpm.count("startup") == 1


def test_what_fails_while_it_connects_leaves_no_connection(tpm: ScriptedTpm) -> None:
    lock = ScriptedLock()
    for command in ("startup", "create_primary", "start_session"):
        tpm.fails = {command: [FAILURE]}
        with refused(PsaStatus.HARDWARE_FAILURE):
            started(tpm, lock=lock)
        assert not lock.held


def test_a_tpm_that_goes_away_at_the_end_is_no_error(tpm: ScriptedTpm) -> None:
    device = started(tpm)
    sign(device, KEYS[0])
    tpm.fails = {"flush": [IO_ERROR]}
    device.close()
    device.close()


@pytest.mark.parametrize("code", [IO_ERROR, FAILURE], ids=hex)
def test_a_sequence_that_fails_is_flushed(tpm: ScriptedTpm, code: int) -> None:
    device = started(tpm)

    def mac(opened: Opened) -> bytes:
        return symmetric.mac(opened, opened.key(KEYS[0], b""), Algorithm.hmac(Hash.SHA_256), bytes(3000))

    assert device.run(mac) == b"mac"
    tpm.fails = {"sequence_update": [code] * 2}
    with pytest.raises(TpmError):
        device.run(mac)
    assert (b"sequence" in tpm.loaded.values()) is (code == IO_ERROR)  # then it went with the connection
