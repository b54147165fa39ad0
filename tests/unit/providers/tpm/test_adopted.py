"""Records of upstream's TPM provider. The migration's tests show with its genuine service that the keys work on."""

from __future__ import annotations

from dataclasses import replace
from struct import pack

import pytest

from edgeroot.evidence.tpm_structures import Alg, Curve, EccPublic, ObjectFlags, RsaPublic, Scheme
from edgeroot.providers.tpm import TpmProviderType
from edgeroot.providers.tpm.adopted import upstreams_key
from edgeroot.providers.tpm.reference import PublicReference, SecretReference, parse_reference
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaStatus, UsageFlags
from tests.vectors.keys import refused

CONTEXT = bytes(16) + pack("<Q", 0)
AUTH = bytes(range(32))
PRIVATE = b"wrapped by the TPM"
ECDSA = Algorithm.ecdsa(Hash.SHA_256)
P256 = KeyAttributes(KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, UsageFlags.SIGN_HASH, ECDSA)
RSA = KeyAttributes(KeyType.RSA_KEY_PAIR, 2048, UsageFlags.SIGN_HASH, Algorithm.rsa_pkcs1v15_sign(Hash.SHA_256))
FLAGS = (
    ObjectFlags.FIXED_TPM | ObjectFlags.FIXED_PARENT | ObjectFlags.SENSITIVE_DATA_ORIGIN | ObjectFlags.USER_WITH_AUTH
)
# The generator of P-256 (SEC 2, clause 2.4.2).
X = bytes.fromhex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")
Y = bytes.fromhex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")
MODULUS = b"\xc5" + bytes(254) + b"\x01"


def vec(data: bytes) -> bytes:
    return pack("<Q", len(data)) + data


def ecc(x: bytes = X, y: bytes = Y, *, auth: bytes = AUTH, private: bytes = PRIVATE, context: bytes = CONTEXT) -> bytes:
    return context + vec(auth) + pack("<I", 1) + vec(x) + vec(y) + vec(private)


def rsa(modulus: bytes = MODULUS, *, private: bytes = PRIVATE) -> bytes:
    return CONTEXT + vec(AUTH) + pack("<I", 0) + vec(modulus) + vec(private)


def test_a_pair_on_a_curve() -> None:
    key = upstreams_key(ecc(), P256)
    assert isinstance(key, SecretReference)
    assert (key.private, key.auth) == (PRIVATE, AUTH)
    assert key.public.detail == EccPublic(Curve.NIST_P256, Scheme(Alg.ECDSA, Alg.SHA256), x=X, y=Y)
    assert key.public.flags == FLAGS | ObjectFlags.SIGN


def test_an_rsa_pair() -> None:
    key = upstreams_key(rsa(), RSA)
    assert isinstance(key, SecretReference)
    assert key.public.detail == RsaPublic(2048, Scheme(Alg.RSASSA, Alg.SHA256), modulus=MODULUS)


@pytest.mark.parametrize("alg", [Algorithm.rsa_oaep(Hash.SHA_256), Algorithm.RSA_PKCS1V15_CRYPT])
def test_a_pair_that_decrypts_has_no_scheme_and_signs_as_well(alg: Algorithm) -> None:
    key = upstreams_key(rsa(), replace(RSA, algorithm=alg, usage=UsageFlags.DECRYPT))
    assert isinstance(key, SecretReference)
    assert key.public.detail == RsaPublic(2048, modulus=MODULUS)
    assert key.public.flags == FLAGS | ObjectFlags.SIGN | ObjectFlags.DECRYPT


def test_a_public_key_needs_no_tpm() -> None:
    public = replace(P256, key_type=P256.key_type.public_of_pair, usage=UsageFlags.VERIFY_HASH)
    assert upstreams_key(ecc(auth=b"", private=b""), public) == PublicReference(b"\4" + X + Y)


def test_the_reference_is_read_as_it_was_written() -> None:
    reference = TpmProviderType().adopted(ecc(), P256)
    parsed = parse_reference(reference)
    assert isinstance(parsed, SecretReference)
    assert (parsed.auth, bytes(parsed)) == (AUTH, reference)
    own = parse_reference(bytes(replace(parsed, auth=b"")))
    assert isinstance(own, SecretReference)
    assert own.auth == b""
    assert AUTH.hex() not in repr(parsed)
    for damaged in (reference[:-1], reference + b"\0", reference[:1] + b"\4" + reference[2:]):
        with refused(PsaStatus.DATA_INVALID):
            parse_reference(damaged)


@pytest.mark.parametrize("length", range(0, len(ecc()), 7))
def test_a_record_that_is_cut_off(length: int) -> None:
    with refused(PsaStatus.DATA_INVALID):
        upstreams_key(ecc()[:length], P256)


@pytest.mark.parametrize(
    ("record", "attributes"),
    [
        (ecc(auth=b""), P256),
        (ecc(private=b""), P256),
        (ecc(), RSA),
        (rsa(), P256),
        (ecc(), replace(P256, key_bits=257)),
        (ecc(), replace(P256, algorithm=Algorithm.ecdsa(Hash.ANY))),
        (ecc(private=b"", y=X), replace(P256, key_type=P256.key_type.public_of_pair)),
        (rsa(), replace(RSA, key_type=KeyType.AES)),
    ],
)
def test_what_upstream_does_not_write(record: bytes, attributes: KeyAttributes) -> None:
    with refused(PsaStatus.DATA_INVALID):
        upstreams_key(record, attributes)


def test_a_record_of_an_old_release_says_what_to_do() -> None:
    with refused(PsaStatus.NOT_SUPPORTED):
        upstreams_key(ecc(context=bytes(16) + vec(b"context")), P256)
