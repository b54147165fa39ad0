from __future__ import annotations

import pytest

from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11.templates import Protection, allowed_mechanisms, private_object, public_object
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags

ID = bytes(range(16))
GUARDED = Protection(private=True, names_mechanisms=True)
EC = KeyType.ecc_key_pair(EccFamily.SECP_R1)
USES = (
    *(ck.CKA_SIGN, ck.CKA_VERIFY, ck.CKA_ENCRYPT, ck.CKA_DECRYPT, ck.CKA_DERIVE),
    *(ck.CKA_WRAP, ck.CKA_UNWRAP, ck.CKA_EXTRACTABLE),
)


def attributes(key_type: KeyType, usage: UsageFlags) -> KeyAttributes:
    return KeyAttributes(key_type, 256, usage, Algorithm.NONE)


@pytest.mark.parametrize("key_type", [EC, KeyType.RSA_KEY_PAIR, KeyType.AES, KeyType.HMAC])
def test_what_no_usage_grants_is_denied(key_type: KeyType) -> None:
    template = private_object(attributes(key_type, UsageFlags.NONE), ID, GUARDED)
    assert not any(template.get(use, False) for use in USES)
    assert template[ck.CKA_SENSITIVE] is True
    assert template[ck.CKA_PRIVATE] is True
    assert template[ck.CKA_TOKEN] is True
    assert template[ck.CKA_ID] == ID


@pytest.mark.parametrize(
    ("key_type", "usage", "granted"),
    [
        (EC, UsageFlags.SIGN_HASH, ck.CKA_SIGN),
        (EC, UsageFlags.SIGN_MESSAGE, ck.CKA_SIGN),
        (EC, UsageFlags.DERIVE, ck.CKA_DERIVE),
        (KeyType.RSA_KEY_PAIR, UsageFlags.DECRYPT, ck.CKA_DECRYPT),
        (KeyType.AES, UsageFlags.ENCRYPT, ck.CKA_ENCRYPT),
        (KeyType.AES, UsageFlags.DECRYPT, ck.CKA_DECRYPT),
        (KeyType.HMAC, UsageFlags.VERIFY_MESSAGE, ck.CKA_VERIFY),
        (KeyType.HMAC, UsageFlags.SIGN_MESSAGE, ck.CKA_SIGN),
        (KeyType.AES, UsageFlags.EXPORT, ck.CKA_EXTRACTABLE),
    ],
)
def test_a_usage_grants_its_use_and_no_other(key_type: KeyType, usage: UsageFlags, granted: int) -> None:
    template = private_object(attributes(key_type, usage), ID, Protection(private=False, names_mechanisms=False))
    assert [use for use in USES if template.get(use, False)] == [granted]
    assert template[ck.CKA_SENSITIVE] is (usage is not UsageFlags.EXPORT)
    assert template[ck.CKA_PRIVATE] is False


def test_nothing_may_wrap_another_key() -> None:
    everything = UsageFlags(sum(UsageFlags))
    for key_type in (KeyType.RSA_KEY_PAIR, KeyType.AES, KeyType.HMAC):
        template = private_object(attributes(key_type, everything), ID, GUARDED)
        assert template[ck.CKA_UNWRAP] is False
        if not key_type.is_asymmetric:
            assert template[ck.CKA_WRAP] is False
    assert public_object(attributes(KeyType.RSA_KEY_PAIR, everything), ID)[ck.CKA_WRAP] is False


def test_a_public_object_is_for_all_and_does_what_a_public_key_does() -> None:
    usage = UsageFlags.SIGN_HASH | UsageFlags.VERIFY_HASH | UsageFlags.DECRYPT
    template = public_object(attributes(KeyType.RSA_KEY_PAIR, usage), ID)
    assert template[ck.CKA_CLASS] == ck.CKO_PUBLIC_KEY
    assert template[ck.CKA_PRIVATE] is False
    assert template[ck.CKA_VERIFY] is True
    assert template[ck.CKA_ENCRYPT] is False
    assert ck.CKA_SIGN not in template


@pytest.mark.parametrize(
    ("key_type", "algorithm", "mechanism"),
    [
        (EC, Algorithm.ecdsa(Hash.SHA_256), ck.CKM_ECDSA),
        (EC, Algorithm.ecdsa(Hash.ANY), ck.CKM_ECDSA),
        (EC, Algorithm.ECDSA_ANY, ck.CKM_ECDSA),
        (EC, Algorithm.ECDH, ck.CKM_ECDH1_DERIVE),
        (KeyType.RSA_KEY_PAIR, Algorithm.rsa_pkcs1v15_sign(Hash.ANY), ck.CKM_RSA_PKCS),
        (KeyType.RSA_KEY_PAIR, Algorithm.RSA_PKCS1V15_CRYPT, ck.CKM_RSA_PKCS),
        (KeyType.RSA_KEY_PAIR, Algorithm.rsa_pss(Hash.SHA_512), ck.CKM_RSA_PKCS_PSS),
        (KeyType.RSA_KEY_PAIR, Algorithm.rsa_oaep(Hash.SHA_1), ck.CKM_RSA_PKCS_OAEP),
        (KeyType.AES, Algorithm.GCM.with_tag_length(12), ck.CKM_AES_GCM),
        (KeyType.AES, Algorithm.CTR, ck.CKM_AES_CTR),
        (KeyType.AES, Algorithm.CMAC, ck.CKM_AES_CMAC),
        (KeyType.HMAC, Algorithm.hmac(Hash.SHA_384), ck.CKM_SHA384_HMAC),
    ],
)
def test_the_token_keeps_a_key_to_the_mechanism_of_its_policy(
    key_type: KeyType, algorithm: Algorithm, mechanism: int
) -> None:
    of = KeyAttributes(key_type, 256, UsageFlags.NONE, algorithm)
    assert private_object(of, ID, GUARDED)[ck.CKA_ALLOWED_MECHANISMS] == allowed_mechanisms(mechanism)
    assert ck.CKA_ALLOWED_MECHANISMS not in private_object(of, ID, Protection(private=True, names_mechanisms=False))


def test_a_key_without_a_policy_has_no_mechanism_named() -> None:
    assert ck.CKA_ALLOWED_MECHANISMS not in private_object(attributes(EC, UsageFlags.NONE), ID, GUARDED)
