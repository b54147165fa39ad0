"""The TPM provider keeps the contract of providers, over the genuine swtpm, and agrees with the software engine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from edgeroot import engine
from edgeroot.engine import EngineKey
from edgeroot.providers.api import Capability, Created, Function, LoadedKey
from edgeroot.providers.tpm import TpmProvider, TpmProviderType, TpmSettings
from edgeroot.providers.tpm.keys import authorisation
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaStatus, Secret, UsageFlags
from edgeroot.testing.provider_kit import check_provider
from tests.support.swtpm import Swtpm, running_swtpm
from tests.vectors.keys import refused

ALL: Final = UsageFlags(sum(UsageFlags))
MESSAGE: Final = b"a message of no particular length"
LONG: Final = bytes(range(256)) * 20
PAIR: Final = KeyType.ecc_key_pair(EccFamily.SECP_R1)
P256: Final = KeyAttributes(PAIR, 256, ALL, Algorithm.ecdsa(Hash.SHA_256))


@pytest.fixture(scope="module")
def swtpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swtpm]:
    with running_swtpm(tmp_path_factory.mktemp("swtpm") / "tpm") as swtpm:
        yield swtpm


@pytest.fixture
def provider(swtpm: Swtpm, tmp_path: Path) -> Iterator[TpmProvider]:
    provider = TpmProviderType().open(TpmSettings(swtpm.tcti), store_path=tmp_path / "keys.sqlite3")
    provider.start(None)
    yield provider
    provider.close()


def rows(provider: TpmProvider, function: Function) -> Iterator[tuple[Capability, KeyAttributes]]:
    """Every row that has this function, with each of its algorithms and the first of its sizes that can be made."""
    capabilities = provider.capabilities()
    for row in capabilities.rows:
        sizes = [bits for bits in row.key_bits if capabilities.can_hold(Function.GENERATE_KEY, row.key_type, bits)]
        if function in row.functions and sizes:
            for alg in sorted(row.algorithms):
                for bits in sizes if row.key_type.is_ecc else sizes[:2]:
                    yield row, KeyAttributes(row.key_type, bits, ALL, alg)


def made(provider: TpmProvider, attributes: KeyAttributes) -> LoadedKey:
    return loaded(provider, provider.create(None, attributes, None))


def loaded(provider: TpmProvider, created: Created) -> LoadedKey:
    return provider.load(created.reference, created.attributes)


def in_both(provider: TpmProvider, attributes: KeyAttributes) -> tuple[LoadedKey, EngineKey]:
    """A key that software has made, and its copy in the TPM."""
    material = engine.generate(attributes)
    created = provider.create(None, attributes, engine.export(attributes, material))
    assert created.attributes == attributes
    return loaded(provider, created), engine.load(attributes, material)


def software(key: LoadedKey, public: bytes) -> EngineKey:
    """The public key in software."""
    attributes = replace(key.attributes, key_type=key.attributes.key_type.public_of_pair)
    attributes, material = engine.import_material(attributes, Secret(public))
    return engine.load(attributes, material)


def test_it_keeps_the_contract(provider: TpmProvider) -> None:
    # A TPM has one owner at a time, and this swtpm one connection, so that both instances are the same.
    check_provider(lambda: provider, oaep_labels=(b"", b"label\0"))


def test_what_one_instance_makes_the_next_one_uses(swtpm: Swtpm, tmp_path: Path) -> None:
    kind, settings = TpmProviderType(), TpmSettings(swtpm.tcti)
    first = kind.open(settings, store_path=tmp_path / "keys.sqlite3")
    state = first.start(None)
    created = first.create(None, P256, None)
    first.close()
    second = kind.open(settings, store_path=tmp_path / "keys.sqlite3")
    assert second.start(state) == state
    key = loaded(second, created)
    second.verify_message(key, P256.algorithm, MESSAGE, second.sign_message(key, P256.algorithm, MESSAGE))
    second.close()


def test_it_offers_what_this_tpm_has(provider: TpmProvider) -> None:
    sizes = {row.key_type: tuple(row.key_bits) for row in provider.capabilities().rows if not row.algorithms}
    assert set(sizes[KeyType.RSA_KEY_PAIR]) >= {2048}
    assert set(sizes[PAIR]) >= {256, 384}
    assert set(sizes[KeyType.AES]) >= {128, 256}
    assert Function.EXPORT_KEY not in provider.capabilities().offered


def test_signatures_of_the_tpm_verify_in_software(provider: TpmProvider) -> None:
    for _, attributes in rows(provider, Function.SIGN_MESSAGE):
        key = made(provider, attributes)
        public = software(key, provider.export_public_key(key))
        public.verify_message(attributes.algorithm, MESSAGE, provider.sign_message(key, attributes.algorithm, MESSAGE))


@pytest.mark.parametrize("key_bits", [256, 384, 521])
def test_numbers_of_signatures_keep_their_leading_zeros(provider: TpmProvider, key_bits: int) -> None:
    alg, width = Algorithm.ecdsa(Hash.SHA_256), (key_bits + 7) // 8
    key = made(provider, replace(P256, key_bits=key_bits))
    public = software(key, provider.export_public_key(key))
    for number in range(5000):  # one in 128 has a number that begins with a zero byte, of P-521 most
        digest = hashlib.sha256(number.to_bytes(2, "big")).digest()
        signature = provider.sign_hash(key, alg, digest)
        public.verify_hash(alg, digest, signature)
        assert len(signature) == 2 * width
        if 0 in (signature[0], signature[width]):
            break
    else:
        pytest.fail("no number began with a zero byte")


def test_imported_pairs_are_the_same_keys(provider: TpmProvider) -> None:
    for _, attributes in rows(provider, Function.SIGN_MESSAGE):
        if attributes.algorithm.hash is not Hash.SHA_256:
            continue
        key, same = in_both(provider, attributes)
        assert provider.export_public_key(key) == same.export_public()
        same.verify_message(attributes.algorithm, MESSAGE, provider.sign_message(key, attributes.algorithm, MESSAGE))


def test_software_encrypts_and_the_tpm_decrypts(provider: TpmProvider) -> None:
    for _, attributes in rows(provider, Function.ASYMMETRIC_DECRYPT):
        key, same = in_both(provider, attributes)
        for label in (b"", b"label\0") if attributes.algorithm.is_rsa_oaep else (b"",):
            ciphertext = same.asymmetric_encrypt(attributes.algorithm, b"\0text\0", label)
            assert provider.asymmetric_decrypt(key, attributes.algorithm, ciphertext, label) == b"\0text\0"


def test_a_label_that_no_tpm_takes_is_refused_on_both_ways(provider: TpmProvider) -> None:
    alg = Algorithm.rsa_oaep(Hash.SHA_256)
    key, same = in_both(provider, KeyAttributes(KeyType.RSA_KEY_PAIR, 2048, ALL, alg))
    with refused(PsaStatus.NOT_SUPPORTED):
        provider.asymmetric_encrypt(key, alg, b"text", b"label")
    with refused(PsaStatus.NOT_SUPPORTED):
        provider.asymmetric_decrypt(key, alg, same.asymmetric_encrypt(alg, b"text", b"label"), b"label")
    with refused(PsaStatus.INVALID_ARGUMENT):
        provider.asymmetric_decrypt(key, alg, bytes(256), bytes(200))


def test_the_tpm_and_software_agree(provider: TpmProvider) -> None:
    for _, attributes in rows(provider, Function.RAW_KEY_AGREEMENT):
        key, same = in_both(provider, attributes)
        other = engine.load(attributes, engine.generate(attributes))
        secret = provider.raw_key_agreement(key, Algorithm.ECDH, other.export_public())
        assert secret == other.raw_key_agreement(Algorithm.ECDH, same.export_public())
        assert len(secret) == (attributes.key_bits + 7) // 8


@pytest.mark.parametrize("data", [b"", MESSAGE, LONG], ids=["empty", "short", "in parts"])
def test_macs_are_those_of_software(provider: TpmProvider, data: bytes) -> None:
    for _, attributes in rows(provider, Function.MAC_COMPUTE):
        for key_bits in (attributes.key_bits, 8, 512):
            key, same = in_both(provider, replace(attributes, key_bits=key_bits))
            mac = same.mac_compute(attributes.algorithm, data)
            assert provider.mac_compute(key, attributes.algorithm, data) == mac
            provider.mac_verify(key, attributes.algorithm, data, mac)
            with refused(PsaStatus.INVALID_SIGNATURE):
                provider.mac_verify(key, attributes.algorithm, data + b"x", mac)


def test_a_key_for_hmac_that_the_tpm_would_make_shorter_is_refused(provider: TpmProvider) -> None:
    with refused(PsaStatus.NOT_SUPPORTED):
        provider.create(None, KeyAttributes(KeyType.HMAC, 512, ALL, Algorithm.hmac(Hash.SHA_256)), None)


@pytest.mark.parametrize("length", [16, 1024, 5008])
def test_ciphers_are_those_of_software(provider: TpmProvider, length: int) -> None:
    for _, attributes in rows(provider, Function.CIPHER_ENCRYPT):
        alg = attributes.algorithm
        key, same = in_both(provider, attributes)
        for plaintext in {LONG[:length], LONG[: length - 3]}:
            if len(plaintext) % 16 and alg in (Algorithm.CBC_NO_PADDING, Algorithm.ECB_NO_PADDING):
                continue
            assert same.cipher_decrypt(alg, provider.cipher_encrypt(key, alg, plaintext)) == plaintext
            assert provider.cipher_decrypt(key, alg, same.cipher_encrypt(alg, plaintext)) == plaintext


def test_a_wrong_padding_is_told(provider: TpmProvider) -> None:
    key, same = in_both(provider, KeyAttributes(KeyType.AES, 128, ALL, Algorithm.CBC_PKCS7))
    whole = same.cipher_encrypt(Algorithm.CBC_PKCS7, bytes(32))
    with refused(PsaStatus.INVALID_PADDING):
        provider.cipher_decrypt(key, Algorithm.CBC_PKCS7, whole[:-16])


def test_a_symmetric_key_has_no_public_part(provider: TpmProvider) -> None:
    for attributes in (
        KeyAttributes(KeyType.AES, 128, ALL, Algorithm.CTR),
        KeyAttributes(KeyType.HMAC, 256, ALL, Algorithm.hmac(Hash.SHA_256)),
    ):
        key = made(provider, attributes)
        with refused(PsaStatus.INVALID_ARGUMENT):
            provider.export_public_key(key)
        with refused(PsaStatus.INVALID_ARGUMENT):
            provider.sign_hash(key, P256.algorithm, bytes(32))


def test_random_bytes_of_any_size(provider: TpmProvider) -> None:
    for size_bytes in (0, 1, 31, 64, 65, 1000, 10_000):
        assert len(provider.generate_random(size_bytes)) == size_bytes


def test_a_key_serves_only_with_the_attributes_that_it_was_made_with(provider: TpmProvider) -> None:
    created = provider.create(None, replace(P256, usage=UsageFlags.VERIFY_HASH), None)
    more = provider.load(created.reference, replace(created.attributes, usage=ALL))
    with refused(PsaStatus.DATA_CORRUPT):
        provider.sign_message(more, P256.algorithm, MESSAGE)
    for changed in (
        replace(P256, key_bits=384),
        replace(P256, key_type=KeyType.RSA_KEY_PAIR),
        replace(P256, key_type=KeyType.AES),
        replace(P256, key_type=PAIR.public_of_pair),
    ):
        with refused(PsaStatus.DATA_CORRUPT):
            provider.load(created.reference, changed)


def test_a_key_that_another_key_was_put_in_place_of(provider: TpmProvider) -> None:
    one, other = (provider.create(None, P256, None).reference for _ in range(2))
    mixed = one[: len(one) - 70] + other[len(other) - 70 :]
    with refused(PsaStatus.DATA_CORRUPT):
        provider.sign_message(provider.load(mixed, P256), P256.algorithm, MESSAGE)


def test_more_keys_than_the_tpm_has_room_for(provider: TpmProvider) -> None:
    created = [provider.create(None, P256, None) for _ in range(8)]
    keys = [loaded(provider, one) for one in created]
    for key in keys * 3:
        provider.verify_message(key, P256.algorithm, MESSAGE, provider.sign_message(key, P256.algorithm, MESSAGE))


def test_keys_that_it_does_not_have(provider: TpmProvider) -> None:
    for attributes in (
        KeyAttributes(KeyType.RSA_KEY_PAIR, 512, ALL, Algorithm.NONE),
        KeyAttributes(KeyType.ecc_key_pair(EccFamily.SECP_K1), 256, ALL, Algorithm.NONE),
        replace(P256, algorithm=Algorithm.deterministic_ecdsa(Hash.SHA_256)),
        replace(P256, algorithm=Algorithm.ecdsa(Hash.SHA_224)),
        KeyAttributes(KeyType.AES, 128, ALL, Algorithm.GCM),
    ):
        with refused(PsaStatus.NOT_SUPPORTED):
            provider.create(None, attributes, None)
    montgomery = KeyAttributes(KeyType.ecc_key_pair(EccFamily.MONTGOMERY), 255, ALL, Algorithm.ECDH)
    with refused(PsaStatus.NOT_SUPPORTED):
        provider.create(None, montgomery, Secret(bytes(32)))


@pytest.mark.parametrize("attributes", [P256, KeyAttributes(KeyType.HMAC, 256, ALL, Algorithm.hmac(Hash.SHA_256))])
def test_authorisations_that_end_with_a_zero(provider: TpmProvider, attributes: KeyAttributes) -> None:
    """A TPM takes the zeros at their end for nothing (TPM 2.0 Library, Part 1, clause 19.6.4.3)."""
    usages = (UsageFlags(bits) for bits in range(int(ALL) + 1) if bits & ~int(ALL) == 0)
    ending = (replace(attributes, usage=usage) for usage in usages)
    made_of = next(one for one in ending if authorisation(one).endswith(b"\0"))
    key = made(provider, made_of)
    if attributes.key_type == KeyType.HMAC:
        assert len(provider.mac_compute(key, attributes.algorithm, MESSAGE)) == 32
        assert len(provider.mac_compute(key, attributes.algorithm, LONG)) == 32
    else:
        assert len(provider.sign_message(key, attributes.algorithm, MESSAGE)) == 64
