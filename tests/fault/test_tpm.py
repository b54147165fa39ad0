"""A TPM that is reset, cleared, full, locked out or away while keys in it are used."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Timer

import pytest
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_SE
from tpm2_pytss.types import TPM2B_PUBLIC, TPM2B_SENSITIVE_CREATE, TPMT_PUBLIC, TPMT_SYM_DEF

from edgeroot import engine
from edgeroot.evidence.tpm_structures import Curve, EccPublic, ObjectFlags, Public, Symmetric
from edgeroot.providers.api import LoadedKey
from edgeroot.providers.tpm import TpmProvider, TpmProviderType, TpmSettings
from edgeroot.providers.tpm.errors import TpmError
from edgeroot.providers.tpm.native.esys import EsysConnection
from edgeroot.providers.tpm.templates import (
    ENDORSEMENT_HANDLE,
    ENDORSEMENT_RSA,
    STORAGE_ECC,
    STORAGE_HANDLE,
    STORAGE_RSA,
)
from edgeroot.psa import (
    Algorithm,
    EccFamily,
    Hash,
    KeyAttributes,
    KeyType,
    PsaError,
    PsaStatus,
    Secret,
    UsageFlags,
)
from tests.fault.test_kills import RESTART_ROOM_S, churn, complete, kill_one
from tests.support.ledger import Ledger, check
from tests.support.service import running_service
from tests.support.swtpm import Swtpm, esapi, running_swtpm, with_tpm

ES256 = Algorithm.ecdsa(Hash.SHA_256)
P256 = KeyAttributes(KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, UsageFlags.SIGN_HASH.with_implied(), ES256)
RS256 = Algorithm.rsa_pkcs1v15_sign(Hash.SHA_256)
RSA3072 = KeyAttributes(KeyType.RSA_KEY_PAIR, 3072, UsageFlags.SIGN_HASH.with_implied(), RS256)
DIGEST = bytes(range(32))


@pytest.fixture
def swtpm(tmp_path: Path) -> Iterator[Swtpm]:
    with running_swtpm(tmp_path / "tpm") as swtpm:
        yield swtpm


@pytest.fixture
def provider(swtpm: Swtpm, tmp_path: Path) -> Iterator[TpmProvider]:
    provider = TpmProviderType().open(TpmSettings(swtpm.tcti), store_path=tmp_path / "keys.sqlite3")
    provider.start(None)
    yield provider
    provider.close()


def check_key(provider: TpmProvider, reference: bytes, attributes: KeyAttributes = P256) -> None:
    key = provider.load(reference, attributes)
    provider.verify_hash(key, attributes.algorithm, DIGEST, provider.sign_hash(key, attributes.algorithm, DIGEST))


def refusal(call: Callable[[], object]) -> PsaError:
    with pytest.raises(PsaError) as caught:
        call()
    return caught.value


def refused_for_absence(call: Callable[[], object]) -> bool:
    try:
        call()
    except TpmError as error:
        return error.is_lost_connection or pytest.fail(str(error))
    return False


def make_persistent(
    owner: ESAPI, public: Public, *, hierarchy: int = ESYS_TR.OWNER, handle: int = STORAGE_HANDLE
) -> None:
    area = TPM2B_PUBLIC(TPMT_PUBLIC.unmarshal(bytes(public))[0])
    made, *_ = owner.create_primary(TPM2B_SENSITIVE_CREATE(), area, hierarchy)
    owner.evict_control(ESYS_TR.OWNER, made, handle)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", ["tpm", "host", "service"])
def test_nothing_acknowledged_is_lost(victim: str, swtpm: Swtpm, rounds: int, rng: random.Random) -> None:
    ledger = Ledger()
    with running_service(provider=with_tpm(swtpm)) as service:
        strikes: dict[str, Callable[[], None]] = {
            "tpm": swtpm.restart,
            "host": lambda: kill_one(service, "host", rng),
            "service": service.kill,
        }
        for number in range(max(3, rounds // 4)):
            fresh = churn(service, number, rng, strikes[victim])
            ledger.merge([fresh])
            if victim == "service":
                service.start()
            complete(service, "host", 1)
            check(service, ledger, fresh, unused_name=f"unused-{number}")
            time.sleep(RESTART_ROOM_S)
        assert len(ledger.names) > 10


def test_after_a_reset_in_the_middle_of_a_command_all_goes_on(
    swtpm: Swtpm, provider: TpmProvider, rounds: int, rng: random.Random
) -> None:
    reference = provider.create(None, P256, None).reference
    for _ in range(rounds):
        reset = Timer(rng.uniform(0.0, 0.08), swtpm.restart)
        reset.start()
        # Between the end of one swtpm and the start of the next there is none, and that is an error.
        while reset.is_alive() and not refused_for_absence(lambda: check_key(provider, reference)):
            refused_for_absence(lambda: check_key(provider, provider.create(None, P256, None).reference))
        reset.join()
        check_key(provider, reference)


def test_power_that_stays_away_is_an_error_and_no_hang(swtpm: Swtpm, provider: TpmProvider) -> None:
    provider.create(None, P256, None)
    cut = Timer(0.02, swtpm.kill)
    cut.start()
    begun_s = time.monotonic()
    error = refusal(lambda: [provider.create(None, RSA3072, None) for _ in range(20)])
    cut.join()
    assert error.status == PsaStatus.COMMUNICATION_FAILURE
    assert "see whether the device, emulator or resource manager of tcti is there" in error.detail
    assert time.monotonic() - begun_s < 60
    swtpm.start()
    check_key(provider, provider.create(None, P256, None).reference)


def test_what_dead_processes_left_in_the_tpm_is_cleaned_up(swtpm: Swtpm, tmp_path: Path) -> None:
    with esapi(swtpm) as others:
        for _ in range(3):
            others.create_primary(TPM2B_SENSITIVE_CREATE(), "ecc:aes128cfb")
            no_cipher = TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL)
            others.start_auth_session(ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.HMAC, no_cipher, TPM2_ALG.SHA256)
    provider = TpmProviderType().open(TpmSettings(swtpm.tcti), store_path=tmp_path / "keys.sqlite3")
    provider.start(None)
    check_key(provider, provider.create(None, P256, None).reference)
    provider.close()
    with esapi(swtpm) as others:  # and nothing of ours is left
        for _ in range(3):
            others.create_primary(TPM2B_SENSITIVE_CREATE(), "ecc:aes128cfb")


def test_a_tpm_that_others_have_filled(swtpm: Swtpm) -> None:
    """Without the right to clean up, which only a TPM's sole user has."""
    provider = TpmProvider(lambda: EsysConnection(swtpm.tcti))
    provider.start(None)
    with esapi(swtpm) as others:
        others.create_primary(TPM2B_SENSITIVE_CREATE(), "ecc:aes128cfb")
    references = [provider.create(None, P256, None).reference for _ in range(3)]
    for reference in references * 2:
        check_key(provider, reference)
    provider.close()
    with esapi(swtpm) as others:
        others.create_primary(TPM2B_SENSITIVE_CREATE(), "ecc:aes128cfb")
    error = refusal(lambda: check_key(provider, references[0]))
    assert error.status == PsaStatus.INSUFFICIENT_MEMORY
    assert "TPM_RC_OBJECT_MEMORY (0x902)" in error.detail
    assert "/dev/tpmrm0" in error.detail
    provider.close()
    swtpm.restart()
    check_key(provider, references[0])
    provider.close()


def test_a_cleared_tpm_is_noticed_at_once_and_at_the_next_start(swtpm: Swtpm, tmp_path: Path) -> None:
    kind, settings, path = TpmProviderType(), TpmSettings(swtpm.tcti), tmp_path / "keys.sqlite3"
    provider = kind.open(settings, store_path=path)
    state = provider.start(None)
    reference = provider.create(None, P256, None).reference
    check_key(provider, reference)
    provider.close()
    with esapi(swtpm) as owner:
        owner.clear(ESYS_TR.LOCKOUT)
    for call in (lambda: check_key(provider, reference), lambda: kind.open(settings, store_path=path).start(state)):
        error = refusal(call)
        assert error.status == PsaStatus.DATA_INVALID
        assert "the TPM was cleared" in error.detail
    fresh = kind.open(settings, store_path=path)
    assert fresh.start(None) != state
    assert refusal(lambda: check_key(fresh, reference)).status == PsaStatus.DATA_CORRUPT
    fresh.close()


def test_a_storage_key_that_is_made_persistent_later_stays_the_parent(swtpm: Swtpm, tmp_path: Path) -> None:
    provider = TpmProviderType().open(TpmSettings(swtpm.tcti), store_path=tmp_path / "keys.sqlite3")
    state = provider.start(None)
    reference = provider.create(None, P256, None).reference
    provider.close()
    with esapi(swtpm) as owner:
        make_persistent(owner, STORAGE_ECC)
    assert provider.start(state) == state
    check_key(provider, reference)
    provider.close()
    with esapi(swtpm) as owner:
        owner.evict_control(ESYS_TR.OWNER, owner.tr_from_tpmpublic(STORAGE_HANDLE), STORAGE_HANDLE)
    assert provider.start(state) == state
    check_key(provider, reference)
    provider.close()


def test_the_endorsement_key_may_be_persistent(swtpm: Swtpm, provider: TpmProvider) -> None:
    key = provider.load(provider.create(None, P256, None).reference, P256)
    made = provider.prepare_key_attestation(key, None)
    provider.close()
    with esapi(swtpm) as owner:
        make_persistent(owner, ENDORSEMENT_RSA, hierarchy=ESYS_TR.ENDORSEMENT, handle=ENDORSEMENT_HANDLE)
        owner.hierarchy_change_auth(ESYS_TR.ENDORSEMENT, b"which is not needed to read a key")
    assert provider.prepare_key_attestation(key, None) == made
    provider.close()
    with esapi(swtpm) as owner:
        owner.tr_set_auth(ESYS_TR.ENDORSEMENT, b"which is not needed to read a key")
        owner.hierarchy_change_auth(ESYS_TR.ENDORSEMENT, b"")
        owner.evict_control(ESYS_TR.OWNER, owner.tr_from_tpmpublic(ENDORSEMENT_HANDLE), ENDORSEMENT_HANDLE)
        make_persistent(owner, STORAGE_ECC, handle=ENDORSEMENT_HANDLE)  # some other key
    assert provider.prepare_key_attestation(key, None) == made
    provider.close()


@pytest.mark.parametrize(
    "parent",
    [STORAGE_RSA, replace(STORAGE_ECC, detail=EccPublic(Curve.NIST_P384, symmetric=Symmetric(128)))],
    ids=["RSA", "P-384"],
)
def test_a_storage_key_of_another_kind(swtpm: Swtpm, tmp_path: Path, parent: Public) -> None:
    """Salts are encrypted to it, and keys that are imported; of a kind that is rare the library has to take care."""
    with esapi(swtpm) as owner:
        make_persistent(owner, parent)
    provider = TpmProviderType().open(TpmSettings(swtpm.tcti), store_path=tmp_path / "keys.sqlite3")
    provider.start(None)

    def imported(attributes: KeyAttributes) -> LoadedKey:
        material = engine.export(attributes, engine.generate(attributes))
        return provider.load(provider.create(None, attributes, material).reference, attributes)

    check_key(provider, provider.create(None, P256, None).reference)
    key = imported(replace(P256, algorithm=Algorithm.ECDH))
    assert len(provider.raw_key_agreement(key, Algorithm.ECDH, provider.export_public_key(key))) == 32
    oaep = Algorithm.rsa_oaep(Hash.SHA_256)
    key = imported(replace(RSA3072, key_bits=2048, algorithm=oaep))
    assert provider.asymmetric_decrypt(key, oaep, provider.asymmetric_encrypt(key, oaep, b"text", b""), b"") == b"text"
    hmac = Algorithm.hmac(Hash.SHA_256)
    key = imported(KeyAttributes(KeyType.HMAC, 256, UsageFlags.SIGN_MESSAGE, hmac))
    provider.mac_verify(key, hmac, b"text", provider.mac_compute(key, hmac, b"text"))
    key = imported(KeyAttributes(KeyType.AES, 128, UsageFlags.ENCRYPT, Algorithm.CTR))
    hidden = provider.cipher_encrypt(key, Algorithm.CTR, b"text")
    assert provider.cipher_decrypt(key, Algorithm.CTR, hidden) == b"text"
    assert len(provider.generate_random(100)) == 100
    provider.close()


def test_a_locked_out_tpm_goes_on_with_keys_and_says_what_it_refuses(swtpm: Swtpm, provider: TpmProvider) -> None:
    reference = provider.create(None, P256, None).reference
    provider.close()
    with esapi(swtpm) as owner:
        owner.dictionary_attack_parameters(0, 1000, 1000)  # no wrong authorisation is allowed: that is a lock-out
    check_key(provider, reference)
    check_key(provider, provider.create(None, P256, None).reference)
    provider.close()


def test_a_lock_out_that_hits_is_told_and_not_tried_again(swtpm: Swtpm, tmp_path: Path) -> None:
    with esapi(swtpm) as owner:
        make_persistent(owner, Public(STORAGE_ECC.detail, STORAGE_ECC.flags & ~ObjectFlags.NO_DA))
    provider = TpmProviderType().open(TpmSettings(swtpm.tcti), store_path=tmp_path / "keys.sqlite3")
    provider.start(None)
    check_key(provider, provider.create(None, P256, None).reference)
    provider.close()
    with esapi(swtpm) as owner:
        owner.dictionary_attack_parameters(0, 1000, 1000)
    error = refusal(lambda: provider.create(None, P256, None))
    assert error.status == PsaStatus.HARDWARE_FAILURE
    assert "TPM_RC_LOCKOUT (0x921)" in error.detail
    assert "tpm2_dictionarylockout --clear-lockout" in error.detail
    provider.close()


def test_the_owner_has_an_authorisation(swtpm: Swtpm, tmp_path: Path) -> None:
    with esapi(swtpm) as owner:
        owner.hierarchy_change_auth(ESYS_TR.OWNER, b"a secret")
        owner.hierarchy_change_auth(ESYS_TR.ENDORSEMENT, b"another")
    (tmp_path / "auth").write_text("a secret\n")
    path = tmp_path / "keys.sqlite3"
    for right in ("a secret", "str:a secret", f"hex:{b'a secret'.hex()}", f"file:{tmp_path}/auth"):
        settings = TpmSettings(swtpm.tcti, Secret(right.encode()), Secret(b"another"))
        provider = TpmProviderType().open(settings, store_path=path)
        provider.start(None)
        created = provider.create(None, P256, None)
        name, _, _ = provider.prepare_key_attestation(provider.load(created.reference, P256), None)
        assert len(name) == 34
        provider.close()
    for wrong in ("str:", "a Secret"):
        settings = TpmSettings(swtpm.tcti, Secret(wrong.encode()))
        error = refusal(partial(TpmProviderType().open(settings, store_path=path).start, None))
        assert error.status == PsaStatus.HARDWARE_FAILURE
        assert "TPM_RC_BAD_AUTH" in error.detail
        assert "a secret" not in error.detail.lower()
