"""Nothing is offered that the TPM does not say it has."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest

from edgeroot.evidence.tpm_structures import Alg, Curve
from edgeroot.providers.api import Capability, Function
from edgeroot.providers.tpm.capabilities import Inventory
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyType

PAIR = KeyType.ecc_key_pair(EccFamily.SECP_R1)
HMAC_COMMANDS = {0x155, 0x15B, 0x15C, 0x13E}
FULL = Inventory(
    algorithms=frozenset(Alg),
    curves=frozenset(Curve),
    commands=frozenset({*HMAC_COMMANDS, 0x193}),
    rsa_bits=(1024, 2048, 3072, 4096),
    aes_bits=(128, 256),
    largest_digest_bytes=64,
    input_buffer_bytes=1024,
    transient_slots=3,
)


def without(*algorithms: Alg) -> Inventory:
    return replace(FULL, algorithms=FULL.algorithms - set(algorithms))


def offered(inventory: Inventory, function: Function) -> list[Capability]:
    return [row for row in inventory.capabilities().rows if function in row.functions]


def algorithms(inventory: Inventory, function: Function) -> set[Algorithm]:
    return set(chain.from_iterable(row.algorithms for row in offered(inventory, function)))


def test_a_tpm_without_anything_offers_random_bytes() -> None:
    nothing = Inventory(frozenset(), frozenset(), frozenset(), (), (), 32, 1024, 3)
    assert nothing.capabilities().rows == (Capability(Function.GENERATE_RANDOM),)


@pytest.mark.parametrize(
    ("missing", "function", "gone"),
    [
        (Alg.RSASSA, Function.SIGN_HASH, Algorithm.rsa_pkcs1v15_sign(Hash.SHA_256)),
        (Alg.RSAPSS, Function.SIGN_HASH, Algorithm.rsa_pss(Hash.SHA_256)),
        (Alg.ECDSA, Function.SIGN_HASH, Algorithm.ecdsa(Hash.SHA_256)),
        (Alg.SHA256, Function.SIGN_HASH, Algorithm.ecdsa(Hash.SHA_256)),
        (Alg.SHA256, Function.HASH_COMPUTE, Algorithm.from_hash(Hash.SHA_256)),
        (Alg.SHA256, Function.MAC_COMPUTE, Algorithm.hmac(Hash.SHA_256)),
        (Alg.HMAC, Function.MAC_COMPUTE, Algorithm.hmac(Hash.SHA_384)),
        (Alg.RSAES, Function.ASYMMETRIC_DECRYPT, Algorithm.RSA_PKCS1V15_CRYPT),
        (Alg.OAEP, Function.ASYMMETRIC_DECRYPT, Algorithm.rsa_oaep(Hash.SHA_256)),
        (Alg.ECDH, Function.RAW_KEY_AGREEMENT, Algorithm.ECDH),
        (Alg.CBC, Function.CIPHER_ENCRYPT, Algorithm.CBC_PKCS7),
        (Alg.CTR, Function.CIPHER_ENCRYPT, Algorithm.CTR),
    ],
)
def test_an_algorithm_that_is_missing_is_not_offered(missing: Alg, function: Function, gone: Algorithm) -> None:
    assert gone in algorithms(FULL, function)
    assert gone not in algorithms(without(missing), function)


def test_commands_that_are_missing() -> None:
    for command in HMAC_COMMANDS:
        assert not offered(replace(FULL, commands=FULL.commands - {command}), Function.MAC_COMPUTE)
    assert not offered(replace(FULL, commands=FULL.commands - {0x193}), Function.CIPHER_ENCRYPT)
    modes = (Alg.CTR, Alg.CFB, Alg.OFB, Alg.CBC, Alg.ECB)
    assert not offered(without(*modes), Function.CIPHER_ENCRYPT)


def test_sizes_and_curves_are_the_tpms() -> None:
    small = replace(FULL, rsa_bits=(2048,), curves=frozenset((Curve.NIST_P384,)), aes_bits=(128,)).capabilities()
    for key_type, has, has_not in (
        (KeyType.RSA_KEY_PAIR, 2048, 3072),
        (KeyType.RSA_PUBLIC_KEY, 2048, 3072),
        (PAIR, 384, 256),
        (PAIR.public_of_pair, 384, 256),
        (KeyType.AES, 128, 256),
    ):
        assert small.can_hold(Function.IMPORT_KEY, key_type, has)
        assert not small.can_hold(Function.IMPORT_KEY, key_type, has_not)
    assert not replace(FULL, curves=frozenset()).capabilities().can_hold(Function.GENERATE_KEY, PAIR, 256)


def test_without_an_endorsement_key_nothing_is_attested() -> None:
    for function in (Function.PREPARE_KEY_ATTESTATION, Function.ATTEST_KEY):
        assert {row.key_type for row in offered(FULL, function)} == {KeyType.RSA_KEY_PAIR, PAIR}
        assert not offered(replace(FULL, rsa_bits=(1024, 3072)), function)


def test_padding_needs_room_in_the_modulus() -> None:
    for function, alg in (
        (Function.SIGN_HASH, Algorithm.rsa_pss(Hash.SHA_512)),
        (Function.ASYMMETRIC_DECRYPT, Algorithm.rsa_oaep(Hash.SHA_512)),
    ):
        rows = [row for row in offered(FULL, function) if alg in row.algorithms]
        assert [tuple(row.key_bits) for row in rows] == [(2048, 3072, 4096)]
    assert Algorithm.rsa_oaep(Hash.SHA3_256) not in algorithms(FULL, Function.ASYMMETRIC_ENCRYPT)
    assert Algorithm.rsa_pss(Hash.SHA3_256) in algorithms(FULL, Function.SIGN_HASH)


def test_what_one_process_saw_another_knows() -> None:
    assert Inventory.from_bytes(bytes(FULL)) == FULL
