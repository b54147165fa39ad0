from __future__ import annotations

from dataclasses import replace

import pytest

from edgeroot.providers.api import Capabilities, Function
from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11.capabilities import UNKNOWN, rows
from edgeroot.providers.pkcs11.profile import MechanismInfo, Profile
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags

PAIR, PUBLIC = KeyType.ecc_key_pair(EccFamily.SECP_R1), KeyType.ecc_public_key(EccFamily.SECP_R1)
EMPTY = Profile(
    serial_number="1",
    model="m",
    firmware="1.0",
    has_random=False,
    mechanisms={},
    oaep=frozenset(),
    oaep_labels=False,
    pss=frozenset(),
    curves=frozenset(),
    lacks=frozenset(),
)
BOTH = ck.CKF_SIGN | ck.CKF_VERIFY
# A small token: P-256 without verification, RSA of two sizes, a little AES.
SMALL = replace(
    EMPTY,
    mechanisms={
        ck.CKM_EC_KEY_PAIR_GEN: MechanismInfo(256, 256, ck.CKF_GENERATE_KEY_PAIR),
        ck.CKM_ECDSA: MechanismInfo(256, 256, ck.CKF_SIGN),
        ck.CKM_RSA_PKCS_KEY_PAIR_GEN: MechanismInfo(2048, 2304, ck.CKF_GENERATE_KEY_PAIR),
        ck.CKM_RSA_PKCS: MechanismInfo(2048, 2304, BOTH | ck.CKF_DECRYPT),
        ck.CKM_AES_KEY_GEN: MechanismInfo(16, 16, ck.CKF_GENERATE),
        ck.CKM_AES_CBC: MechanismInfo(16, 16, ck.CKF_ENCRYPT),
        ck.CKM_GENERIC_SECRET_KEY_GEN: MechanismInfo(0, 0, ck.CKF_GENERATE),
        ck.CKM_SHA256_HMAC: MechanismInfo(32, 64, BOTH),
    },
    curves=frozenset({(EccFamily.SECP_R1, 256)}),
)


def offered(profile: Profile, *, software: bool = False, allow_export: bool = True) -> Capabilities:
    return Capabilities(1, rows(profile, software_public_operations=software, allow_export=allow_export))


def can(capabilities: Capabilities, functions: Function, key_type: KeyType, bits: int, alg: Algorithm) -> bool:
    return capabilities.can_use(functions, KeyAttributes(key_type, bits, UsageFlags.NONE, alg))


def test_a_token_without_mechanisms_offers_nothing() -> None:
    for software in (False, True):
        assert offered(EMPTY, software=software).rows == ()


def test_only_listed_sizes_and_curves_are_offered() -> None:
    small = offered(SMALL)
    assert small.can_hold(Function.GENERATE_KEY, PAIR, 256)
    assert not small.can_hold(Function.GENERATE_KEY, PAIR, 384)
    assert not small.can_hold(Function.GENERATE_KEY, KeyType.ecc_key_pair(EccFamily.SECP_K1), 256)
    generated = [
        bits for bits in range(1000, 5000) if small.can_hold(Function.GENERATE_KEY, KeyType.RSA_KEY_PAIR, bits)
    ]
    assert generated == [2048, 2304]
    assert small.can_hold(Function.IMPORT_KEY, KeyType.RSA_KEY_PAIR, 2056)
    assert not small.can_hold(Function.IMPORT_KEY, KeyType.RSA_KEY_PAIR, 2312)
    assert [bits for bits in (128, 192, 256) if small.can_hold(Function.GENERATE_KEY, KeyType.AES, bits)] == [128]
    hmac = Algorithm.hmac(Hash.SHA_256)
    assert [bits for bits in range(8, 1024, 8) if can(small, Function.MAC_COMPUTE, KeyType.HMAC, bits, hmac)] == list(
        range(256, 513, 8)
    )


def test_what_the_flags_do_not_say_is_not_offered() -> None:
    small = offered(SMALL)
    ecdsa = Algorithm.ecdsa(Hash.SHA_256)
    assert can(small, Function.SIGN_HASH, PAIR, 256, ecdsa)
    assert not can(small, Function.VERIFY_HASH, PAIR, 256, ecdsa)
    assert not can(small, Function.VERIFY_HASH, PUBLIC, 256, ecdsa)
    assert not can(small, Function.ASYMMETRIC_ENCRYPT, KeyType.RSA_PUBLIC_KEY, 2048, Algorithm.RSA_PKCS1V15_CRYPT)
    assert can(small, Function.ASYMMETRIC_DECRYPT, KeyType.RSA_KEY_PAIR, 2048, Algorithm.RSA_PKCS1V15_CRYPT)
    # Without random numbers there is no IV.
    assert not can(small, Function.CIPHER_ENCRYPT, KeyType.AES, 128, Algorithm.CBC_NO_PADDING)
    assert Function.GENERATE_RANDOM not in small.offered
    assert Function.RAW_KEY_AGREEMENT not in small.offered


def test_in_software_a_public_key_does_all_it_can() -> None:
    software = offered(SMALL, software=True)
    assert can(software, Function.VERIFY_HASH, PUBLIC, 256, Algorithm.ecdsa(Hash.SHA_384))
    assert can(software, Function.VERIFY_HASH, PAIR, 256, Algorithm.ecdsa(Hash.SHA_384))
    assert can(software, Function.ASYMMETRIC_ENCRYPT, KeyType.RSA_PUBLIC_KEY, 2048, Algorithm.RSA_PKCS1V15_CRYPT)
    assert not can(software, Function.SIGN_HASH, PUBLIC, 256, Algorithm.ecdsa(Hash.SHA_256))


def test_without_export_only_public_keys_come_out() -> None:
    kept = offered(SMALL, allow_export=False)
    exportable = {row.key_type for row in kept.rows if Function.EXPORT_KEY in row.functions}
    assert exportable == {PUBLIC, KeyType.RSA_PUBLIC_KEY}


@pytest.mark.parametrize(("alg", "least"), [(Hash.SHA_256, 1024), (Hash.SHA_512, 1040)])
def test_a_padding_needs_room_for_two_hashes(alg: Hash, least: int) -> None:
    mechanisms = {
        ck.CKM_RSA_PKCS_KEY_PAIR_GEN: MechanismInfo(512, 16384, ck.CKF_GENERATE_KEY_PAIR),
        ck.CKM_RSA_PKCS_PSS: MechanismInfo(512, 16384, BOTH),
    }
    salted = offered(replace(EMPTY, mechanisms=mechanisms, pss=frozenset({alg})))
    sizes = [
        bits
        for bits in range(512, 4200, 8)
        if can(salted, Function.SIGN_HASH, KeyType.RSA_KEY_PAIR, bits, Algorithm.rsa_pss(alg))
    ]
    assert (min(sizes), max(sizes)) == (least, 4096)
    assert not can(salted, Function.SIGN_HASH, KeyType.RSA_KEY_PAIR, 2048, Algorithm.rsa_pss(Hash.SHA_384))


def test_a_curve_that_no_point_can_be_checked_on_takes_no_foreign_points() -> None:
    family = EccFamily.BRAINPOOL_P_R1
    mechanisms = {
        ck.CKM_EC_KEY_PAIR_GEN: MechanismInfo(112, 521, ck.CKF_GENERATE_KEY_PAIR),
        ck.CKM_ECDSA: MechanismInfo(112, 521, BOTH),
        ck.CKM_ECDH1_DERIVE: MechanismInfo(112, 521, ck.CKF_DERIVE),
    }
    some = offered(replace(EMPTY, mechanisms=mechanisms, curves=frozenset({(family, 320), (family, 384)})))
    pair = KeyType.ecc_key_pair(family)
    assert some.can_hold(Function.GENERATE_KEY, pair, 320)
    assert can(some, Function.SIGN_HASH, pair, 320, Algorithm.ecdsa(Hash.SHA_256))
    assert not some.can_hold(Function.IMPORT_KEY, pair.public_of_pair, 320)
    assert not can(some, Function.RAW_KEY_AGREEMENT, pair, 320, Algorithm.ECDH)
    assert can(some, Function.RAW_KEY_AGREEMENT, pair, 384, Algorithm.ECDH)


def test_what_the_module_has_no_function_for_is_not_offered() -> None:
    bare = offered(replace(SMALL, lacks=frozenset({"C_GenerateKey", "C_CreateObject"})), software=True)
    assert Function.IMPORT_KEY not in bare.offered
    generated = {row.key_type for row in bare.rows if Function.GENERATE_KEY in row.functions}
    assert generated == {PAIR, KeyType.RSA_KEY_PAIR}


def test_before_a_token_was_seen_requests_pass_and_no_key_is_promised() -> None:
    unknown = Capabilities(0, UNKNOWN)
    assert {Function.GENERATE_KEY, Function.SIGN_HASH, Function.GENERATE_RANDOM} <= unknown.offered
    assert not unknown.can_hold(Function.GENERATE_KEY, PAIR, 256)
    assert Function.ATTEST_KEY not in unknown.offered
