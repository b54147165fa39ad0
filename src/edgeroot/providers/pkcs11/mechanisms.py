"""Mechanisms with their parameters, and which of them an algorithm of PSA is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.psa import Algorithm, Hash


@dataclass(frozen=True, slots=True)
class PssParameters:
    """CK_RSA_PKCS_PSS_PARAMS (v3.0 §2.1.9)."""

    hash_mechanism: int
    mask_generation: int
    salt_bytes: int


@dataclass(frozen=True, slots=True)
class OaepParameters:
    """CK_RSA_PKCS_OAEP_PARAMS (v3.0 §2.1.7)."""

    hash_mechanism: int
    mask_generation: int
    label: bytes


@dataclass(frozen=True, slots=True)
class GcmParameters:
    """CK_GCM_PARAMS (v3.0 §2.12.3)."""

    iv: bytes
    additional_data: bytes
    tag_bits: int


@dataclass(frozen=True, slots=True)
class CtrParameters:
    """CK_AES_CTR_PARAMS (v3.0 §2.10.2); the whole block counts."""

    counter_block: bytes
    counter_bits: int = 128


@dataclass(frozen=True, slots=True)
class EcdhParameters:
    """CK_ECDH1_DERIVE_PARAMS (v3.0 §2.3.17) without a derivation function: the secret is the x-coordinate."""

    public_point: bytes


Parameters = None | bytes | PssParameters | OaepParameters | GcmParameters | CtrParameters | EcdhParameters


@dataclass(frozen=True, slots=True)
class Mechanism:
    """CK_MECHANISM."""

    number: int
    parameters: Parameters = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class HashMechanisms:
    """The mechanisms around one hash."""

    digest: int
    hmac: int
    mask_generation: int


HASHES: Final[dict[Hash, HashMechanisms]] = {
    Hash.SHA_1: HashMechanisms(ck.CKM_SHA_1, ck.CKM_SHA_1_HMAC, ck.CKG_MGF1_SHA1),
    Hash.SHA_224: HashMechanisms(ck.CKM_SHA224, ck.CKM_SHA224_HMAC, ck.CKG_MGF1_SHA224),
    Hash.SHA_256: HashMechanisms(ck.CKM_SHA256, ck.CKM_SHA256_HMAC, ck.CKG_MGF1_SHA256),
    Hash.SHA_384: HashMechanisms(ck.CKM_SHA384, ck.CKM_SHA384_HMAC, ck.CKG_MGF1_SHA384),
    Hash.SHA_512: HashMechanisms(ck.CKM_SHA512, ck.CKM_SHA512_HMAC, ck.CKG_MGF1_SHA512),
}
CIPHERS: Final[dict[Algorithm, int]] = {
    Algorithm.ECB_NO_PADDING: ck.CKM_AES_ECB,
    Algorithm.CBC_NO_PADDING: ck.CKM_AES_CBC,
    Algorithm.CBC_PKCS7: ck.CKM_AES_CBC_PAD,
    Algorithm.CTR: ck.CKM_AES_CTR,
}
AES_KEY_BITS: Final = (128, 192, 256)
GCM_TAG_BYTES: Final = (4, 8, 12, 13, 14, 15, 16)


def of_policy(alg: Algorithm) -> int | None:
    """The one mechanism that a private or secret key with this policy is used with; None if there is none."""
    if alg.is_rsa_pkcs1v15_sign or alg == Algorithm.RSA_PKCS1V15_CRYPT:
        return ck.CKM_RSA_PKCS
    if alg.is_rsa_pss:
        return ck.CKM_RSA_PKCS_PSS
    if alg.is_rsa_oaep:
        return ck.CKM_RSA_PKCS_OAEP
    if alg.is_ecdsa:
        return ck.CKM_ECDSA
    if alg == Algorithm.ECDH:
        return ck.CKM_ECDH1_DERIVE
    if alg.is_aead and alg.aead_default == Algorithm.GCM:
        return ck.CKM_AES_GCM
    found = mac(alg)
    return CIPHERS.get(alg) if found is None else found.number


def pss(alg: Hash) -> Mechanism:
    """RSA-PSS over a hash, with MGF1 over the same hash and a salt of its length (PSA Crypto API 1.2, §10.7.1)."""
    of = HASHES[alg]
    return Mechanism(ck.CKM_RSA_PKCS_PSS, PssParameters(of.digest, of.mask_generation, alg.length_bytes))


def oaep(alg: Hash, label: bytes = b"") -> Mechanism:
    """RSA-OAEP with one hash for label and MGF1 (PSA Crypto API 1.2, §10.8)."""
    of = HASHES[alg]
    return Mechanism(ck.CKM_RSA_PKCS_OAEP, OaepParameters(of.digest, of.mask_generation, label))


def cipher(alg: Algorithm, iv: bytes) -> Mechanism:
    """A mode of AES; ``iv`` is empty for ECB."""
    if alg == Algorithm.CTR:
        return Mechanism(ck.CKM_AES_CTR, CtrParameters(iv))
    return Mechanism(CIPHERS[alg], iv or None)


def mac(alg: Algorithm) -> Mechanism | None:
    """A MAC of full length; None if PKCS#11 has none such."""
    if alg == Algorithm.CMAC:
        return Mechanism(ck.CKM_AES_CMAC)
    if alg.is_hmac and not alg.mac_length_bytes and alg.hash in HASHES:
        return Mechanism(HASHES[alg.hash].hmac)
    return None
