"""What no real TPM does when it is asked to, and what the service's processes do to each other."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgeroot import engine
from edgeroot.evidence.tpm_structures import Alg, Curve, EccPublic, ObjectFlags, Public, RsaPublic, sized
from edgeroot.providers.api import BackEndAbsentError, LoadedKey
from edgeroot.providers.software import SoftwareProvider
from edgeroot.providers.tpm import TpmProvider, TpmProviderType, TpmSettings
from edgeroot.providers.tpm.errors import FAILURE
from edgeroot.providers.tpm.keys import importable, psa_signature
from edgeroot.providers.tpm.provider import Found
from edgeroot.providers.tpm.reference import SecretReference
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret, UsageFlags
from tests.unit.providers.tpm.scripted import ScriptedLock, ScriptedTpm
from tests.vectors.keys import refused

ALL = UsageFlags(sum(UsageFlags))
PAIR = KeyType.ecc_key_pair(EccFamily.SECP_R1)
ES256 = Algorithm.ecdsa(Hash.SHA_256)
P256 = KeyAttributes(PAIR, 256, ALL, ES256)
PSS = KeyAttributes(KeyType.RSA_KEY_PAIR, 2048, ALL, Algorithm.rsa_pss(Hash.SHA_256))


# Primes of 500 and 524 bits, whose product is a modulus of 1,024.
P = int(
    "0F1AC6A7079DE181A607EE208F59F8424E12BCA37EBB6C4A4E88FD5201E28A38"
    "C20E0D662676FA891EC72E416B9C849D820BB0F4753658B953B7C2D1309F25",
    16,
)
Q = int(
    "0E3A0E4C29462BE9B33B12919F49012070B89AE5124C6CDFBA24F055CDA21E0D"
    "69A14DDC515EABB7399B2A68CE38FCDA1585CD8D5B9F04986D378B8C10767AB5"
    "91EB",
    16,
)


@pytest.fixture
def tpm() -> ScriptedTpm:
    tpm = ScriptedTpm()
    tpm.algorithms |= {Alg.RSAPSS}
    return tpm


def imported(provider: TpmProvider, attributes: KeyAttributes) -> LoadedKey:
    created = provider.create(None, attributes, engine.export(attributes, engine.generate(attributes)))
    return provider.load(created.reference, created.attributes)


def two_numbers(r: bytes, s: bytes) -> bytes:
    return Alg.ECDSA.to_bytes(2, "big") + Alg.SHA256.to_bytes(2, "big") + sized(r) + sized(s)


@pytest.mark.parametrize(("key_bits", "width"), [(256, 32), (384, 48), (521, 66)])
def test_numbers_are_as_wide_as_the_curve(key_bits: int, width: int) -> None:
    attributes = replace(P256, key_bits=key_bits)
    for number in (b"", b"\x01", b"\x00\x01", bytes(width - 1) + b"\x01", bytes(width) + b"\x01"):
        signature = psa_signature(attributes, two_numbers(number, b"\x02"))
        assert len(signature) == 2 * width
        assert int.from_bytes(signature[width:], "big") == 2


@pytest.mark.parametrize("signature", [b"", b"\x00\x18", two_numbers(b"r", b"s") + b"\0", two_numbers(b"r", b"s")[:-1]])
def test_a_malformed_signature_is_the_tpms_fault(tpm: ScriptedTpm, signature: bytes) -> None:
    provider = TpmProvider(tpm.connect)
    provider.start(None)
    tpm.signature = signature or b"\0"
    with refused(PsaStatus.COMMUNICATION_FAILURE):
        provider.sign_hash(imported(provider, P256), ES256, bytes(32))


def test_a_secret_is_as_wide_as_the_curve(tpm: ScriptedTpm) -> None:
    provider = TpmProvider(tpm.connect)
    provider.start(None)
    ecdh = replace(P256, algorithm=Algorithm.ECDH)
    key = imported(provider, ecdh)
    assert provider.raw_key_agreement(key, Algorithm.ECDH, provider.export_public_key(key)) == bytes(31) + b"\x01"


def test_a_tpm_with_other_salts_does_not_sign_with_pss(tpm: ScriptedTpm) -> None:
    provider = TpmProvider(tpm.connect)
    provider.start(None)
    tpm.signature = Alg.RSAPSS.to_bytes(2, "big") + Alg.SHA256.to_bytes(2, "big") + sized(bytes(256))
    with refused(PsaStatus.NOT_SUPPORTED):
        provider.sign_hash(imported(provider, PSS), PSS.algorithm, bytes(32))


def test_random_bytes_come_in_as_many_parts_as_the_tpm_gives(tpm: ScriptedTpm) -> None:
    provider = TpmProvider(tpm.connect)
    provider.start(None)
    assert provider.generate_random(12) == b"\x05" * 12
    assert tpm.count("random") == 3
    tpm.random = b""
    with refused(PsaStatus.INSUFFICIENT_ENTROPY):
        provider.generate_random(1)


def test_primes_of_different_sizes_are_in_no_tpm() -> None:
    d = pow(65537, -1, (P - 1) * (Q - 1))
    numbers = rsa.RSAPrivateNumbers(
        P, Q, d, d % (P - 1), d % (Q - 1), pow(Q, -1, P), rsa.RSAPublicNumbers(65537, P * Q)
    )
    der = numbers.private_key().private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    with refused(PsaStatus.NOT_SUPPORTED):
        importable(KeyAttributes(KeyType.RSA_KEY_PAIR, 1024, ALL, Algorithm.NONE), Secret(der))


@pytest.mark.parametrize("works", [True, False])
def test_a_wrong_padding_is_told_from_failure_mode(tpm: ScriptedTpm, works: bool) -> None:
    """libtpms answers both with TPM_RC_FAILURE; but in failure mode it does nothing else."""
    tpm.algorithms |= {Alg.RSAES}
    provider = TpmProvider(tpm.connect)
    provider.start(None)
    attributes = KeyAttributes(KeyType.RSA_KEY_PAIR, 2048, ALL, Algorithm.RSA_PKCS1V15_CRYPT)
    key = imported(provider, attributes)
    tpm.fails = {"rsa_decrypt": [FAILURE], "activate": [FAILURE], "random": [] if works else [FAILURE] * 2}
    with refused(PsaStatus.INVALID_PADDING if works else PsaStatus.HARDWARE_FAILURE):
        provider.asymmetric_decrypt(key, attributes.algorithm, bytes(256), b"")
    with refused(PsaStatus.INVALID_ARGUMENT if works else PsaStatus.HARDWARE_FAILURE):
        provider.attest_key(key, None, credential_blob=b"blob", secret=b"secret")
    assert provider.attest_key(key, None, credential_blob=b"blob", secret=b"secret") == b"credential"


def test_only_the_endorsement_key_attests(tpm: ScriptedTpm) -> None:
    provider = TpmProvider(tpm.connect)
    provider.start(None)
    key = imported(provider, P256)
    with refused(PsaStatus.NOT_SUPPORTED):
        provider.prepare_key_attestation(key, key)
    with refused(PsaStatus.NOT_SUPPORTED):
        provider.attest_key(key, key, credential_blob=b"", secret=b"")


def test_without_the_library_there_is_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "edgeroot.providers.tpm.native.esys", None)
    provider = TpmProviderType().open(TpmSettings("device", skip_if_no_tpm=True), store_path=tmp_path / "keys")
    with pytest.raises(PsaError, match=r"pip install 'edgeroot\[tpm\]'") as caught:
        provider.start(None)
    assert caught.value.status is PsaStatus.NOT_SUPPORTED
    assert not isinstance(caught.value, BackEndAbsentError)


def test_a_reference_with_an_impossible_modulus(tpm: ScriptedTpm) -> None:
    provider = TpmProvider(tpm.connect)
    provider.start(None)
    public = Public(RsaPublic(2048, modulus=bytes(256)), ObjectFlags.SIGN)
    with refused(PsaStatus.DATA_CORRUPT):
        provider.load(bytes(SecretReference(b"private", public)), PSS)
    public = Public(EccPublic(Curve.NIST_P256, x=b"1", y=b"1"), ObjectFlags.SIGN)
    with refused(PsaStatus.DATA_CORRUPT):
        provider.load(bytes(SecretReference(b"private", public)), P256)


def test_a_second_instance_takes_over_what_the_first_one_found(tpm: ScriptedTpm) -> None:
    lock, found = ScriptedLock(), Found()
    state = TpmProvider(tpm.connect, lock=lock, found=found).start(None)
    lock.is_anothers = True
    again = TpmProvider(tpm.connect, lock=lock, found=found)
    assert again.start(state) == state
    assert tpm.connections == 1
    assert again.capabilities().offered
    with refused(PsaStatus.CONNECTION_BUSY):
        again.generate_random(1)
    lock.is_anothers = False
    assert again.generate_random(1) == b"\x05"


def test_it_does_not_take_over_what_another_found(tpm: ScriptedTpm) -> None:
    lock, found = ScriptedLock(), Found()
    lock.is_anothers = True
    with refused(PsaStatus.CONNECTION_BUSY):
        TpmProvider(tpm.connect, lock=lock, found=found).start(None)
    lock.is_anothers = False
    state = TpmProvider(tpm.connect, lock=lock, found=found).start(None)
    lock.is_anothers = True
    for other in (None, state + b"x"):
        with refused(PsaStatus.CONNECTION_BUSY):
            TpmProvider(tpm.connect, lock=lock, found=found).start(other)


def test_absence_is_allowed_where_it_is_configured(tpm: ScriptedTpm) -> None:
    tpm.absent = True
    with refused(PsaStatus.COMMUNICATION_FAILURE):
        TpmProvider(tpm.connect).start(None)
    with pytest.raises(BackEndAbsentError):
        TpmProvider(tpm.connect, may_be_absent=True).start(None)
    tpm.absent, tpm.fails = False, {"create_primary": [0x9A2]}
    with refused(PsaStatus.HARDWARE_FAILURE):
        TpmProvider(tpm.connect, may_be_absent=True).start(None)


def test_nothing_is_offered_before_the_start(tpm: ScriptedTpm) -> None:
    with refused(PsaStatus.BAD_STATE):
        TpmProvider(tpm.connect).capabilities()


def test_keys_of_another_provider_are_refused(tpm: ScriptedTpm, tmp_path: Path) -> None:
    provider, software = TpmProvider(tpm.connect), SoftwareProvider(tmp_path / "key")
    provider.start(None)
    software.start(None)
    foreign = software.load(software.create(None, P256, None).reference, P256)
    with refused(PsaStatus.INVALID_HANDLE):
        provider.sign_hash(foreign, ES256, bytes(32))


def test_public_keys_need_no_tpm(tpm: ScriptedTpm) -> None:
    provider = TpmProvider(tpm.connect)
    provider.start(None)
    tpm.absent = True
    public = replace(P256, key_type=PAIR.public_of_pair)
    pair = engine.load(P256, engine.generate(P256))
    created = provider.create(None, replace(public, key_bits=0), Secret(pair.export_public()))
    key = provider.load(created.reference, created.attributes)
    provider.verify_message(key, ES256, b"text", pair.sign_message(ES256, b"text"))
    with refused(PsaStatus.INVALID_ARGUMENT):
        provider.sign_message(key, ES256, b"text")
    with refused(PsaStatus.INVALID_ARGUMENT):
        provider.prepare_key_attestation(key, None)
    with refused(PsaStatus.DATA_CORRUPT):
        provider.load(created.reference, P256)
