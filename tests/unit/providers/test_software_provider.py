from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeroot.providers.api import Function, LoadedKey
from edgeroot.providers.software import SoftwareProvider, SoftwareProviderType, SoftwareSettings
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaStatus, Secret, UsageFlags
from tests.vectors.keys import refused

ES256 = Algorithm.ecdsa(Hash.SHA_256)
P256 = KeyAttributes(KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, UsageFlags.SIGN_HASH, ES256)


def opened(tmp_path: Path, wrapping_key_file: str | None = None) -> SoftwareProvider:
    return SoftwareProviderType().open(SoftwareSettings(wrapping_key_file), store_path=tmp_path / "keys.sqlite3")


@pytest.fixture
def provider(tmp_path: Path) -> SoftwareProvider:
    started = opened(tmp_path)
    started.start(None)
    return started


def test_upstreams_identity() -> None:
    identity = SoftwareProvider.identity
    assert identity.provider_id == 1
    assert identity.uuid == "1c1139dc-ad7c-47dc-ad6b-db6fdb466552"
    assert identity.vendor == "Arm"
    assert identity.version == (0, 1, 0)
    assert identity.description.startswith("User space software provider, based on Mbed Crypto")
    assert SoftwareProviderType.provider_type == "MbedCrypto"
    assert SoftwareProviderType().setting_names() == (
        "wrapping_key_file",
        "wrapping_key_tcti",
        "wrapping_key_pcrs",
    )


def test_wrapping_key_lies_beside_the_store_or_where_it_is_configured(tmp_path: Path) -> None:
    opened(tmp_path).start(None)
    opened(tmp_path, str(tmp_path / "elsewhere")).start(None)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["elsewhere", "keys.sqlite3.key"]


def test_key_outlives_its_provider(provider: SoftwareProvider, tmp_path: Path) -> None:
    state = provider.start(None)
    created = provider.create(None, P256, None)
    later = opened(tmp_path)
    assert later.start(state) == state
    signature = later.sign_hash(later.load(created.reference, P256), ES256, bytes(32))
    provider.verify_hash(provider.load(created.reference, P256), ES256, bytes(32), signature)


def test_lost_wrapping_key_is_not_replaced(provider: SoftwareProvider, tmp_path: Path) -> None:
    state = provider.start(None)
    (tmp_path / "keys.sqlite3.key").unlink()
    with refused(PsaStatus.STORAGE_FAILURE):
        opened(tmp_path).start(state)
    assert not (tmp_path / "keys.sqlite3.key").exists()


def test_other_wrapping_key_is_refused(provider: SoftwareProvider, tmp_path: Path) -> None:
    state = provider.start(None)
    (tmp_path / "keys.sqlite3.key").unlink()
    opened(tmp_path).start(None)
    with refused(PsaStatus.DATA_INVALID):
        opened(tmp_path).start(state)


@pytest.mark.parametrize(
    "changed",
    [
        replace(P256, usage=P256.usage | UsageFlags.EXPORT),
        replace(P256, algorithm=Algorithm.ECDSA_ANY),
        replace(P256, key_bits=384),
        replace(P256, key_type=KeyType.RAW_DATA),
    ],
)
def test_attributes_cannot_be_changed_behind_its_back(provider: SoftwareProvider, changed: KeyAttributes) -> None:
    created = provider.create(None, P256, None)
    with refused(PsaStatus.DATA_CORRUPT):
        provider.load(created.reference, changed)


def test_reference_shows_nothing(provider: SoftwareProvider) -> None:
    material = Secret(bytes(range(32)))
    created = provider.create(None, KeyAttributes(KeyType.AES, 0, UsageFlags.EXPORT, Algorithm.GCM), material)
    assert created.attributes.key_bits == 256
    assert material[:8] not in created.reference
    assert provider.export_key(provider.load(created.reference, created.attributes)) == material


def test_nothing_works_before_start(tmp_path: Path) -> None:
    with refused(PsaStatus.BAD_STATE):
        opened(tmp_path).create(None, P256, None)


@pytest.mark.parametrize(
    ("function", "key_type", "key_bits", "input_bytes", "slow"),
    [
        (Function.SIGN_HASH, P256.key_type, 256, 32, False),
        (Function.GENERATE_KEY, P256.key_type, 256, 0, False),
        (Function.SIGN_MESSAGE, P256.key_type, 256, 1 << 18, True),
        (Function.GENERATE_KEY, KeyType.RSA_KEY_PAIR, 1024, 0, True),
        (Function.IMPORT_KEY, KeyType.RSA_KEY_PAIR, 0, 1200, True),
        (Function.IMPORT_KEY, KeyType.RSA_PUBLIC_KEY, 0, 270, False),
        (Function.SIGN_HASH, KeyType.RSA_KEY_PAIR, 2048, 32, False),
        (Function.SIGN_HASH, KeyType.RSA_KEY_PAIR, 4096, 32, True),
        (Function.VERIFY_HASH, KeyType.RSA_KEY_PAIR, 4096, 32, False),
        (Function.SIGN_HASH, KeyType.ecc_key_pair(EccFamily.BRAINPOOL_P_R1), 512, 32, True),
        (Function.CIPHER_ENCRYPT, KeyType.DES, 192, 1 << 16, True),
        (Function.CIPHER_ENCRYPT, KeyType.AES, 256, 1 << 16, False),
        (Function.GENERATE_KEY, KeyType(0x71FF), 256, 0, False),
    ],
)
def test_is_slow(
    provider: SoftwareProvider, function: Function, key_type: KeyType, key_bits: int, input_bytes: int, slow: bool
) -> None:
    attributes = KeyAttributes(key_type, key_bits, UsageFlags.NONE, Algorithm.NONE)
    assert provider.is_slow(function, attributes, input_bytes) is slow


def test_keyless_work_is_slow_by_its_size(provider: SoftwareProvider) -> None:
    assert not provider.is_slow(Function.HASH_COMPUTE, None, 1000)
    assert provider.is_slow(Function.GENERATE_RANDOM, None, 1 << 20)


def test_key_of_another_provider(provider: SoftwareProvider) -> None:
    with refused(PsaStatus.INVALID_HANDLE):
        provider.sign_hash(LoadedKey(b"", P256), ES256, bytes(32))
