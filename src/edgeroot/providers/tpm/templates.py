"""Which keys are asked of a TPM: the primary keys by the TCG's templates, and those that the service makes."""

from __future__ import annotations

from typing import Final

from edgeroot.evidence.tpm_structures import (
    BORN_HERE,
    NO_CIPHER,
    NO_SCHEME,
    Alg,
    CipherPublic,
    Curve,
    Detail,
    EccPublic,
    KeyedHashPublic,
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
_HASH_OF_LENGTH: Final = {20: Alg.SHA1, 32: Alg.SHA256, 48: Alg.SHA384, 64: Alg.SHA512}
CURVES: Final[dict[int, Curve]] = {
    192: Curve.NIST_P192,
    224: Curve.NIST_P224,
    256: Curve.NIST_P256,
    384: Curve.NIST_P384,
    521: Curve.NIST_P521,
}
ECC_PAIR: Final = KeyType.ecc_key_pair(EccFamily.SECP_R1)

MODES: Final[dict[Algorithm, Alg]] = {
    Algorithm.CTR: Alg.CTR,
    Algorithm.CFB: Alg.CFB,
    Algorithm.OFB: Alg.OFB,
    Algorithm.CBC_NO_PADDING: Alg.CBC,
    Algorithm.CBC_PKCS7: Alg.CBC,
    Algorithm.ECB_NO_PADDING: Alg.ECB,
}

STORAGE_HANDLE: Final = 0x81000001
"""Where the storage primary key persists (TCG TPM v2.0 Provisioning Guidance, clause 7.8)."""
_AES_128: Final = Symmetric(128)
_PARENT: Final = ObjectFlags.RESTRICTED | ObjectFlags.DECRYPT
_STORAGE: Final = BORN_HERE | _PARENT | ObjectFlags.USER_WITH_AUTH | ObjectFlags.NO_DA

# The storage primary key (TCG TPM v2.0 Provisioning Guidance, clause 7.5.1).
STORAGE_ECC: Final = Public(EccPublic(Curve.NIST_P256, NO_SCHEME, _AES_128, x=bytes(32), y=bytes(32)), _STORAGE)
STORAGE_RSA: Final = Public(RsaPublic(2048, NO_SCHEME, _AES_128, modulus=bytes(256)), _STORAGE)

# The parent of the keys that upstream's provider makes, by the cipher's size: a primary key of the owner's, which each
# start makes anew, by a template whose modulus is empty (the crate tss-esapi, 7.7.0: TransientKeyContextBuilder).
UPSTREAM_RSA: Final = {
    bits: Public(RsaPublic(2048, NO_SCHEME, Symmetric(bits)), BORN_HERE | _PARENT | ObjectFlags.USER_WITH_AUTH)
    for bits in (256, 128)
}

ENDORSEMENT_HANDLE: Final = 0x81010001
"""Where the RSA endorsement key persists (TCG TPM v2.0 Provisioning Guidance, clause 7.8)."""
# TPM2_PolicySecret over the endorsement hierarchy (TCG EK Credential Profile, clause B.6.2, Policy A).
_ENDORSEMENT_POLICY: Final = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
# The RSA endorsement key (TCG EK Credential Profile, template L-1).
ENDORSEMENT_RSA: Final = Public(
    RsaPublic(2048, NO_SCHEME, _AES_128, modulus=bytes(256)),
    BORN_HERE | _PARENT | ObjectFlags.ADMIN_WITH_POLICY,
    _ENDORSEMENT_POLICY,
)

# The key that signs quotes and certificates. It is primary and by a fixed template, so that nothing has to be stored,
# and the same key comes back for as long as the TPM is the same one: of the endorsement hierarchy, whose seed outlives
# a change of owner (TPM2_Clear, Part 3, clause 24.6), and where the TPM tells its resets and firmware as they are
# (Part 2, clause 10.11.1: to keys of the owner's it obfuscates them). The TCG puts initial attestation keys there too
# (TPM 2.0 Keys for Device Identity and Attestation); those have a policy, for they may be certified, this one has none.
# Restricted, so that it signs only what the TPM itself has made (Part 2, clause 8.3). Whoever reaches the TPM may use
# it, as nothing false can be got out of it. The template's point is empty, as in those of tpm2-tools: so an operator
# makes the same key with them.
ATTESTATION_ECC: Final = Public(
    EccPublic(Curve.NIST_P256, Scheme(Alg.ECDSA, Alg.SHA256)),
    BORN_HERE | ObjectFlags.RESTRICTED | ObjectFlags.SIGN | ObjectFlags.USER_WITH_AUTH | ObjectFlags.NO_DA,
)


def is_storage_key(public: Public) -> bool:
    """Whether other keys can be children of this one."""
    detail = public.detail
    return (
        public.flags & _PARENT == _PARENT
        and isinstance(detail, RsaPublic | EccPublic)
        and detail.symmetric != NO_CIPHER
    )


def scheme_of(alg: Algorithm) -> Scheme | None:
    """How a TPM calls this algorithm of RSA, ECDSA or HMAC; None if it has no name for it, as for any hash."""
    if alg == Algorithm.RSA_PKCS1V15_CRYPT:
        return Scheme(Alg.RSAES)
    hash_algorithm = None if alg.hash is None else HASHES.get(alg.hash)
    if hash_algorithm is None:
        return None
    if alg.is_hmac:
        return Scheme(Alg.HMAC, hash_algorithm)
    if alg.is_rsa_oaep:
        return Scheme(Alg.OAEP, hash_algorithm)
    if alg.is_rsa_pss:
        return Scheme(Alg.RSAPSS, hash_algorithm)
    if alg.is_rsa_pkcs1v15_sign:
        return Scheme(Alg.RSASSA, hash_algorithm)
    if alg.is_ecdsa and not alg.is_deterministic_ecdsa:
        return Scheme(Alg.ECDSA, hash_algorithm)
    return None


def _flags(attributes: KeyAttributes) -> ObjectFlags:
    # Authorisations of keys are digests, which nobody guesses: they need no protection against dictionary attacks, and
    # so keep working while the TPM is locked out.
    alg, use = attributes.algorithm, ObjectFlags.SIGN
    if attributes.key_type == KeyType.AES:
        use = ObjectFlags.SIGN | ObjectFlags.DECRYPT  # of a cipher's key, SIGN means to encrypt
    elif alg.is_asymmetric_encryption or alg.is_key_agreement:
        use = ObjectFlags.DECRYPT
    return use | ObjectFlags.USER_WITH_AUTH | ObjectFlags.NO_DA


def new_key(attributes: KeyAttributes, *, imported: bool = False) -> Public:
    """The template of a key to be made in the TPM, and bound to it; or of a symmetric one whose secret is given."""
    scheme = scheme_of(attributes.algorithm) or NO_SCHEME
    detail: Detail
    name = Alg.SHA256
    if attributes.key_type == KeyType.RSA_KEY_PAIR:
        detail = RsaPublic(attributes.key_bits, scheme)
    elif attributes.key_type == KeyType.HMAC:
        # A secret that the TPM makes has the length of this hash; and a key for HMAC is for one hash only.
        name = _HASH_OF_LENGTH.get(attributes.key_bits // 8, name)
        detail = KeyedHashPublic(Scheme(Alg.HMAC, name) if scheme == NO_SCHEME else scheme)
    elif attributes.key_type == KeyType.AES:
        detail = CipherPublic(Symmetric(attributes.key_bits, MODES.get(attributes.algorithm, Alg.NULL)))
    else:
        detail = EccPublic(CURVES[attributes.key_bits], scheme)
    born = BORN_HERE & ~ObjectFlags.SENSITIVE_DATA_ORIGIN if imported else BORN_HERE
    return Public(detail, _flags(attributes) | born, name_algorithm=name)


def imported_rsa(attributes: KeyAttributes, modulus: bytes, exponent: int) -> Public:
    """The public area of an RSA key pair that comes from outside."""
    scheme = scheme_of(attributes.algorithm) or NO_SCHEME
    detail = RsaPublic(attributes.key_bits, scheme, exponent=0 if exponent == 65537 else exponent, modulus=modulus)
    return Public(detail, _flags(attributes))


def imported_ecc(attributes: KeyAttributes, x: bytes, y: bytes) -> Public:
    """The public area of an ECC key pair that comes from outside."""
    scheme = scheme_of(attributes.algorithm) or NO_SCHEME
    return Public(EccPublic(CURVES[attributes.key_bits], scheme, x=x, y=y), _flags(attributes))
