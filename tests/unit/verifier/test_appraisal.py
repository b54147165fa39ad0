from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import replace
from unittest.mock import ANY

import cbor2
import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.evidence import (
    CoseAlgorithm,
    Lifecycle,
    Profile,
    PsaClaims,
    SoftwareComponent,
    StatedKey,
    read_cose,
    sign1,
    verify_sign1,
    write_key_statement,
    write_token,
)
from edgeroot.psa import KeyOrigin, UsageFlags
from edgeroot.verifier.appraisal import appraise
from edgeroot.verifier.corim import Endorsements, ReferenceValue, VerificationKey
from edgeroot.verifier.ear import ear_claims, sign_ear, sign_ear_cwt
from edgeroot.verifier.policy import Policy
from edgeroot.verifier.trust import Status
from edgeroot.verifier.verdict import Appraisal
from tests.unit.evidence.test_key_statement import KEY as STATED
from tests.unit.evidence.test_psa_token import SPEC_CLAIMS, SPEC_KEY, SPEC_TOKEN

IAK = ec.generate_private_key(ec.SECP256R1())
NONCE = bytes(range(32))
IMPLEMENTATION = b"\7" * 32
BOOT = SoftwareComponent(measurement=b"\1" * 32, signer_id=b"\2" * 32, measurement_type="BL")
CRYPTO = SoftwareComponent(measurement=b"\3" * 32, signer_id=b"\2" * 32, measurement_type="PRoT")
CLAIMS = PsaClaims(
    nonce=NONCE,
    instance_id=b"\1" + b"\x08" * 32,
    client_id=-2,
    lifecycle=Lifecycle.SECURED,
    implementation_id=IMPLEMENTATION,
    software_components=(BOOT, CRYPTO),
)
KNOWN = Endorsements(
    keys={
        CLAIMS.instance_id: VerificationKey(
            implementation_id=IMPLEMENTATION, instance_id=CLAIMS.instance_id, key=IAK.public_key()
        )
    },
    references={
        IMPLEMENTATION: {
            ReferenceValue(measurement=b"\1" * 32, signer_id=b"\2" * 32, name="BL", version="1.0"),
            ReferenceValue(measurement=b"\3" * 32, signer_id=b"\2" * 32, name="PRoT"),
            ReferenceValue(measurement=b"\4" * 32, signer_id=b"\2" * 32, name="PRoT", version="2.0"),
        }
    },
)


def signing(key: ec.EllipticCurvePrivateKey) -> Callable[[bytes], bytes]:
    def sign_hash(hash_value: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(hash_value, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return r.to_bytes(32) + s.to_bytes(32)

    return sign_hash


def token(
    claims: PsaClaims = CLAIMS, key: ec.EllipticCurvePrivateKey = IAK, profile: Profile = Profile.RFC9783
) -> bytes:
    return write_token(claims, profile, algorithm=CoseAlgorithm.ES256, sign_hash=signing(key))


def statement(key: StatedKey, claims: PsaClaims = CLAIMS) -> bytes:
    return write_key_statement(claims, key, algorithm=CoseAlgorithm.ES256, sign_hash=signing(IAK))


def judged(
    data: bytes, *, nonce: bytes = NONCE, endorsements: Endorsements = KNOWN, policy: Policy | None = None
) -> Appraisal:
    return appraise(data, nonce=nonce, endorsements=endorsements, policy=policy or Policy())


def failed(appraisal: Appraisal) -> list[str]:
    return [one.name for one in appraisal.checks if not one.passed]


def test_a_good_token_is_affirmed() -> None:
    appraisal = judged(token())
    assert appraisal.status is Status.AFFIRMING
    assert failed(appraisal) == []
    assert appraisal.claims == CLAIMS
    assert appraisal.vector.claims() == {"instance-identity": 2, "configuration": 2, "executables": 3, "hardware": 2}
    assert "BL is known (version 1.0)" in [one.words for one in appraisal.checks]


def test_a_key_statement_is_judged_as_the_token_that_it_is() -> None:
    assert judged(statement(STATED)).status is Status.AFFIRMING


def akpub(appraisal: Appraisal) -> str | None:
    claims = ear_claims(appraisal, issued_at_s=1_800_000_000, nonce=NONCE, policy_id="strictest")
    stated = claims["submods"]["PSA_IOT"].get("ear.veraison.key-attestation")
    return None if stated is None else stated["akpub"]


def test_a_result_names_the_key_that_was_made_in_the_device() -> None:
    appraisal = judged(statement(STATED))
    assert appraisal.attested_key == STATED.subject_public_key_info()
    encoded = akpub(appraisal)
    assert encoded is not None
    assert urlsafe_b64decode(encoded + "==") == STATED.subject_public_key_info()


@pytest.mark.parametrize(
    "key",
    [
        replace(STATED, origin=KeyOrigin.IMPORTED),
        replace(STATED, attributes=replace(STATED.attributes, usage=STATED.attributes.usage | UsageFlags.EXPORT)),
        replace(STATED, public_key=b"\4" + b"\1" * 64),
    ],
    ids=["imported", "exportable", "not on the curve"],
)
def test_no_result_names_another_key(key: StatedKey) -> None:
    appraisal = judged(statement(key))
    assert appraisal.status is Status.AFFIRMING
    assert akpub(appraisal) is None
    assert failed(appraisal) == ["key"]


def test_no_result_names_a_key_of_a_device_that_is_not_affirmed() -> None:
    debugged = replace(CLAIMS, lifecycle=Lifecycle.RECOVERABLE_PSA_ROT_DEBUG)
    assert akpub(judged(statement(STATED, debugged))) is None


def test_a_token_states_no_key() -> None:
    assert judged(token()).attested_key is None


def test_another_version_that_is_known() -> None:
    updated = replace(CRYPTO, measurement=b"\4" * 32)
    assert judged(token(replace(CLAIMS, software_components=(BOOT, updated)))).status is Status.AFFIRMING


def test_the_example_of_the_specification() -> None:
    known = Endorsements(
        keys={
            SPEC_CLAIMS.instance_id: VerificationKey(
                implementation_id=SPEC_CLAIMS.implementation_id, instance_id=SPEC_CLAIMS.instance_id, key=SPEC_KEY
            )
        },
        references={
            SPEC_CLAIMS.implementation_id: {ReferenceValue(measurement=b"\3" * 32, signer_id=b"\4" * 32, name="PRoT")}
        },
    )
    assert judged(SPEC_TOKEN, nonce=SPEC_CLAIMS.nonce, endorsements=known).status is Status.AFFIRMING


FOREIGN = ec.generate_private_key(ec.SECP256R1())
UNAUTHENTIC = {
    "format": b"no token",
    "instance": token(replace(CLAIMS, instance_id=b"\1" + bytes(32))),
    "signature": token(key=FOREIGN),
    "nonce": token(replace(CLAIMS, nonce=bytes(32))),
    "implementation": token(replace(CLAIMS, implementation_id=bytes(32))),
}


@pytest.mark.parametrize(("check", "data"), UNAUTHENTIC.items())
def test_what_is_not_authentic_is_contraindicated_and_nothing_in_it_is_believed(check: str, data: bytes) -> None:
    appraisal = judged(data)
    assert appraisal.status is Status.CONTRAINDICATED
    assert failed(appraisal) == [check]
    assert appraisal.claims is None
    assert appraisal.vector.hardware == appraisal.vector.executables == 0


def test_a_token_of_one_device_is_none_of_another() -> None:
    other = replace(CLAIMS, instance_id=b"\1" + b"\x09" * 32)
    known = Endorsements(
        keys={
            **KNOWN.keys,
            other.instance_id: VerificationKey(
                implementation_id=IMPLEMENTATION, instance_id=other.instance_id, key=FOREIGN.public_key()
            ),
        },
        references=KNOWN.references,
    )
    assert judged(token(other, FOREIGN), endorsements=known).status is Status.AFFIRMING
    assert failed(judged(token(other, IAK), endorsements=known)) == ["signature"]


def test_another_algorithm_than_the_keys() -> None:
    data = sign1(b"\xa0", algorithm=CoseAlgorithm.ES384, sign_hash=lambda _hash: bytes(96))
    assert failed(judged(data)) == ["format"]


@pytest.mark.parametrize("lifecycle", sorted(set(Lifecycle) - {Lifecycle.SECURED, Lifecycle.NON_PSA_ROT_DEBUG}))
def test_a_life_cycle_without_trust(lifecycle: Lifecycle) -> None:
    data = token(replace(CLAIMS, lifecycle=lifecycle | 0x17))
    appraisal = judged(data)
    assert (appraisal.status, failed(appraisal)) == (Status.CONTRAINDICATED, ["lifecycle"])
    assert appraisal.vector.executables == 3
    assert judged(data, policy=Policy(lifecycles=frozenset({lifecycle}))).status is Status.AFFIRMING


def test_clients() -> None:
    assert judged(token(), policy=Policy(client_ids=frozenset({-2}))).status is Status.AFFIRMING
    assert failed(judged(token(), policy=Policy(client_ids=frozenset({-3})))) == ["client"]


def test_the_legacy_profile_takes_a_policy() -> None:
    data = token(replace(CLAIMS, boot_seed=bytes(32)), profile=Profile.LEGACY)
    assert failed(judged(data)) == ["profile"]
    assert judged(data, policy=Policy(legacy_profile=True)).status is Status.AFFIRMING


def test_an_implementation_that_nobody_knows() -> None:
    appraisal = judged(token(), endorsements=Endorsements(keys=KNOWN.keys))
    assert appraisal.status is Status.CONTRAINDICATED
    assert failed(appraisal)[0] == "hardware"
    assert appraisal.vector.hardware == 97


@pytest.mark.parametrize(
    ("components", "words"),
    [
        ((BOOT, replace(CRYPTO, measurement=b"\xff" * 32)), "PRoT was changed"),
        ((BOOT, replace(CRYPTO, signer_id=b"\xff" * 32)), "PRoT was changed, or is signed by another"),
        ((BOOT,), "PRoT is missing"),
        ((BOOT, CRYPTO, replace(CRYPTO, measurement_type="App")), "App is not known"),
        ((replace(BOOT, measurement_type="PRoT"), replace(CRYPTO, measurement_type="BL")), "PRoT was changed"),
    ],
)
def test_components(components: tuple[SoftwareComponent, ...], words: str) -> None:
    appraisal = judged(token(replace(CLAIMS, software_components=components)))
    assert appraisal.status is Status.CONTRAINDICATED
    assert set(failed(appraisal)) == {"component"}
    assert any(words in one.words for one in appraisal.checks)


def test_more_components_take_a_policy_and_changed_ones_are_none() -> None:
    policy = Policy(extra_components=True)
    app = replace(CRYPTO, measurement_type="App")
    assert (
        judged(token(replace(CLAIMS, software_components=(BOOT, CRYPTO, app))), policy=policy).status
        is Status.AFFIRMING
    )
    changed = (BOOT, CRYPTO, replace(CRYPTO, measurement=b"\xff" * 32))
    assert judged(token(replace(CLAIMS, software_components=changed)), policy=policy).status is Status.CONTRAINDICATED


@given(st.integers(0, 400), st.integers(1, 255))
def test_no_changed_byte_is_affirmed(at: int, difference: int) -> None:
    data = bytearray(token())
    data[at % len(data)] ^= difference
    assert judged(bytes(data)).status is Status.CONTRAINDICATED


@given(st.binary(max_size=300))
def test_anything_gets_a_verdict(data: bytes) -> None:
    assert judged(data).status is Status.CONTRAINDICATED


def test_results_are_signed() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    claims = ear_claims(judged(token()), issued_at_s=1_800_000_000, nonce=NONCE, policy_id="strictest")
    read = jwt.decode(sign_ear(claims, key), key.public_key(), algorithms=["ES256"], options={"verify_iat": False})
    assert read == claims
    assert read["eat_profile"] == "tag:github.com,2023:veraison/ear"
    assert read["eat_nonce"] == "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    submodule = read["submods"]["PSA_IOT"]
    assert submodule["ear.status"] == "affirming"
    assert submodule["ear.appraisal-policy-id"] == "strictest"
    assert submodule["ear.trustworthiness-vector"]["executables"] == 3
    assert submodule["ear.veraison.policy-claims"]["device"] == CLAIMS.instance_id.hex()


def test_results_name_no_device_that_was_not_proven() -> None:
    claims = ear_claims(judged(b"no token"), issued_at_s=1_800_000_000, nonce=NONCE, policy_id="strictest")
    assert claims["submods"]["PSA_IOT"]["ear.veraison.policy-claims"]["device"] == ""


def test_results_as_cwt() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    claims = ear_claims(judged(token()), issued_at_s=1_800_000_000, nonce=NONCE, policy_id="strictest")
    message = read_cose(sign_ear_cwt(claims, key))
    verify_sign1(message, key.public_key())
    read = cbor2.loads(message.payload)
    assert (read[265], read[6], read[10]) == ("tag:github.com,2023:veraison/ear", 1_800_000_000, NONCE)
    assert set(read[1004]) == {0, 1}
    submodule = read[266]["PSA_IOT"]
    assert (submodule[1000], submodule[1001]) == (2, {0: 2, 1: 2, 2: 3, 4: 2})
    assert submodule[1003] == "strictest"
    assert submodule[-70001]["checks"][0] == {"check": "format", "passed": True, "words": ANY}


@pytest.mark.parametrize(
    ("value", "status"),
    [(-1, 0), (0, 0), (1, 0), (2, 2), (31, 2), (32, 32), (95, 32), (96, 96), (127, 96)],
)
def test_tiers(value: int, status: int) -> None:
    assert Status.of(value) == status
