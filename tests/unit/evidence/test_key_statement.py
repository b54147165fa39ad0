from __future__ import annotations

from dataclasses import replace

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeroot.evidence import (
    AuthenticationError,
    CoseAlgorithm,
    EvidenceError,
    Profile,
    StatedKey,
    encode_claims,
    read_key_statement,
    read_token,
    sign1,
    verify_key_statement,
    write_key_statement,
    write_token,
)
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyOrigin, KeyType, UsageFlags
from tests.unit.evidence.test_psa_token import SPEC_CLAIMS, SPEC_TOKEN

SIGNER = ec.generate_private_key(ec.SECP256R1())
PAIR = ec.generate_private_key(ec.SECP256R1())
POINT = PAIR.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
KEY = StatedKey(
    attributes=KeyAttributes(
        KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, UsageFlags.SIGN_HASH, Algorithm.ecdsa(Hash.SHA_256)
    ),
    lifetime=1,
    origin=KeyOrigin.GENERATED,
    public_key=POINT,
)
CHALLENGE = SPEC_CLAIMS.nonce


def sign_hash(hash_value: bytes) -> bytes:
    r, s = decode_dss_signature(SIGNER.sign(hash_value, ec.ECDSA(Prehashed(hashes.SHA256()))))
    return r.to_bytes(32) + s.to_bytes(32)


def written(key: StatedKey = KEY) -> bytes:
    return write_key_statement(SPEC_CLAIMS, key, algorithm=CoseAlgorithm.ES256, sign_hash=sign_hash)


def with_claim(stated: object) -> bytes:
    """A signed token with whatever in the place of what a statement says of its key."""
    payload = encode_claims(SPEC_CLAIMS, Profile.RFC9783, {-76000: stated})
    return sign1(payload, algorithm=CoseAlgorithm.ES256, sign_hash=sign_hash)


def test_what_is_written_is_read_and_verified() -> None:
    statement = verify_key_statement(written(), SIGNER.public_key(), challenge=CHALLENGE)
    assert statement.key == KEY
    assert statement.token.claims == SPEC_CLAIMS


def test_a_statement_is_a_token() -> None:
    token = read_token(written())
    assert (token.profile, token.claims) == (Profile.RFC9783, SPEC_CLAIMS)


def test_a_token_is_no_statement() -> None:
    for token in (
        SPEC_TOKEN,
        write_token(SPEC_CLAIMS, Profile.RFC9783, algorithm=CoseAlgorithm.ES256, sign_hash=sign_hash),
    ):
        with pytest.raises(EvidenceError, match="nothing of a key"):
            read_key_statement(token)


def test_whoever_did_not_sign_it() -> None:
    with pytest.raises(AuthenticationError):
        verify_key_statement(written(), PAIR.public_key(), challenge=CHALLENGE)
    tagged = cbor2.loads(written())
    forged = [*tagged.value]
    forged[2] = forged[2].replace(POINT, b"\4" + bytes(64))
    with pytest.raises(AuthenticationError):
        verify_key_statement(cbor2.dumps(cbor2.CBORTag(18, forged)), SIGNER.public_key(), challenge=CHALLENGE)


def test_another_challenge() -> None:
    with pytest.raises(AuthenticationError, match="another challenge"):
        verify_key_statement(written(), SIGNER.public_key(), challenge=bytes(32))


SOUND = {1: 0x7112, 2: 256, 3: 0x1000, 4: 0x06000609, 5: 1, 6: 1, 7: POINT}


def test_the_hand_made_claim_is_the_written_one() -> None:
    assert read_key_statement(with_claim(SOUND)).key == KEY
    assert read_key_statement(with_claim({**SOUND, 99: "further"})).key == KEY


@pytest.mark.parametrize("stated", [None, 1, [], "key", b"key"])
def test_a_claim_that_is_no_map(stated: object) -> None:
    with pytest.raises(EvidenceError):
        read_key_statement(with_claim(stated))


@pytest.mark.parametrize("label", range(1, 8))
@pytest.mark.parametrize("value", [None, -1, 1 << 32, True, "1", [1], b""])
def test_a_malformed_entry(label: int, value: object) -> None:
    with pytest.raises(EvidenceError):
        read_key_statement(with_claim({**SOUND, label: value}))
    with pytest.raises(EvidenceError):
        read_key_statement(with_claim({number: entry for number, entry in SOUND.items() if number != label}))


@pytest.mark.parametrize(("label", "value"), [(1, 0x4112), (1, 0x2400), (1, 0x17112), (6, 5)])
def test_numbers_without_a_meaning_here(label: int, value: int) -> None:
    with pytest.raises(EvidenceError):
        read_key_statement(with_claim({**SOUND, label: value}))


@pytest.mark.parametrize("origin", list(KeyOrigin))
@pytest.mark.parametrize("usage", [UsageFlags.SIGN_HASH, UsageFlags.SIGN_HASH | UsageFlags.EXPORT])
def test_what_never_left(origin: KeyOrigin, usage: UsageFlags) -> None:
    key = replace(KEY, origin=origin, attributes=replace(KEY.attributes, usage=usage))
    assert read_key_statement(written(key)).key.never_left == (
        origin is KeyOrigin.GENERATED and usage == UsageFlags.SIGN_HASH
    )


def test_a_certificate_request_for_the_stated_key() -> None:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(PAIR, hashes.SHA256())
    asked = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert read_key_statement(written()).key.subject_public_key_info() == asked


def test_rsa_has_a_subject_public_key_info_as_well() -> None:
    pair = rsa.generate_private_key(65537, 2048)
    public = pair.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    attributes = KeyAttributes(
        KeyType.RSA_KEY_PAIR, 2048, UsageFlags.SIGN_HASH, Algorithm.rsa_pkcs1v15_sign(Hash.SHA_256)
    )
    key = replace(KEY, attributes=attributes, public_key=public)
    asked = pair.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert key.subject_public_key_info() == asked


@pytest.mark.parametrize(
    ("key_type", "bits", "public_key"),
    [
        (KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, b"\4" + bytes(64)),
        (KeyType.ecc_key_pair(EccFamily.SECP_R1), 384, POINT),
        (KeyType.RSA_KEY_PAIR, 2048, POINT),
        (KeyType.ecc_key_pair(EccFamily.MONTGOMERY), 255, bytes(32)),
    ],
)
def test_keys_without_a_subject_public_key_info(key_type: KeyType, bits: int, public_key: bytes) -> None:
    attributes = replace(KEY.attributes, key_type=key_type, key_bits=bits)
    with pytest.raises(EvidenceError):
        replace(KEY, attributes=attributes, public_key=public_key).subject_public_key_info()
