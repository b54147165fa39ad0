from __future__ import annotations

from base64 import urlsafe_b64decode
from dataclasses import replace
from hashlib import sha256

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.evidence import (
    CoseAlgorithm,
    EvidenceError,
    Lifecycle,
    Profile,
    PsaClaims,
    SoftwareComponent,
    decode_claims,
    encode_claims,
    read_token,
    verify_sign1,
    write_token,
)

TFM = "tag:psacertified.org,2023:psa#tfm"

# The Sign1 example of the PSA token's specification (draft-tschofenig-rats-psa-token), with its key. Its boot seed has
# the draft's label 2397, which RFC 9783 replaced by 268: to us it is a claim that we do not know.
SPEC_TOKEN = bytes.fromhex(
    "d28443a10126a0590100a819010058210102020202020202020202020202020202020202020202020202020202020202"
    "0219095c582000000000000000000000000000000000000000000000000000000000000000000a582001010101010101"
    "0101010101010101010101010101010101010101010101010119095a1a7fffffff19095b19300019010978217461673a"
    "7073616365727469666965642e6f72672c323032333a7073612374666d19095d48000000000000000019095f81a30558"
    "200404040404040404040404040404040404040404040404040404040404040404025820030303030303030303030303"
    "0303030303030303030303030303030303030303016450526f5458401e9d4b184785b83c8b35207926127f086731e1e8"
    "db80f3065cf30f7685e051d89a493f9ee55bcd7b480dff72d6281c409490d299c8350e698a76516a13ab4c6d"
)


def number(text: str) -> int:
    return int.from_bytes(urlsafe_b64decode(text + "="), "big")


SPEC_KEY = ec.EllipticCurvePublicNumbers(
    number("Tl4iCZ47zrRbRG0TVf0dw7VFlHtv18HInYhnmMNybo8"),
    number("gNcLhAslaqw0pi7eEEM2TwRAlfADR0uR4Bggkq-xPy4"),
    ec.SECP256R1(),
).public_key()
SPEC_CLAIMS = PsaClaims(
    nonce=b"\1" * 32,
    instance_id=b"\1" + b"\2" * 32,
    client_id=2147483647,
    lifecycle=Lifecycle.SECURED,
    implementation_id=bytes(32),
    software_components=(SoftwareComponent(measurement=b"\3" * 32, signer_id=b"\4" * 32, measurement_type="PRoT"),),
)

# What the linux-pc deployment of Trusted Services 1.2 says, as observed: 629 bytes for a challenge of 32.
UPSTREAM_CLAIMS = PsaClaims(
    nonce=bytes(32),
    instance_id=b"\1" + bytes(32),
    client_id=0x1002,
    lifecycle=0,
    implementation_id=b"trustedfirmware.org.ts.standalone",
    boot_seed=b"\x55" * 32,
    software_components=tuple(
        SoftwareComponent(measurement=sha256(name.encode()).digest(), measurement_type=name)
        for name in "BL_2 BL_31 HW_CONFIG SOC_FW_CONFIG BL_32 BL32_EXTRA1_IMAGE BL_33 NT_FW_CONFIG".split()
    ),
)


def legacy(**changes: object) -> bytes:
    """A legacy payload with these labels (``_75001``) changed, or left out for None."""
    entries: dict[int, object] = dict(cbor2.loads(encode_claims(UPSTREAM_CLAIMS, Profile.LEGACY)))
    return cbor2.dumps(changed(entries, {-int(label[1:]): value for label, value in changes.items()}))


def rfc9783(**changes: object) -> bytes:
    entries: dict[int, object] = dict(cbor2.loads(encode_claims(SPEC_CLAIMS, Profile.RFC9783)))
    return cbor2.dumps(changed(entries, {int(label[1:]): value for label, value in changes.items()}))


def changed(entries: dict[int, object], changes: dict[int, object]) -> dict[int, object]:
    return {label: value for label, value in (entries | changes).items() if value is not None}


def test_example_of_the_specification() -> None:
    token = read_token(SPEC_TOKEN)
    verify_sign1(token.message, SPEC_KEY)
    assert token.profile is Profile.RFC9783
    assert token.claims == SPEC_CLAIMS


def test_written_claims_are_those_of_the_specification() -> None:
    spec = cbor2.loads(cbor2.loads(SPEC_TOKEN).value[2])
    written = cbor2.loads(encode_claims(replace(SPEC_CLAIMS, boot_seed=bytes(8)), Profile.RFC9783))
    spec[268] = spec.pop(2397)
    assert written == spec


def test_legacy_token_is_upstreams() -> None:
    token = write_token(
        UPSTREAM_CLAIMS, Profile.LEGACY, algorithm=CoseAlgorithm.ES256, sign_hash=lambda _: b"\x77" * 64
    )
    assert len(token) == 629
    tagged = cbor2.loads(token)
    assert tagged.tag == 18
    assert tagged.value[0] == bytes.fromhex("a10126")
    claims = cbor2.loads(tagged.value[2])
    assert list(claims) == [-75008, -75001, -75004, -75002, -75009, -75003, -75006]
    assert claims[-75001] == 0x1002
    assert claims[-75003] == b"trustedfirmware.org.ts.standalone"
    assert claims[-75006][5] == {1: "BL32_EXTRA1_IMAGE", 2: sha256(b"BL32_EXTRA1_IMAGE").digest()}
    assert tagged.value[3] == b"\x77" * 64
    assert read_token(token).claims == UPSTREAM_CLAIMS


def test_legacy_without_measurements() -> None:
    claims = replace(UPSTREAM_CLAIMS, software_components=())
    payload = encode_claims(claims, Profile.LEGACY)
    entries = cbor2.loads(payload)
    assert entries[-75007] == 1
    assert -75006 not in entries
    assert decode_claims(payload) == (Profile.LEGACY, claims)


@pytest.mark.parametrize("profile", list(Profile))
@given(data=st.data())
def test_what_is_written_is_read(profile: Profile, data: st.DataObject) -> None:
    digests = st.sampled_from((32, 48, 64)).flatmap(lambda size: st.binary(min_size=size, max_size=size))
    texts = st.none() | st.text(max_size=20)
    components = st.builds(
        SoftwareComponent,
        measurement=digests,
        signer_id=digests,
        measurement_type=texts,
        version=texts,
        measurement_description=texts,
    )
    claims = data.draw(
        st.builds(
            PsaClaims,
            nonce=digests,
            instance_id=st.binary(min_size=32, max_size=32).map(lambda tail: b"\1" + tail),
            client_id=st.integers(-(2**31), 2**31 - 1).filter(bool),
            lifecycle=st.sampled_from(list(Lifecycle)).flatmap(lambda major: st.integers(major, major + 255)),
            implementation_id=st.binary(min_size=32, max_size=32),
            boot_seed=st.binary(min_size=32, max_size=32),
            software_components=st.lists(components, min_size=1, max_size=3).map(tuple),
            certification_reference=st.none() | st.just("1234567890123-12345"),
            verification_service=texts,
        )
    )
    assert decode_claims(encode_claims(claims, profile)) == (profile, claims)


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"\x01", "not a map"),
        (cbor2.dumps({}), "names no profile"),
        (rfc9783(_265="tag:example.org,2024:other"), "is unknown"),
        (legacy(_75000="PSA_IOT_PROFILE_2"), "is unknown"),
        (rfc9783(_265=None), "names no profile"),
        (rfc9783(_265=7), "claim 265 is int"),
        (cbor2.dumps({265: TFM, -75000: "PSA_IOT_PROFILE_1"}), "two profiles"),
        (rfc9783(_10=[bytes(32)]), "claim 10 is list"),
        (rfc9783(_10=bytes(33)), "nonce of 33"),
        (rfc9783(_10=None), "claim 10 is missing"),
        (rfc9783(_256=None), "claim 256 is missing"),
        (rfc9783(_256=bytes(33)), "instance id"),
        (rfc9783(_256=b"\1" * 32), "instance id"),
        (rfc9783(_2394=0), "client id 0"),
        (rfc9783(_2394=None), "claim 2394 is missing"),
        (rfc9783(_2394=2**31), "beyond 32 bits"),
        (rfc9783(_2394=True), "claim 2394 is bool"),
        (rfc9783(_2395=None), "claim 2395 is missing"),
        (rfc9783(_2395=0x3100), "lifecycle 0x3100"),
        (rfc9783(_2395=-1), "lifecycle"),
        (rfc9783(_2395=0x13000), "lifecycle"),
        (rfc9783(_2396=None), "claim 2396 is missing"),
        (rfc9783(_2396=bytes(33)), "implementation id of 33"),
        (rfc9783(_268=bytes(7)), "boot seed of 7"),
        (rfc9783(_268=bytes(33)), "boot seed of 33"),
        (rfc9783(_2398="1234567890123"), "certification reference"),
        (rfc9783(_2398="1234567890123-12345\n"), "certification reference"),
        (rfc9783(_2399=None), "not an array"),
        (rfc9783(_2399=[]), "not an array"),
        (rfc9783(_2399=["PRoT"]), "not a map"),
        (rfc9783(_2399=[{2: bytes(32)}]), "without signer id"),
        (rfc9783(_2399=[{5: bytes(32)}]), "claim 2 is missing"),
        (rfc9783(_2399=[{2: bytes(31), 5: bytes(32)}]), "measurement of 31"),
        (rfc9783(_2399=[{2: bytes(32), 5: bytes(31)}]), "signer id of 31"),
        (rfc9783(_2399=[{1: 1, 2: bytes(32), 5: bytes(32)}]), "claim 1 is int"),
        (rfc9783(_2400=b"https://example.org"), "claim 2400 is bytes"),
        (legacy(_75004=None), "no boot seed"),
        (legacy(_75004=bytes(8)), "boot seed of 8"),
        (legacy(_75003=b""), "implementation id of 0"),
        (legacy(_75005="123"), "certification reference"),
        (legacy(_75006=None), "either software components"),
        (legacy(_75007=1), "either software components"),
        (legacy(_75006=None, _75007=2), "either software components"),
        (legacy(_75001=None), "claim -75001 is missing"),
    ],
)
def test_malformed(payload: bytes, says: str) -> None:
    with pytest.raises(EvidenceError, match=says):
        decode_claims(payload)


def test_tolerance() -> None:
    # Unknown claims, the draft's profile name, integers that are longer than they need to be.
    assert decode_claims(rfc9783(_4711={"anything": cbor2.CBORTag(1, 0)})) == (Profile.RFC9783, SPEC_CLAIMS)
    assert decode_claims(rfc9783(_265="http://arm.com/psa/2.0.0")) == (Profile.RFC9783, SPEC_CLAIMS)
    plain = encode_claims(SPEC_CLAIMS, Profile.RFC9783)
    wordy = plain.replace(b"\x0a\x58\x20", b"\x1a\0\0\0\x0a\x59\0\x20", 1)
    assert wordy != plain
    assert decode_claims(wordy) == (Profile.RFC9783, SPEC_CLAIMS)
    # Of legacy tokens: the profile's name, hardware versions, Linux as client 0.
    assert decode_claims(legacy(_75000="PSA_IOT_PROFILE_1"))[1] == UPSTREAM_CLAIMS
    assert decode_claims(legacy(_75005="1234567890123"))[1].certification_reference == "1234567890123"
    assert decode_claims(legacy(_75001=0))[1].client_id == 0
    assert decode_claims(legacy(_75001=-1))[1].client_id == -1


def test_a_writer_refuses_what_a_reader_would() -> None:
    with pytest.raises(EvidenceError, match="client id 0"):
        encode_claims(replace(SPEC_CLAIMS, client_id=0), Profile.RFC9783)
    with pytest.raises(EvidenceError, match="implementation id of 33"):
        encode_claims(UPSTREAM_CLAIMS, Profile.RFC9783)


def test_written_token_verifies() -> None:
    key = ec.generate_private_key(ec.SECP256R1())

    def sign_hash(hash_value: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(hash_value, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    token = read_token(write_token(SPEC_CLAIMS, Profile.RFC9783, algorithm=CoseAlgorithm.ES256, sign_hash=sign_hash))
    verify_sign1(token.message, key.public_key())
    assert token.claims == SPEC_CLAIMS
