"""Which keys are asked of a TPM: the primary keys by the TCG's templates, and those that the service makes."""

from __future__ import annotations

from typing import Final

from edgeroot.providers.tpm.structures import (
    NO_CIPHER,
    NO_SCHEME,
    Alg,
    Curve,
    EccPublic,
    ObjectFlags,
    Public,
    RsaPublic,
    Scheme,
    Symmetric,
)
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType

HASHES: Final[dict[Hash, Alg]] = {
    Hash.SHA_1: Alg.SHA1,
    Hash.SHA_256: Alg.SHA256,
    Hash.SHA_384: Alg.SHA384,
    Hash.SHA_512: Alg.SHA512,
    Hash.SHA3_256: Alg.SHA3_256,
    Hash.SHA3_384: Alg.SHA3_384,
    Hash.SHA3_512: Alg.SHA3_512,
}
CURVES: Final[dict[int, Curve]] = {
    192: Curve.NIST_P192,
    224: Curve.NIST_P224,
    256: Curve.NIST_P256,
    384: Curve.NIST_P384,
    521: Curve.NIST_P521,
}
ECC_PAIR: Final = KeyType.ecc_key_pair(EccFamily.SECP_R1)

STORAGE_HANDLE: Final = 0x81000001
"""Where the storage primary key persists (TCG TPM v2.0 Provisioning Guidance, clause 7.8)."""
_AES_128: Final = Symmetric(128)
_BORN_HERE: Final = ObjectFlags.FIXED_TPM | ObjectFlags.FIXED_PARENT | ObjectFlags.SENSITIVE_DATA_ORIGIN
_PARENT: Final = ObjectFlags.RESTRICTED | ObjectFlags.DECRYPT
_STORAGE: Final = _BORN_HERE | _PARENT | ObjectFlags.USER_WITH_AUTH | ObjectFlags.NO_DA

# The storage primary key (TCG TPM v2.0 Provisioning Guidance, clause 7.5.1).
STORAGE_ECC: Final = Public(EccPublic(Curve.NIST_P256, NO_SCHEME, _AES_128, x=bytes(32), y=bytes(32)), _STORAGE)
STORAGE_RSA: Final = Public(RsaPublic(2048, NO_SCHEME, _AES_128, modulus=bytes(256)), _STORAGE)

# TPM2_PolicySecret over the endorsement hierarchy (TCG EK Credential Profile, clause B.6.2, Policy A).
_ENDORSEMENT_POLICY: Final = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
# The RSA endorsement key (TCG EK Credential Profile, template L-1).
ENDORSEMENT_RSA: Final = Public(
    RsaPublic(2048, NO_SCHEME, _AES_128, modulus=bytes(256)),
    _BORN_HERE | _PARENT | ObjectFlags.ADMIN_WITH_POLICY,
    _ENDORSEMENT_POLICY,
)


def is_storage_key(public: Public) -> bool:
    """Whether other keys can be children of this one."""
    return public.flags & _PARENT == _PARENT and public.detail.symmetric != NO_CIPHER


def scheme_of(alg: Algorithm) -> Scheme | None:
    """How a TPM calls this algorithm of RSA or ECDSA; None if it has no name for it, as for policies over any hash."""
    if alg == Algorithm.RSA_PKCS1V15_CRYPT:
        return Scheme(Alg.RSAES)
    hash_algorithm = None if alg.hash is None else HASHES.get(alg.hash)
    if hash_algorithm is None:
        return None
    if alg.is_rsa_oaep:
        return Scheme(Alg.OAEP, hash_algorithm)
    if alg.is_rsa_pss:
        return Scheme(Alg.RSAPSS, hash_algorithm)
    if alg.is_rsa_pkcs1v15_sign:
        return Scheme(Alg.RSASSA, hash_algorithm)
    if alg.is_ecdsa and not alg.is_deterministic_ecdsa:
        return Scheme(Alg.ECDSA, hash_algorithm)
    return None


def _flags(alg: Algorithm) -> ObjectFlags:
    # Authorisations of keys are digests, which nobody guesses: they need no protection against dictionary attacks, and
    # so keep working while the TPM is locked out.
    use = ObjectFlags.DECRYPT if alg.is_asymmetric_encryption or alg.is_key_agreement else ObjectFlags.SIGN
    return use | ObjectFlags.USER_WITH_AUTH | ObjectFlags.NO_DA


def new_key(attributes: KeyAttributes) -> Public:
    """The template of a key pair to be made in the TPM, and bound to it."""
    scheme = scheme_of(attributes.algorithm) or NO_SCHEME
    detail: RsaPublic | EccPublic
    if attributes.key_type == KeyType.RSA_KEY_PAIR:
        detail = RsaPublic(attributes.key_bits, scheme)
    else:
        detail = EccPublic(CURVES[attributes.key_bits], scheme)
    return Public(detail, _flags(attributes.algorithm) | _BORN_HERE)


def imported_rsa(attributes: KeyAttributes, modulus: bytes, exponent: int) -> Public:
    """The public area of an RSA key pair that comes from outside."""
    scheme = scheme_of(attributes.algorithm) or NO_SCHEME
    detail = RsaPublic(attributes.key_bits, scheme, exponent=0 if exponent == 65537 else exponent, modulus=modulus)
    return Public(detail, _flags(attributes.algorithm))


def imported_ecc(attributes: KeyAttributes, x: bytes, y: bytes) -> Public:
    """The public area of an ECC key pair that comes from outside."""
    scheme = scheme_of(attributes.algorithm) or NO_SCHEME
    return Public(EccPublic(CURVES[attributes.key_bits], scheme, x=x, y=y), _flags(attributes.algorithm))
