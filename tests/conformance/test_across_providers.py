"""One service, every back end: what one provider has signed, encrypted or authenticated, each other one accepts.

Software, the emulated secure world, the genuine swtpm and the genuine SoftHSM. Each case says which of them offer it,
so that a provider that stops offering something is noticed. (SoftHSM 2.6.1 has OAEP with SHA-1 alone.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import pytest

from edgeroot.client import Client, templates
from edgeroot.client.errors import InvalidSignatureError
from edgeroot.psa import Algorithm, Hash, KeyAttributes, UsageFlags
from edgeroot.wire.operations import CheckType
from tests.support.service import SOFTWARE_PROVIDER, running_service
from tests.support.softhsm import softhsm, with_hsm
from tests.support.swtpm import running_swtpm, with_tpm
from tests.support.world import running_world, with_world

SOFTWARE, TOKEN, TPM, WORLD = "software", "token", "TPM", "secure world"
IDS: Final = {SOFTWARE: 1, TOKEN: 2, TPM: 3, WORLD: 4}
ALL: Final = frozenset(IDS)
MESSAGE: Final = b"the same for each of them"
Providers = dict[str, Client]


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Providers]:
    folder = tmp_path_factory.mktemp("tpm") / "tpm"
    with running_world() as world, running_swtpm(folder) as swtpm, softhsm() as hsm:
        tables = (SOFTWARE_PROVIDER, with_world(world), with_tpm(swtpm), with_hsm(hsm))
        with running_service(provider="".join(tables)) as service, service.client() as client:
            yield {name: client.with_provider(number) for name, number in IDS.items()}


def offering(providers: Providers, check: CheckType, attributes: KeyAttributes) -> Providers:
    return {name: one for name, one in providers.items() if one.can_do_crypto(check, attributes)}


@contextmanager
def generated(providers: Providers, attributes: KeyAttributes) -> Iterator[Providers]:
    """A key ``pair`` in each."""
    for one in providers.values():
        one.generate_key("pair", attributes)
    try:
        yield providers
    finally:
        for one in providers.values():
            one.destroy_key("pair")


@contextmanager
def imported(providers: Providers, name: str, attributes: KeyAttributes, data: bytes) -> Iterator[Providers]:
    """The same key in each that can hold it."""
    holding = offering(providers, CheckType.IMPORT, attributes)
    for one in holding.values():
        one.import_key(name, attributes, data)
    try:
        yield holding
    finally:
        for one in holding.values():
            one.destroy_key(name)


def public(attributes: KeyAttributes, usage: UsageFlags) -> KeyAttributes:
    return KeyAttributes(attributes.key_type.public_of_pair, attributes.key_bits, usage, attributes.algorithm)


class Case(NamedTuple):
    attributes: KeyAttributes
    by: frozenset[str]


SIGNATURES: Final = {
    "ECDSA P-256": Case(templates.ecdsa_p256(), ALL),
    "ECDSA P-384": Case(templates.ecdsa_p384(), ALL),
    "ECDSA P-521": Case(templates.ecdsa_p521(), ALL),
    "RSA PKCS#1 v1.5": Case(templates.rsa_signing(), ALL),
    "RSA PSS": Case(templates.rsa_pss(), ALL),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_of_one_is_verified_by_all(providers: Providers, name: str) -> None:
    attributes, expected = SIGNATURES[name]
    alg = attributes.algorithm
    hash_alg = alg.hash
    assert hash_alg is not None
    digest = hashlib.new(hash_alg.name.replace("_", "").lower(), MESSAGE).digest()
    signing = offering(providers, CheckType.GENERATE, attributes)
    assert signing.keys() == expected
    with generated(signing, attributes):
        for signer in signing.values():
            signature = signer.sign_hash("pair", alg, digest)
            verifying = public(attributes, UsageFlags.VERIFY_HASH | UsageFlags.VERIFY_MESSAGE)
            with imported(providers, "public", verifying, signer.export_public_key("pair")) as verifiers:
                assert verifiers.keys() == expected
                for verifier in verifiers.values():
                    verifier.verify_hash("public", alg, digest, signature)
                    with pytest.raises(InvalidSignatureError):
                        verifier.verify_hash("public", alg, digest[::-1], signature)


ENCRYPTIONS: Final = {
    "RSA PKCS#1 v1.5": Case(templates.rsa_pkcs1v15_crypt(), ALL),
    "RSA OAEP SHA-256": Case(templates.rsa_oaep(), frozenset((SOFTWARE, TPM, WORLD))),
}


@pytest.mark.parametrize("name", ENCRYPTIONS)
def test_what_anyone_encrypts_to_a_pair_its_provider_decrypts(providers: Providers, name: str) -> None:
    attributes, expected = ENCRYPTIONS[name]
    alg = attributes.algorithm
    holding = offering(providers, CheckType.GENERATE, attributes)
    assert holding.keys() == expected
    with generated(holding, attributes):
        for holder in holding.values():
            encrypting = public(attributes, UsageFlags.ENCRYPT)
            with imported(providers, "public", encrypting, holder.export_public_key("pair")) as encryptors:
                assert encryptors.keys() == expected
                for encryptor in encryptors.values():
                    ciphertext = encryptor.asymmetric_encrypt("public", alg, MESSAGE)
                    assert holder.asymmetric_decrypt("pair", alg, ciphertext) == MESSAGE


def _cipher(one: Client, alg: Algorithm) -> bytes:
    return one.cipher_encrypt("shared", alg, MESSAGE)


def _from_cipher(one: Client, alg: Algorithm, sealed: bytes) -> bytes:
    return one.cipher_decrypt("shared", alg, sealed)


def _aead(one: Client, alg: Algorithm) -> bytes:
    return one.aead_encrypt("shared", alg, bytes(12), b"more", MESSAGE)


def _from_aead(one: Client, alg: Algorithm, sealed: bytes) -> bytes:
    return one.aead_decrypt("shared", alg, bytes(12), b"more", sealed)


def _mac(one: Client, alg: Algorithm) -> bytes:
    return one.mac_compute("shared", alg, MESSAGE)


def _from_mac(one: Client, alg: Algorithm, mac: bytes) -> bytes:
    one.mac_verify("shared", alg, MESSAGE, mac)
    return MESSAGE


class Secret(NamedTuple):
    attributes: KeyAttributes
    by: frozenset[str]
    protect: Callable[[Client, Algorithm], bytes]
    accept: Callable[[Client, Algorithm, bytes], bytes]


SECRETS: Final = {
    "AES-CTR": Secret(templates.aes_cipher(Algorithm.CTR, 128), ALL, _cipher, _from_cipher),
    "AES-CBC": Secret(templates.aes_cipher(Algorithm.CBC_PKCS7, 256), ALL, _cipher, _from_cipher),
    "AES-CFB": Secret(
        templates.aes_cipher(Algorithm.CFB, 128), frozenset((SOFTWARE, TPM, WORLD)), _cipher, _from_cipher
    ),
    "AES-GCM": Secret(templates.aes_gcm(), frozenset((SOFTWARE, TOKEN, WORLD)), _aead, _from_aead),
    "AES-CCM": Secret(templates.aes_ccm(), frozenset((SOFTWARE, WORLD)), _aead, _from_aead),
    "ChaCha20": Secret(templates.chacha20_poly1305(), frozenset((SOFTWARE, WORLD)), _aead, _from_aead),
    "HMAC": Secret(templates.hmac(), ALL, _mac, _from_mac),
    "CMAC": Secret(templates.aes_cmac(), frozenset((SOFTWARE, TOKEN, WORLD)), _mac, _from_mac),
}


@pytest.mark.parametrize("name", SECRETS)
def test_holders_of_one_secret_understand_each_other(providers: Providers, name: str) -> None:
    attributes, expected, protect, accept = SECRETS[name]
    alg = attributes.algorithm
    data = bytes(range(attributes.key_bits // 8))
    with imported(providers, "shared", attributes, data) as holding:
        assert holding.keys() == expected
        for one in holding.values():
            sealed = protect(one, alg)
            for other in holding.values():
                assert accept(other, alg, sealed) == MESSAGE


@pytest.mark.parametrize("bits", [256, 384])
def test_two_sides_of_an_agreement_anywhere_have_the_same_secret(providers: Providers, bits: int) -> None:
    with generated(providers, templates.ecdh(bits)) as holding:  # CanDoCrypto never says so of keys for derivation
        points = {name: one.export_public_key("pair") for name, one in holding.items()}
        for name, one in holding.items():
            for other_name, other in holding.items():
                ours = one.raw_key_agreement(Algorithm.ECDH, "pair", points[other_name])
                theirs = other.raw_key_agreement(Algorithm.ECDH, "pair", points[name])
                assert ours == theirs
                assert len(ours) == bits // 8


def test_hashes_agree(providers: Providers) -> None:
    for one in providers.values():
        assert one.hash_compute(Hash.SHA_256, MESSAGE) == hashlib.sha256(MESSAGE).digest()
