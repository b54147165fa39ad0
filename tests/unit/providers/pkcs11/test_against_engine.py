"""What the token signs, seals and derives, and what the software engine does, is the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from edgeroot import engine
from edgeroot.engine import EngineKey
from edgeroot.providers.api import LoadedKey
from edgeroot.providers.pkcs11.provider import Pkcs11Provider
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret, UsageFlags
from tests.support.softhsm import softhsm

ALL = UsageFlags(sum(UsageFlags))
HASHES = (Hash.SHA_1, Hash.SHA_224, Hash.SHA_256, Hash.SHA_384, Hash.SHA_512)
MESSAGE = b"a message for both"
CURVES = [
    *((EccFamily.SECP_R1, bits) for bits in (192, 224, 256, 384, 521)),
    (EccFamily.SECP_K1, 256),
    *((EccFamily.BRAINPOOL_P_R1, bits) for bits in (256, 384, 512)),
]


@pytest.fixture(scope="module")
def provider() -> Iterator[Pkcs11Provider]:
    with softhsm() as hsm:
        provider = Pkcs11Provider(hsm.settings(), isolate=False)
        provider.start(None)
        yield provider
        provider.close()


def in_token(provider: Pkcs11Provider, attributes: KeyAttributes, material: Secret | None = None) -> LoadedKey:
    created = provider.create(provider.plan(attributes), attributes, material)
    return provider.load(created.reference, created.attributes)


def in_engine(attributes: KeyAttributes, exported: bytes) -> EngineKey:
    return engine.load(*engine.import_material(attributes, Secret(exported)))


def public(provider: Pkcs11Provider, key: LoadedKey) -> EngineKey:
    attributes = replace(key.attributes, key_type=key.attributes.key_type.public_of_pair)
    return in_engine(attributes, provider.export_public_key(key))


@pytest.mark.parametrize(("family", "bits"), CURVES)
def test_ecdsa_both_ways(provider: Pkcs11Provider, family: EccFamily, bits: int) -> None:
    for alg in map(Algorithm.ecdsa, HASHES):
        key = in_token(provider, KeyAttributes(KeyType.ecc_key_pair(family), bits, ALL, alg))
        # Some curves are narrower than some hashes.
        public(provider, key).verify_message(alg, MESSAGE, provider.sign_message(key, alg, MESSAGE))
        pair = in_engine(key.attributes, provider.export_key(key))
        provider.verify_message(key, alg, MESSAGE, pair.sign_message(alg, MESSAGE))
        assert pair.export_public() == provider.export_public_key(key)
        provider.destroy(key.reference)


def test_short_numbers_keep_their_width(provider: Pkcs11Provider) -> None:
    attributes = KeyAttributes(KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, ALL, Algorithm.ecdsa(Hash.SHA_256))
    scalar = Secret((7).to_bytes(32, "big"))
    key = in_token(provider, attributes, scalar)
    assert provider.export_key(key) == scalar
    for number in range(200):  # of these about one in 128 has a short r or s
        message = MESSAGE + bytes([number])
        signature = provider.sign_message(key, attributes.algorithm, message)
        assert len(signature) == 64
        public(provider, key).verify_message(attributes.algorithm, message, signature)


@pytest.mark.parametrize(("family", "bits"), CURVES)
def test_ecdh_both_ways(provider: Pkcs11Provider, family: EccFamily, bits: int) -> None:
    attributes = KeyAttributes(KeyType.ecc_key_pair(family), bits, ALL, Algorithm.ECDH)
    key = in_token(provider, attributes)
    for _ in range(8):
        peer = engine.load(attributes, engine.generate(attributes))
        ours = provider.raw_key_agreement(key, Algorithm.ECDH, peer.export_public())
        assert ours == peer.raw_key_agreement(Algorithm.ECDH, provider.export_public_key(key))


def test_a_point_that_looks_like_a_frame_is_taken_for_what_it_is(provider: Pkcs11Provider) -> None:
    attributes = KeyAttributes(KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, ALL, Algorithm.ECDH)
    key = in_token(provider, attributes)
    own = provider.export_public_key(key)
    for number in range(1, 4000):
        peer = in_engine(attributes, number.to_bytes(32, "big"))
        point = peer.export_public()
        if point[1] == len(point) - 2:  # the length that a frame would have
            break
    else:
        pytest.fail("none of many points begins so")
    assert provider.raw_key_agreement(key, Algorithm.ECDH, point) == peer.raw_key_agreement(Algorithm.ECDH, own)


def test_rsa_signatures_both_ways(provider: Pkcs11Provider) -> None:
    for make in (Algorithm.rsa_pkcs1v15_sign, Algorithm.rsa_pss):
        for alg in map(make, HASHES):
            key = in_token(provider, KeyAttributes(KeyType.RSA_KEY_PAIR, 1280, ALL, alg))
            public(provider, key).verify_message(alg, MESSAGE, provider.sign_message(key, alg, MESSAGE))
            pair = in_engine(key.attributes, provider.export_key(key))
            provider.verify_message(key, alg, MESSAGE, pair.sign_message(alg, MESSAGE))


def test_rsa_encryption_both_ways(provider: Pkcs11Provider) -> None:
    for alg in (Algorithm.RSA_PKCS1V15_CRYPT, Algorithm.rsa_oaep(Hash.SHA_1)):
        key = in_token(provider, KeyAttributes(KeyType.RSA_KEY_PAIR, 1280, ALL, alg))
        assert provider.asymmetric_decrypt(
            key, alg, public(provider, key).asymmetric_encrypt(alg, MESSAGE, b""), b""
        ) == (MESSAGE)
        pair = in_engine(key.attributes, provider.export_key(key))
        for plaintext in (b"", MESSAGE):
            sealed = provider.asymmetric_encrypt(key, alg, plaintext, b"")
            assert pair.asymmetric_decrypt(alg, sealed, b"") == plaintext


def test_a_label_that_the_token_does_not_take_is_not_left_out(provider: Pkcs11Provider) -> None:
    alg = Algorithm.rsa_oaep(Hash.SHA_1)
    key = in_token(provider, KeyAttributes(KeyType.RSA_KEY_PAIR, 1280, ALL, alg))
    sealed = public(provider, key).asymmetric_encrypt(alg, MESSAGE, b"label")
    for call in (provider.asymmetric_decrypt, provider.asymmetric_encrypt):
        with pytest.raises(PsaError) as raised:
            call(key, alg, sealed, b"label")
        assert raised.value.status is PsaStatus.NOT_SUPPORTED


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_aes_both_ways(provider: Pkcs11Provider, bits: int) -> None:
    material = Secret(bytes(range(bits // 8)))
    nonce, header, blocks = bytes(range(12)), b"header", bytes(range(48))
    for tag_bytes in (4, 8, 12, 13, 14, 15, 16):
        alg = Algorithm.GCM.with_tag_length(tag_bytes)
        attributes = KeyAttributes(KeyType.AES, bits, ALL, alg)
        key, twin = in_token(provider, attributes, material), in_engine(attributes, material)
        for plaintext in (b"", MESSAGE):
            sealed = twin.aead_encrypt(alg, nonce=nonce, additional_data=header, plaintext=plaintext)
            assert provider.aead_encrypt(key, alg, nonce=nonce, additional_data=header, plaintext=plaintext) == sealed
            assert provider.aead_decrypt(key, alg, nonce=nonce, additional_data=header, ciphertext=sealed) == plaintext
    for alg in (Algorithm.ECB_NO_PADDING, Algorithm.CBC_NO_PADDING, Algorithm.CBC_PKCS7, Algorithm.CTR):
        attributes = KeyAttributes(KeyType.AES, bits, ALL, alg)
        key, twin = in_token(provider, attributes, material), in_engine(attributes, material)
        for plaintext in (b"", blocks, bytes(4096)):
            assert twin.cipher_decrypt(alg, provider.cipher_encrypt(key, alg, plaintext)) == plaintext
            assert provider.cipher_decrypt(key, alg, twin.cipher_encrypt(alg, plaintext)) == plaintext


def test_a_counter_that_would_start_again_is_refused(provider: Pkcs11Provider) -> None:
    # The engine's does start again; PKCS#11's never (v3.0 §2.10.3), and an IV that is drawn at random never gets there.
    key = in_token(provider, KeyAttributes(KeyType.AES, 128, ALL, Algorithm.CTR))
    with pytest.raises(PsaError) as raised:
        provider.cipher_decrypt(key, Algorithm.CTR, b"\xff" * 16 + bytes(64))
    assert raised.value.status is PsaStatus.INVALID_ARGUMENT


def test_wrong_padding_is_told_from_a_wrong_length(provider: Pkcs11Provider) -> None:
    key = in_token(provider, KeyAttributes(KeyType.AES, 128, ALL, Algorithm.CBC_PKCS7), Secret(bytes(16)))
    for ciphertext, status in (
        (bytes(48), PsaStatus.INVALID_PADDING),
        (bytes(47), PsaStatus.INVALID_ARGUMENT),
        (bytes(16), PsaStatus.INVALID_ARGUMENT),
        (bytes(15), PsaStatus.INVALID_ARGUMENT),
    ):
        with pytest.raises(PsaError) as raised:
            provider.cipher_decrypt(key, Algorithm.CBC_PKCS7, ciphertext)
        assert raised.value.status is status


def test_macs_are_the_same(provider: Pkcs11Provider) -> None:
    cases = [(KeyType.HMAC, 512, Algorithm.hmac(alg)) for alg in HASHES]
    for key_type, bits, alg in [*cases, (KeyType.AES, 256, Algorithm.CMAC)]:
        attributes = KeyAttributes(key_type, bits, ALL, alg)
        material = Secret(bytes(range(bits // 8)))
        key, twin = in_token(provider, attributes, material), in_engine(attributes, material)
        for data in (b"", MESSAGE, bytes(5000)):
            mac = provider.mac_compute(key, alg, data)
            assert mac == twin.mac_compute(alg, data)
            provider.mac_verify(key, alg, data, mac)


def test_digests_are_the_same(provider: Pkcs11Provider) -> None:
    for alg in HASHES:
        for data in (b"", MESSAGE, bytes(100_000)):
            assert provider.hash_compute(alg, data) == engine.hash_compute(alg, data)


def test_a_key_without_the_flag_does_not_leave_the_token(provider: Pkcs11Provider) -> None:
    for key_type, bits, alg in (
        (KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, Algorithm.ecdsa(Hash.SHA_256)),
        (KeyType.RSA_KEY_PAIR, 1024, Algorithm.RSA_PKCS1V15_CRYPT),
        (KeyType.AES, 128, Algorithm.GCM),
        (KeyType.HMAC, 256, Algorithm.hmac(Hash.SHA_256)),
    ):
        key = in_token(provider, KeyAttributes(key_type, bits, ALL & ~UsageFlags.EXPORT, alg))
        with pytest.raises(PsaError) as raised:
            provider.export_key(key)
        assert raised.value.status is PsaStatus.NOT_PERMITTED


def test_a_peer_off_the_curve_never_reaches_the_token(provider: Pkcs11Provider) -> None:
    key = in_token(provider, KeyAttributes(KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, ALL, Algorithm.ECDH))
    point = bytearray(provider.export_public_key(key))
    point[-1] ^= 1
    with pytest.raises(PsaError) as raised:
        provider.raw_key_agreement(key, Algorithm.ECDH, bytes(point))
    assert raised.value.status is PsaStatus.INVALID_ARGUMENT


def test_only_objects_of_the_same_id_and_type_are_destroyed(provider: Pkcs11Provider) -> None:
    attributes = KeyAttributes(KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, ALL, Algorithm.ecdsa(Hash.SHA_256))
    reference = provider.plan(attributes)
    provider.create(reference, attributes, None)
    other_type = reference[:1] + int(KeyType.RSA_KEY_PAIR).to_bytes(2, "little") + reference[3:]
    other_id = reference[:-1] + bytes([reference[-1] ^ 1])
    for other in (other_type, other_id):
        provider.destroy(other)
        assert not provider.exists(other)
    assert provider.exists(reference)
    provider.destroy(reference)
    assert not provider.exists(reference)


def test_a_plan_names_an_id_and_a_type_and_nothing_else(provider: Pkcs11Provider) -> None:
    attributes = KeyAttributes(KeyType.AES, 256, ALL, Algorithm.GCM)
    plans = [provider.plan(attributes) for _ in range(50)]
    assert len(set(plans)) == len(plans)
    assert {plan[:3] for plan in plans} == {b"\x01\x00\x24"}
    assert {len(plan) for plan in plans} == {19}
    assert not any(provider.exists(plan) for plan in plans)
