"""Tokens with an authentication code: only where the policy accepts them, and never by another kind of key."""

from __future__ import annotations

from dataclasses import replace

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeroot.evidence import CoseAlgorithm, MacKey, Profile, SharedKey, write_mac_token
from edgeroot.psa import Secret
from edgeroot.verifier.appraisal import appraise
from edgeroot.verifier.corim import Endorsements
from edgeroot.verifier.policy import Policy
from edgeroot.verifier.trust import Status
from edgeroot.verifier.verdict import Appraisal
from tests.unit.verifier.test_appraisal import CLAIMS, FOREIGN, IMPLEMENTATION, KNOWN, NONCE, failed, judged, token

KEY = MacKey(CoseAlgorithm.HMAC_256, Secret(b"\x42" * 64))
SHARED = SharedKey(key=KEY, instance_id=CLAIMS.instance_id, implementation_id=IMPLEMENTATION)
ACCEPTING = Policy(mac_tokens=True)
REFERENCES = Endorsements(references=KNOWN.references)
TOKEN = write_mac_token(CLAIMS, Profile.RFC9783, KEY)


def by_mac(
    data: bytes = TOKEN,
    *,
    shared: SharedKey | None = SHARED,
    policy: Policy = ACCEPTING,
    endorsements: Endorsements = REFERENCES,
) -> Appraisal:
    keys = {} if shared is None else {shared.instance_id: shared}
    return appraise(data, nonce=NONCE, endorsements=endorsements, policy=policy, shared_keys=keys)


@pytest.mark.parametrize("algorithm", [CoseAlgorithm.HMAC_256, CoseAlgorithm.HMAC_384, CoseAlgorithm.HMAC_512])
def test_a_code_is_affirmed_where_the_policy_accepts_it(algorithm: CoseAlgorithm) -> None:
    key = MacKey(algorithm, KEY.secret)
    data = write_mac_token(CLAIMS, Profile.RFC9783, key)
    assert by_mac(data, shared=replace(SHARED, key=key)).status is Status.AFFIRMING
    refused = by_mac(data, shared=replace(SHARED, key=key), policy=Policy())
    assert (refused.status, failed(refused)) == (Status.CONTRAINDICATED, ["algorithm"])
    assert refused.claims is None


def test_a_public_key_checks_no_code_and_a_shared_key_no_signature() -> None:
    # The oldest confusion: a code made with the bytes of the public key, which everybody knows.
    public = KNOWN.keys[CLAIMS.instance_id].key
    encodings = (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
    )
    for known in encodings:
        forged = write_mac_token(CLAIMS, Profile.RFC9783, MacKey(CoseAlgorithm.HMAC_256, Secret(known)))
        assert failed(by_mac(forged, shared=None, endorsements=KNOWN)) == ["instance"]
        assert failed(by_mac(forged, endorsements=KNOWN)) == ["signature"]
        assert failed(judged(forged)) == ["algorithm"]
    assert failed(by_mac(token())) == ["instance"], "a signature was checked without a public key"
    assert by_mac(token(), endorsements=KNOWN).status is Status.AFFIRMING


@pytest.mark.parametrize(
    ("shared", "check"),
    [
        (None, "instance"),
        (replace(SHARED, instance_id=b"\1" + bytes(32)), "instance"),
        (replace(SHARED, key=MacKey(CoseAlgorithm.HMAC_256, Secret(bytes(64)))), "signature"),
        (replace(SHARED, key=MacKey(CoseAlgorithm.HMAC_512, KEY.secret)), "signature"),
        (replace(SHARED, implementation_id=bytes(32)), "implementation"),
        (replace(SHARED, implementation_id=b""), "implementation"),
    ],
)
def test_another_key_or_another_device(shared: SharedKey | None, check: str) -> None:
    appraisal = by_mac(shared=shared)
    assert (appraisal.status, failed(appraisal)) == (Status.CONTRAINDICATED, [check])


def test_everything_else_is_judged_as_of_signed_tokens() -> None:
    assert failed(by_mac(write_mac_token(replace(CLAIMS, nonce=bytes(32)), Profile.RFC9783, KEY))) == ["nonce"]
    changed = replace(CLAIMS, lifecycle=0x1000)
    assert failed(by_mac(write_mac_token(changed, Profile.RFC9783, KEY))) == ["lifecycle"]


@pytest.mark.parametrize("tag", [17, 18])
@pytest.mark.parametrize("algorithm", [-7, -35, -36, -8, -257, 0, 4, 5, 6, 7, "none", "HS256", None])
def test_no_other_algorithm_does(tag: int, algorithm: object) -> None:
    """The evidence of each kind, relabelled: with every other algorithm, and with the other kind's tag."""
    for data in (TOKEN, token()):
        read = cbor2.loads(data)
        _protected, unprotected, payload, authenticator = read.value
        header = cbor2.dumps({1: algorithm})
        if (tag, header) == (read.tag, read.value[0]):
            continue
        for parts in ([header, unprotected], [b"", {1: algorithm}], [cbor2.dumps({}), {1: algorithm}]):
            relabelled = cbor2.dumps(cbor2.CBORTag(tag, [*parts, payload, authenticator]))
            assert by_mac(relabelled, endorsements=KNOWN).status is Status.CONTRAINDICATED


def test_a_token_of_one_device_is_none_of_another() -> None:
    other = replace(CLAIMS, instance_id=b"\1" + b"\x09" * 32)
    their_key = MacKey(CoseAlgorithm.HMAC_256, Secret(b"\x43" * 64))
    theirs = replace(SHARED, key=their_key, instance_id=other.instance_id)
    assert by_mac(write_mac_token(other, Profile.RFC9783, their_key), shared=theirs).status is Status.AFFIRMING
    assert failed(by_mac(write_mac_token(other, Profile.RFC9783, KEY), shared=theirs)) == ["signature"]
    assert isinstance(FOREIGN, ec.EllipticCurvePrivateKey)
