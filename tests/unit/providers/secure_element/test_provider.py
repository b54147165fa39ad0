"""The provider over emulated parts: which slot a key gets, what is left of it, and what goes wrong."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.element.slots import ECDSA, PAIR, PUBLIC
from edgeroot.providers.api import Created, Function, LoadedKey
from edgeroot.providers.secure_element.provider import SecureElementProvider, SecureElementProviderType
from edgeroot.providers.secure_element.reference import new_reference
from edgeroot.psa import Algorithm, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret, UsageFlags
from edgeroot.testing.atecc import Atecc, Bus, Model
from tests.support.secure_element import ACCESS_SLOT, on_a_bus, open_provider, personalised, settings_for

DIGEST = bytes(range(32))
SIGNING = KeyAttributes(PAIR, 256, UsageFlags.SIGN_HASH, ECDSA)
AGREEING = KeyAttributes(PAIR, 256, UsageFlags.DERIVE, Algorithm.ECDH)
UNUSED = KeyAttributes(PAIR, 256, UsageFlags.NONE, Algorithm.NONE)
VERIFYING = KeyAttributes(PUBLIC, 256, UsageFlags.VERIFY_HASH, ECDSA)
CTR = KeyAttributes(KeyType.AES, 128, UsageFlags.ENCRYPT, Algorithm.CTR)
HMAC = KeyAttributes(KeyType.HMAC, 256, UsageFlags.SIGN_MESSAGE, Algorithm.hmac(Hash.SHA_256))
GEN_KEY = 0x40


@pytest.fixture
def part() -> Atecc:
    return personalised(Model.ATECC608A)


@pytest.fixture
def bus(part: Atecc) -> Iterator[Bus]:
    with on_a_bus(part) as made:
        yield made


@pytest.fixture
def provider(bus: Bus, tmp_path: Path) -> Iterator[SecureElementProvider]:
    del bus
    opened = open_provider(Model.ATECC608A, tmp_path)
    opened.start(None)
    yield opened
    opened.close()


def make(provider: SecureElementProvider, attributes: KeyAttributes, material: bytes | None = None) -> Created:
    planned = provider.plan(attributes)
    return provider.create(planned, attributes, None if material is None else Secret(material))


def load(provider: SecureElementProvider, made: Created) -> LoadedKey:
    return provider.load(made.reference, made.attributes)


def listed(folder: Path) -> dict[int, str]:
    (path,) = folder.glob("*-slots")
    return {int(slot): name for slot, name in json.loads(path.read_text())["slots"].items()}


def refused(status: PsaStatus, call: Callable[[], object], match: str | None = None) -> None:
    with pytest.raises(PsaError, match=match) as raised:
        call()
    assert raised.value.status is status


def test_keys_get_the_slots_with_the_fewest_rights(provider: SecureElementProvider, tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(32, "big")
    expected = []
    for attributes, material, slot in (
        (SIGNING, None, 1),
        (SIGNING, None, 13),
        (SIGNING, None, 3),
        (AGREEING, private, 5),
        (AGREEING, None, 2),
        (CTR, None, 6),
        (CTR, bytes(16), 7),
        (HMAC, None, 9),
        (HMAC, bytes(32), 10),
    ):
        make(provider, attributes, material)
        expected.append(slot)
        assert sorted(listed(tmp_path)) == sorted(expected), attributes
    refused(PsaStatus.INSUFFICIENT_STORAGE, lambda: provider.plan(SIGNING), r"taken \(slots 1, 2, 3, 13\)")
    refused(PsaStatus.INSUFFICIENT_STORAGE, lambda: provider.plan(AGREEING), r"taken \(slots 2, 3, 5\)")
    refused(PsaStatus.INSUFFICIENT_STORAGE, lambda: provider.plan(CTR))
    refused(PsaStatus.INSUFFICIENT_STORAGE, lambda: provider.plan(HMAC))


def test_a_key_of_which_there_is_no_slot_is_not_supported(provider: SecureElementProvider, part: Atecc) -> None:
    for number in (6, 7):
        part.zones.lock_slot(number)
    refused(PsaStatus.NOT_SUPPORTED, lambda: make(provider, CTR), "was locked for good")


def test_a_slot_that_is_locked_while_the_service_runs_is_passed_over(
    provider: SecureElementProvider, part: Atecc, tmp_path: Path
) -> None:
    part.zones.lock_slot(1)
    make(provider, SIGNING)
    assert list(listed(tmp_path)) == [13]


def test_a_key_in_a_locked_slot_is_of_use_and_its_slot_is_freed_without_being_overwritten(
    provider: SecureElementProvider, part: Atecc, tmp_path: Path
) -> None:
    made = make(provider, SIGNING)
    part.zones.lock_slot(1)
    assert len(provider.sign_hash(load(provider, made), ECDSA, DIGEST)) == 64
    before = part.zones.read_slot(1)
    provider.destroy(made.reference)
    assert listed(tmp_path) == {}
    assert part.zones.read_slot(1) == before


@pytest.mark.parametrize(
    ("attributes", "material", "slot"),
    [(SIGNING, None, 1), (CTR, b"k" * 16, 6), (HMAC, b"k" * 32, 9), (AGREEING, b"\x01" * 32, 5)],
)
def test_a_destroyed_key_is_overwritten(
    provider: SecureElementProvider, part: Atecc, attributes: KeyAttributes, material: bytes | None, slot: int
) -> None:
    made = make(provider, attributes, material)
    before = part.zones.read_slot(slot)
    assert any(before)
    provider.destroy(made.reference)
    assert part.zones.read_slot(slot) != before
    key = load(provider, made)
    use = {
        ECDSA: lambda: provider.sign_hash(key, ECDSA, DIGEST),
        Algorithm.CTR: lambda: provider.cipher_encrypt(key, Algorithm.CTR, b"x"),
        Algorithm.hmac(Hash.SHA_256): lambda: provider.mac_compute(key, Algorithm.hmac(Hash.SHA_256), b"x"),
        Algorithm.ECDH: lambda: provider.export_public_key(key),
    }
    refused(PsaStatus.DOES_NOT_EXIST, use[attributes.algorithm])


def test_the_old_key_of_a_slot_does_not_reach_the_next(provider: SecureElementProvider, part: Atecc) -> None:
    old = make(provider, SIGNING)
    key = load(provider, old)
    provider.sign_hash(key, ECDSA, DIGEST)
    provider.destroy(old.reference)
    new = make(provider, SIGNING)
    content = part.zones.read_slot(1)
    refused(PsaStatus.DOES_NOT_EXIST, lambda: provider.sign_hash(key, ECDSA, DIGEST))
    provider.destroy(old.reference)
    assert provider.exists(new.reference)
    assert part.zones.read_slot(1) == content, "destroying what was destroyed has reached another key"


def test_a_place_is_used_once(provider: SecureElementProvider) -> None:
    planned = provider.plan(SIGNING)
    provider.create(planned, SIGNING, None)
    refused(PsaStatus.ALREADY_EXISTS, lambda: provider.create(planned, SIGNING, None))
    refused(PsaStatus.INVALID_ARGUMENT, lambda: provider.create(None, SIGNING, None))
    refused(PsaStatus.DATA_INVALID, lambda: provider.create(b"elsewhere", SIGNING, None))
    assert not provider.exists(new_reference())


def test_what_the_element_refuses_leaves_the_slot_free(provider: SecureElementProvider, tmp_path: Path) -> None:
    (tmp_path / "access-keys.toml").write_text(f"access_keys = [{{ slot = {ACCESS_SLOT}, key = {[7] * 32} }}]")
    provider.close()
    again = SecureElementProviderType().open(
        settings_for(Model.ATECC608A, access_key_file_name=tmp_path / "access-keys.toml"),
        store_path=tmp_path / "keys.sqlite3",
    )
    again.start(None)
    refused(
        PsaStatus.NOT_PERMITTED,
        lambda: make(again, AGREEING, b"\x01" * 32),
        "the access key in access_key_file_name is not the one",
    )
    assert listed(tmp_path) == {}
    again.close()


def test_an_answer_that_is_lost_leaves_a_slot_that_the_service_will_clean_up(
    provider: SecureElementProvider, bus: Bus, part: Atecc, tmp_path: Path
) -> None:
    planned = provider.plan(SIGNING)

    def deaf_from_gen_key_on(data: bytes) -> bytes:
        return b"\xff" * len(data) if part.opcodes[-1:] == [GEN_KEY] else data

    bus.on_read = deaf_from_gen_key_on
    refused(PsaStatus.HARDWARE_FAILURE, lambda: provider.create(planned, SIGNING, None), "GenKey ended with")
    bus.on_read = lambda data: data
    assert list(listed(tmp_path)) == [1]
    assert provider.exists(planned)
    provider.destroy(planned)
    assert listed(tmp_path) == {}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_while_it_makes_a_key_it_leaves_nothing_unlisted(
    provider: SecureElementProvider, bus: Bus, part: Atecc, tmp_path: Path, moment: str
) -> None:
    """In a process of its own, ended by SIGKILL as GenKey is sent, or as its answer comes."""
    planned = provider.plan(SIGNING)
    child = os.fork()
    if child == 0:

        def end(data: bytes) -> bytes:
            is_gen_key = data[2:3] == bytes([GEN_KEY]) if moment == "before" else part.opcodes[-1:] == [GEN_KEY]
            if is_gen_key:
                os.kill(os.getpid(), signal.SIGKILL)
            return data

        if moment == "before":
            bus.on_write = end
        else:
            bus.on_read = end
        provider.create(planned, SIGNING, None)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert list(listed(tmp_path)) == [1]
    assert any(part.zones.read_slot(1)) == (moment == "after")
    provider.destroy(planned)
    assert listed(tmp_path) == {}
    assert len(provider.sign_hash(load(provider, make(provider, SIGNING)), ECDSA, DIGEST)) == 64


def test_killed_while_it_destroys_a_key_it_can_be_destroyed_again(
    provider: SecureElementProvider, bus: Bus, tmp_path: Path
) -> None:
    made = make(provider, SIGNING)
    child = os.fork()
    if child == 0:

        def end(data: bytes) -> bytes:
            if data[2:3] == bytes([GEN_KEY]):
                os.kill(os.getpid(), signal.SIGKILL)
            return data

        bus.on_write = end
        provider.destroy(made.reference)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert provider.exists(made.reference)
    provider.destroy(made.reference)
    assert listed(tmp_path) == {}


def test_two_processes_do_not_disturb_each_others_commands(provider: SecureElementProvider) -> None:
    """A signature is three commands; each process of a service has its own library over the one element."""
    made = make(provider, SIGNING)
    key = load(provider, made)
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            for _ in range(20):
                provider.verify_hash(key, ECDSA, DIGEST, provider.sign_hash(key, ECDSA, DIGEST))
            os._exit(0)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]


def test_one_after_another_reads_what_the_last_one_left(provider: SecureElementProvider, tmp_path: Path) -> None:
    state = open_provider(Model.ATECC608A, tmp_path).start(None)
    made = make(provider, SIGNING)
    other = open_provider(Model.ATECC608A, tmp_path)
    assert other.start(state) == state
    point = provider.export_public_key(load(provider, made))
    assert other.export_public_key(load(other, made)) == point
    other.close()


def become_another(part: Atecc) -> bytes:
    """An element with another serial number is there from now on; what the first one has in its place."""
    before = part.zones.config[11:12]
    part.zones.write_config(11, b"\0")
    return before


def test_another_element_in_its_place_is_noticed(
    provider: SecureElementProvider, part: Atecc, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = provider.start(None)
    before = become_another(part)
    other = open_provider(Model.ATECC608A, tmp_path)
    assert other.start(state) == state
    match = "are in the element 0123456789abcdefee, and this is 0123456789abcd00ee"
    calls: tuple[Callable[[], object], ...] = (
        lambda: other.plan(SIGNING),
        lambda: other.generate_random(1),
        lambda: other.exists(new_reference()),
        lambda: other.destroy(new_reference()),
    )
    for call in calls:
        refused(PsaStatus.COMMUNICATION_FAILURE, call, match)
    assert match in caplog.text
    assert listed(tmp_path) == {}
    part.zones.write_config(11, before)
    make(other, SIGNING)
    assert list(listed(tmp_path)) == [1]
    other.close()


def test_another_element_in_its_place_gets_no_key_while_the_service_runs(
    provider: SecureElementProvider, part: Atecc, tmp_path: Path
) -> None:
    planned, made = provider.plan(SIGNING), make(provider, SIGNING)
    become_another(part)
    calls: tuple[Callable[[], object], ...] = (
        lambda: provider.create(planned, SIGNING, None),
        lambda: provider.destroy(made.reference),
    )
    for call in calls:
        refused(PsaStatus.COMMUNICATION_FAILURE, call, "this is 0123456789abcd00ee")
    assert list(listed(tmp_path)) == [1]


@pytest.mark.parametrize("keeps_state", [False, True], ids=["never seen", "known"])
def test_an_element_that_is_absent_at_start_is_found_later(
    part: Atecc, bus: Bus, tmp_path: Path, caplog: pytest.LogCaptureFixture, *, keeps_state: bool
) -> None:
    """By another process, too: what one has seen all know."""
    state = open_provider(Model.ATECC608A, tmp_path).start(None) if keeps_state else None
    provider = open_provider(Model.ATECC608A, tmp_path)
    bus.on_write = lambda _data: None
    assert provider.start(state) == state
    assert "secure element i2c-1-c0: not available: Info ended with ATCA_" in caplog.text
    offered = provider.capabilities()
    assert Function.GENERATE_KEY in offered.offered
    assert not offered.can_hold(Function.GENERATE_KEY, PAIR, 256)
    refused(PsaStatus.HARDWARE_FAILURE, lambda: provider.plan(SIGNING), "Info ended with")
    assert provider.hash_compute(Hash.SHA_256, b"") == hashlib.sha256().digest()
    bus.on_write = lambda data: data
    child = os.fork()
    if child == 0:
        make(provider, SIGNING)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    offered = provider.capabilities()
    assert offered.generation == 1
    assert offered.can_hold(Function.GENERATE_KEY, PAIR, 256)
    assert list(listed(tmp_path)) == [1]
    again = open_provider(Model.ATECC608A, tmp_path)
    before = become_another(part)
    assert again.start(state) == state
    assert "are in the element 0123456789abcdefee, and this is 0123456789abcd00ee" in caplog.text
    part.zones.write_config(11, before)
    kept = again.start(state)
    assert kept is not None
    assert state in (None, kept)
    provider.close()


def test_a_list_of_slots_that_is_gone_or_another_is_noticed(provider: SecureElementProvider, tmp_path: Path) -> None:
    state = provider.start(None)
    make(provider, SIGNING)
    (path,) = tmp_path.glob("*-slots")
    text = path.read_text()
    path.unlink()
    refused(PsaStatus.DATA_INVALID, lambda: provider.start(state), "the list of slots is gone: restore")
    refused(PsaStatus.STORAGE_FAILURE, lambda: provider.exists(new_reference()), "the list of slots is gone")
    path.write_text(text.replace(json.loads(text)["id"], "00" * 16))
    refused(PsaStatus.DATA_INVALID, lambda: provider.start(state), "is not the list of slots that belongs")
    path.write_text(text[:-9])
    refused(PsaStatus.DATA_CORRUPT, lambda: provider.start(state), "the list of slots is damaged")
    path.write_text(text)
    assert provider.start(state) == state


def test_a_store_that_is_new_beside_an_old_list_takes_no_slot_that_is_listed(
    provider: SecureElementProvider, tmp_path: Path
) -> None:
    make(provider, SIGNING)
    provider.start(None)
    make(provider, SIGNING)
    assert sorted(listed(tmp_path)) == [1, 13]


def test_files_are_the_services_own(provider: SecureElementProvider, tmp_path: Path) -> None:
    make(provider, SIGNING)
    for path in [*tmp_path.glob("*-slots"), *tmp_path.glob("*-lock")]:
        assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "access-keys.toml",
        "keys.sqlite3.0123456789abcdefee-slots",
        "keys.sqlite3.i2c-1-c0-lock",
    ]


def test_files_that_cannot_be_had(tmp_path: Path) -> None:
    with on_a_bus(personalised(Model.ATECC608A)):
        missing = SecureElementProviderType().open(settings_for(Model.ATECC608A), store_path=tmp_path / "no" / "keys")
        refused(PsaStatus.STORAGE_FAILURE, lambda: missing.start(None), "cannot lock the secure element")
        settings = settings_for(Model.ATECC608A, access_key_file_name=tmp_path / "none.toml")
        without = SecureElementProviderType().open(settings, store_path=tmp_path / "keys")
        refused(PsaStatus.STORAGE_FAILURE, lambda: without.start(None), "cannot read access_key_file_name")
        (tmp_path / "keys.0123456789abcdefee-slots-new").mkdir()
        blocked = SecureElementProviderType().open(settings_for(Model.ATECC608A), store_path=tmp_path / "keys")
        refused(PsaStatus.STORAGE_FAILURE, lambda: blocked.start(None), "cannot write the list of slots")
        (tmp_path / "keys.0123456789abcdefee-slots").mkdir()
        refused(PsaStatus.STORAGE_FAILURE, lambda: blocked.start(None), "cannot read the list of slots")


def test_a_part_of_another_kind_is_named(tmp_path: Path) -> None:
    with on_a_bus(personalised(Model.ATECC508A)):
        provider = open_provider(Model.ATECC608A, tmp_path)
        assert provider.start(None) is None
        refused(PsaStatus.COMMUNICATION_FAILURE, lambda: provider.plan(SIGNING), 'write device_type = "atecc508a"')


def test_a_part_that_is_not_locked_is_refused(tmp_path: Path) -> None:
    part = Atecc(Model.ATECC608A)
    part.zones.lock_config()
    with on_a_bus(part):
        provider = open_provider(Model.ATECC608A, tmp_path)
        assert provider.start(None) is None
        refused(PsaStatus.COMMUNICATION_FAILURE, lambda: provider.plan(SIGNING), "zones are not locked")
    assert list(tmp_path.glob("*-slots")) == []


def test_only_the_slots_that_it_is_given(bus: Bus, tmp_path: Path) -> None:
    del bus
    provider = open_provider(Model.ATECC608A, tmp_path, slots="3, 9")
    provider.start(None)
    make(provider, SIGNING)
    refused(PsaStatus.INSUFFICIENT_STORAGE, lambda: provider.plan(SIGNING), r"slots 3\)")
    refused(PsaStatus.NOT_SUPPORTED, lambda: provider.plan(CTR))
    provider.close()


def test_a_slot_that_is_no_longer_given_is_freed_without_being_touched(
    provider: SecureElementProvider, part: Atecc, tmp_path: Path
) -> None:
    made = make(provider, SIGNING)
    before = part.zones.read_slot(1)
    narrowed = open_provider(Model.ATECC608A, tmp_path, slots="3")
    narrowed.start(provider.start(None))
    narrowed.destroy(made.reference)
    assert part.zones.read_slot(1) == before
    assert listed(tmp_path) == {}
    narrowed.close()


@pytest.mark.parametrize(
    ("attributes", "material"),
    [
        (VERIFYING, b"\x04" + bytes(64)),
        (VERIFYING, bytes(65)),
        (AGREEING, bytes(32)),
        (AGREEING, b"\xff" * 32),
        (CTR, bytes(15)),
        (HMAC, bytes(31)),
    ],
)
def test_malformed_material_reaches_no_slot(
    provider: SecureElementProvider, part: Atecc, tmp_path: Path, attributes: KeyAttributes, material: bytes
) -> None:
    memory = [part.zones.read_slot(number) for number in range(16)]
    refused(PsaStatus.INVALID_ARGUMENT, lambda: make(provider, attributes, material))
    assert listed(tmp_path) == {}
    assert [part.zones.read_slot(number) for number in range(16)] == memory


@pytest.mark.parametrize(
    "attributes",
    [
        KeyAttributes(PAIR, 384, UsageFlags.SIGN_HASH, ECDSA),
        KeyAttributes(PAIR, 256, UsageFlags.SIGN_HASH, Algorithm.ecdsa(Hash.SHA_384)),
        KeyAttributes(PAIR, 256, UsageFlags.SIGN_HASH, Algorithm.ECDSA_ANY),
        KeyAttributes(KeyType.AES, 256, UsageFlags.ENCRYPT, Algorithm.CTR),
        KeyAttributes(KeyType.AES, 128, UsageFlags.ENCRYPT, Algorithm.XTS),
        KeyAttributes(KeyType.HMAC, 512, UsageFlags.SIGN_MESSAGE, Algorithm.hmac(Hash.SHA_256)),
        KeyAttributes(KeyType.HMAC, 256, UsageFlags.SIGN_MESSAGE, Algorithm.hmac(Hash.SHA_512)),
        KeyAttributes(KeyType.RSA_KEY_PAIR, 2048, UsageFlags.SIGN_HASH, Algorithm.NONE),
    ],
)
def test_what_the_element_does_not_have_is_not_planned(
    provider: SecureElementProvider, attributes: KeyAttributes
) -> None:
    refused(PsaStatus.NOT_SUPPORTED, lambda: provider.plan(attributes))


def test_the_size_of_an_imported_key_is_inferred(provider: SecureElementProvider) -> None:
    attributes = KeyAttributes(KeyType.HMAC, 0, UsageFlags.SIGN_MESSAGE, Algorithm.hmac(Hash.SHA_256))
    made = make(provider, attributes, b"k" * 20)
    assert made.attributes.key_bits == 160
    mac = provider.mac_compute(load(provider, made), attributes.algorithm, b"data")
    assert mac == hmac.digest(b"k" * 20, b"data", "sha256")
    refused(PsaStatus.NOT_SUPPORTED, lambda: make(provider, attributes, b"k" * 33))


def test_signatures_that_cannot_be_are_not_shown_to_the_element(provider: SecureElementProvider, part: Atecc) -> None:
    key = load(provider, make(provider, SIGNING))
    provider.export_public_key(key)
    part.opcodes.clear()
    for signature in (b"", bytes(64), b"\xff" * 64, bytes(63), bytes(31) + b"\x01" + bytes(32)):
        refused(PsaStatus.INVALID_SIGNATURE, partial(provider.verify_hash, key, ECDSA, DIGEST, signature))
    assert part.opcodes == []


def test_messages_are_hashed_here_and_signed_there(provider: SecureElementProvider, part: Atecc) -> None:
    key = load(provider, make(provider, SIGNING))
    part.opcodes.clear()
    signature = provider.sign_message(key, ECDSA, b"message" * 1000)
    assert part.opcodes.count(0x41) == 1
    assert 0x47 not in part.opcodes
    provider.verify_message(key, ECDSA, b"message" * 1000, signature)
    assert part.opcodes.count(0x45) == 1


@pytest.mark.parametrize("size", [1, 31, 32, 33, 1000])
def test_random_bytes_of_any_number(provider: SecureElementProvider, part: Atecc, size: int) -> None:
    part.opcodes.clear()
    assert len(provider.generate_random(size)) == size
    assert part.opcodes == [0x1B] * (-(-size // 32))


def test_what_would_keep_the_element_for_minutes_is_refused(provider: SecureElementProvider, part: Atecc) -> None:
    """Nothing that was asked for is begun: others wait meanwhile."""
    mac = load(provider, make(provider, HMAC))
    gcm = KeyAttributes(KeyType.AES, 128, UsageFlags.ENCRYPT, Algorithm.GCM)
    aes, sealing = load(provider, make(provider, CTR)), load(provider, make(provider, gcm))
    long = bytes(16 * 1024 + 1)
    part.opcodes.clear()
    for call in (
        lambda: provider.generate_random(64 * 1024 + 1),
        lambda: provider.mac_compute(mac, HMAC.algorithm, long),
        lambda: provider.mac_verify(mac, HMAC.algorithm, long, bytes(32)),
        lambda: provider.cipher_encrypt(aes, Algorithm.CTR, long),
        lambda: provider.cipher_decrypt(aes, Algorithm.CTR, long),
        lambda: provider.aead_encrypt(
            sealing, Algorithm.GCM, nonce=bytes(12), additional_data=b"a", plaintext=long[1:]
        ),
        lambda: provider.aead_decrypt(sealing, Algorithm.GCM, nonce=bytes(12), additional_data=b"", ciphertext=long),
    ):
        refused(PsaStatus.NOT_SUPPORTED, call, "an element takes too long")
    assert part.opcodes == []
    assert len(provider.mac_compute(mac, HMAC.algorithm, long[1:])) == 32


def test_the_library_stays_out_of_a_process_that_only_starts_the_provider(tmp_path: Path) -> None:
    """With the product as it is, over the library's own way to I2C; there is no bus 250."""
    program = f"""
import logging
import sys
from pathlib import Path
from edgeroot.providers.secure_element import SecureElementProviderType, SecureElementSettings
settings = SecureElementSettings("atecc608a", "i2c", rx_retries=0, bus=250)
logging.basicConfig(stream=sys.stdout)
SecureElementProviderType().open(settings, store_path=Path({str(tmp_path / "keys")!r})).start(None)
print([name for name in sys.modules if name.startswith("cryptoauthlib")])
print("libcryptoauth" in open("/proc/self/maps").read())
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    told, *loaded = result.stdout.splitlines()
    assert "secure element i2c-250-c0: not available: Info ended with ATCA_" in told
    assert loaded == ["[]", "False"]


def test_it_names_its_device() -> None:
    assert SecureElementProviderType().devices(settings_for(Model.ATECC608A)) == (Path("/dev/i2c-1"),)
