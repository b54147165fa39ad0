"""A TPM's evidence: genuine bytes, and whatever a forger may make of them."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.evidence import (
    AuthenticationError,
    ChallengeError,
    DigestAlgorithm,
    Event,
    EvidenceError,
    KeyAttributesError,
    KeyNameError,
    MalformedError,
    NotGeneratedError,
    PcrDigestError,
    PcrValueError,
    TpmEvidence,
    UntrustedKeyError,
    WrongEvidenceError,
    read_event_log,
    read_tpm_evidence,
    replay,
    verify_certified_key,
    verify_quote,
    write_event_log,
    write_tpm_evidence,
)
from edgeroot.evidence.tpm_attest import Attest, Certified, Clock, EcdsaSignature, PcrSelection, Quoted, pcr_digest
from edgeroot.evidence.tpm_structures import Alg, Curve, EccPublic, ObjectFlags, Public, RsaPublic, Scheme

# Made by tpm2-tools 5.4 on swtpm 0.7.1: tpm2_createprimary (a restricted signing key of the endorsement hierarchy),
# tpm2_pcrextend, tpm2_quote, tpm2_certify.
KEY = bytes.fromhex(
    "0023000b00050472000000100018000b000300100020d2c01654eac05dc5402c83e5e2be817bad541ff6a674a1d3eac2b31f2e63563a"
    "00207063b245b1d69b98c6083baa8bfc5e38b092ba0cd4b74a08e4ac49ef65a38b71"
)
NAME = bytes.fromhex("000b8f1cbe31bb7251f7ab4eaae35d5c7ec6afb9d7a35060a72020513d59df567c77")
QUALIFYING = bytes(range(32))
INDICES = (0, 4, 7, 16)
ZEROS = bytes(32)
MEASURED = [sha256(b"measured").digest(), sha256(b"again").digest()]
PCR_4 = sha256(sha256(ZEROS + MEASURED[0]).digest() + MEASURED[1]).digest()
QUOTE = TpmEvidence(
    attest=bytes.fromhex(
        "ff54434780180022000bd2888628627c8d51e427f4525ee038714eea468290d0ece31c7c0724ec69ad230020000102030405060708090a"
        "0b0c0d0e0f101112131415161718191a1b1c1d1e1f0000000000000432000000010000000001201910230016363600000001000b039100"
        "0100209d5285a4747b15512aaefc2083a08ebe86b6683cf2e39334d785b27a96dc2392"
    ),
    signature=bytes.fromhex(
        "0018000b00205a7ae7c36db200bdef7869df5123e1dc3f320cec1ac1616b37de06620c3d04880020a62d926c1b76f5cfdf931137c6384a"
        "441cb4d7dc424cf36461ae4fb4ff5993ca"
    ),
    attestation_key=KEY,
    pcrs=(ZEROS, PCR_4, ZEROS, ZEROS),
)
CERTIFIED = TpmEvidence(
    attest=bytes.fromhex(
        "ff54434780170022000bd2888628627c8d51e427f4525ee038714eea468290d0ece31c7c0724ec69ad23000400ff55aa00000000000004"
        "8400000001000000000120191023001636360022000b914e738a6907c7df99173ae7ed6b630c37346c37dd5b31355de65351d470fded00"
        "22000b41130c12b063201f959b4702cdd063d623cf8db379050e1f9a6a072271d6c877"
    ),
    signature=bytes.fromhex(
        "0018000b0020f4cdea6d3b4d0da0732954cf02942f2171b7e8fdc41ff34d028a8c642d3ab5cf0020c9c557ae5d9bc95d9632cd1a8ceb88"
        "e35e73e314b0296935413e66e8f13e48ef"
    ),
    attestation_key=KEY,
    public=bytes.fromhex(
        "0023000b00040072000000100018000b0003001000201f9686874332ada770a8e4225bcd1cdb4f1edbc198da47d42bd8dce4c80dc62200"
        "20c55229093a7152142f1208dbd68d3bf96ffd2c2ef790caab07ad06f97948dad6"
    ),
)
TPM2_TOOLS_DEFAULT = bytes.fromhex("00ff55aa")

FORGER = ec.derive_private_key(4711, ec.SECP256R1())
FORGERS_POINT = FORGER.public_key().public_numbers()
FORGERS_DETAIL = EccPublic(
    Curve.NIST_P256, Scheme(Alg.ECDSA, Alg.SHA256), x=FORGERS_POINT.x.to_bytes(32), y=FORGERS_POINT.y.to_bytes(32)
)
FORGERS_KEY = Public(
    FORGERS_DETAIL,
    ObjectFlags.FIXED_TPM
    | ObjectFlags.FIXED_PARENT
    | ObjectFlags.SENSITIVE_DATA_ORIGIN
    | ObjectFlags.USER_WITH_AUTH
    | ObjectFlags.RESTRICTED
    | ObjectFlags.SIGN,
)


def signed(attest: bytes) -> bytes:
    r, s = decode_dss_signature(FORGER.sign(attest, ec.ECDSA(SHA256())))
    return bytes(EcdsaSignature(Alg.SHA256, r.to_bytes(32), s.to_bytes(32)))


def forged(evidence: TpmEvidence, attest: bytes, key: Public = FORGERS_KEY) -> TpmEvidence:
    """Evidence as a key in software signs it, which pretends to be a TPM's."""
    return replace(evidence, attest=attest, signature=signed(attest), attestation_key=bytes(key))


def quote_refused(
    error: type[EvidenceError],
    evidence: TpmEvidence = QUOTE,
    *,
    name: bytes = NAME,
    qualifying_data: bytes = QUALIFYING,
    expected: dict[int, bytes] | None = None,
) -> EvidenceError:
    with pytest.raises(EvidenceError) as raised:
        verify_quote(evidence, trusted_name=name, qualifying_data=qualifying_data, expected=expected or {})
    assert type(raised.value) is error
    return raised.value


def test_a_genuine_quote() -> None:
    quote = verify_quote(QUOTE, trusted_name=NAME, qualifying_data=QUALIFYING, expected={0: ZEROS, 4: PCR_4})
    assert quote.bank == Alg.SHA256
    assert quote.pcrs == dict(zip(INDICES, QUOTE.pcrs, strict=True))
    assert quote.clock == Clock(clock_ms=0x432, reset_count=1, restart_count=0, safe=True)
    assert quote.firmware_version == 0x2019102300163636


def test_a_genuine_certified_key() -> None:
    key = verify_certified_key(CERTIFIED, trusted_name=NAME, qualifying_data=TPM2_TOOLS_DEFAULT)
    assert key.public == Public.from_bytes(CERTIFIED.public)
    assert key.name == key.public.name


def test_expected_values_may_come_from_an_event_log() -> None:
    algorithm = DigestAlgorithm.SHA256
    events = [Event(4, 1, ((algorithm, digest),), b"stage") for digest in MEASURED]
    log = write_event_log([*events, Event(4, 3, ((algorithm, ZEROS),), b"no action")], algorithms=[algorithm])
    expected = replay(read_event_log(log), algorithm)
    assert expected == {4: PCR_4}
    verify_quote(QUOTE, trusted_name=NAME, qualifying_data=QUALIFYING, expected=expected)
    wrong = replay(events[::-1], algorithm)
    error = quote_refused(PcrValueError, expected=dict(wrong))
    assert isinstance(error, PcrValueError)
    assert error.index == 4


def test_pcrs_begin_as_the_platform_says() -> None:
    locality = Event(0, 3, (), b"StartupLocality\0\x03")
    digest = ((int(Alg.SHA256), MEASURED[0]),)
    values = replay([locality, Event(0, 1, digest), Event(17, 1, digest)], Alg.SHA256)
    assert values[0] == sha256(ZEROS[1:] + b"\x03" + MEASURED[0]).digest()
    assert values[17] == sha256(b"\xff" * 32 + MEASURED[0]).digest()
    for bank in (Alg.SHA384, 0x9999):
        with pytest.raises(MalformedError):
            replay([Event(0, 1, digest)], bank)


def test_another_challenge_or_another_caller_is_refused() -> None:
    quote_refused(ChallengeError, qualifying_data=QUALIFYING[::-1])
    quote_refused(ChallengeError, qualifying_data=b"")
    with pytest.raises(ChallengeError):
        verify_certified_key(CERTIFIED, trusted_name=NAME, qualifying_data=QUALIFYING)


@pytest.mark.parametrize(
    "expected", [{4: ZEROS}, {1: ZEROS}, {0: b""}, {7: ZEROS[1:]}], ids=["changed", "not quoted", "empty", "short"]
)
def test_another_value_of_a_pcr_is_refused(expected: dict[int, bytes]) -> None:
    error = quote_refused(PcrValueError, expected=expected)
    assert isinstance(error, PcrValueError)
    assert error.index in expected


@pytest.mark.parametrize(
    "pcrs",
    [(), (ZEROS, ZEROS, ZEROS, ZEROS), QUOTE.pcrs[:3], (*QUOTE.pcrs, b""), (b"".join(QUOTE.pcrs), b"", b"", b"")],
    ids=["none", "others", "too few", "too many", "in one"],
)
def test_values_that_were_not_quoted_are_refused(pcrs: tuple[bytes, ...]) -> None:
    quote_refused(PcrDigestError, replace(QUOTE, pcrs=pcrs))


def test_the_one_is_not_taken_for_the_other() -> None:
    quote_refused(WrongEvidenceError, CERTIFIED, qualifying_data=TPM2_TOOLS_DEFAULT)
    with pytest.raises(WrongEvidenceError):
        verify_certified_key(QUOTE, trusted_name=NAME, qualifying_data=QUALIFYING)


def test_only_the_trusted_key_attests() -> None:
    mine = forged(QUOTE, QUOTE.attest)
    quote_refused(UntrustedKeyError, mine)
    verify_quote(mine, trusted_name=FORGERS_KEY.name, qualifying_data=QUALIFYING, expected={})
    quote_refused(AuthenticationError, replace(mine, attestation_key=KEY))
    quote_refused(AuthenticationError, replace(QUOTE, signature=CERTIFIED.signature))


@pytest.mark.parametrize("position", range(0, len(QUOTE.attest), 7))
def test_a_changed_statement_is_refused(position: int) -> None:
    attest = bytearray(QUOTE.attest)
    attest[position] ^= 1
    quote_refused(AuthenticationError, replace(QUOTE, attest=bytes(attest)))


def test_what_no_tpm_has_made_is_refused() -> None:
    attest = b"\xff\x54\x43\x48" + QUOTE.attest[4:]
    quote_refused(NotGeneratedError, forged(QUOTE, attest), name=FORGERS_KEY.name)


@pytest.mark.parametrize(
    "key",
    [
        replace(FORGERS_KEY, flags=FORGERS_KEY.flags & ~ObjectFlags.RESTRICTED),
        replace(FORGERS_KEY, flags=FORGERS_KEY.flags & ~ObjectFlags.FIXED_TPM),
        replace(FORGERS_KEY, flags=FORGERS_KEY.flags & ~ObjectFlags.SENSITIVE_DATA_ORIGIN),
        replace(FORGERS_KEY, flags=FORGERS_KEY.flags | ObjectFlags.DECRYPT),
        replace(FORGERS_KEY, detail=replace(FORGERS_DETAIL, scheme=Scheme())),
        replace(FORGERS_KEY, detail=replace(FORGERS_DETAIL, curve=Curve.NIST_P384)),
        replace(FORGERS_KEY, detail=RsaPublic(2048)),
    ],
    ids=["unrestricted", "elsewhere", "from outside", "decrypts", "any scheme", "P-384", "RSA"],
)
def test_a_key_that_cannot_attest_is_not_trusted(key: Public) -> None:
    quote_refused(UntrustedKeyError, forged(QUOTE, QUOTE.attest, key), name=key.name)


def test_a_key_off_the_curve_is_malformed() -> None:
    key = replace(FORGERS_KEY, detail=replace(FORGERS_DETAIL, x=b"\x01"))
    quote_refused(MalformedError, forged(QUOTE, QUOTE.attest, key), name=key.name)


@pytest.mark.parametrize(
    ("position", "value"), [(4, b"\x80\x19"), (92, b"\2"), (104, b"\2"), (107, b"\0"), (107, b"\5"), (105, b"\x99")]
)
def test_statements_that_are_not_understood_are_malformed(position: int, value: bytes) -> None:
    attest = QUOTE.attest[:position] + value + QUOTE.attest[position + len(value) :]
    assert attest != QUOTE.attest
    quote_refused(MalformedError, forged(QUOTE, attest), name=FORGERS_KEY.name)


def test_a_signature_by_another_scheme_is_refused() -> None:
    for change in (b"\x00\x14\x00\x0b", b"\x00\x18"):
        quote_refused(MalformedError, replace(QUOTE, signature=change + QUOTE.signature[4:]))
    quote_refused(AuthenticationError, replace(QUOTE, signature=b"\x00\x18\x00\x0c" + QUOTE.signature[4:]))
    quote_refused(MalformedError, replace(QUOTE, signature=QUOTE.signature + b"\0"))
    nothing = EcdsaSignature(Alg.SHA256, b"", b"")
    quote_refused(AuthenticationError, replace(QUOTE, signature=bytes(nothing)))


def test_another_public_area_is_refused() -> None:
    for public, error in ((KEY, KeyNameError), (b"", MalformedError), (CERTIFIED.public[:-1], MalformedError)):
        with pytest.raises(error):
            verify_certified_key(
                replace(CERTIFIED, public=public), trusted_name=NAME, qualifying_data=TPM2_TOOLS_DEFAULT
            )


def test_a_key_that_may_be_elsewhere_is_refused_unless_that_is_enough() -> None:
    imported = replace(Public.from_bytes(CERTIFIED.public), flags=ObjectFlags.SIGN)
    attest = Attest.from_bytes(CERTIFIED.attest)
    evidence = forged(CERTIFIED, bytes(replace(attest, attested=Certified(imported.name, b""))))
    evidence = replace(evidence, public=bytes(imported))
    name = FORGERS_KEY.name
    with pytest.raises(KeyAttributesError):
        verify_certified_key(evidence, trusted_name=name, qualifying_data=TPM2_TOOLS_DEFAULT)
    key = verify_certified_key(
        evidence, trusted_name=name, qualifying_data=TPM2_TOOLS_DEFAULT, required=ObjectFlags.SIGN
    )
    assert key.public == imported


DATA = st.binary(max_size=66)
ATTESTED = st.one_of(
    st.builds(Quoted, st.builds(PcrSelection.of, st.sampled_from([4, 11, 12]), st.sets(st.integers(0, 23))), DATA),
    st.builds(Certified, DATA, DATA),
)
CLOCKS = st.builds(
    Clock,
    clock_ms=st.integers(0, 2**64 - 1),
    reset_count=st.integers(0, 2**32 - 1),
    restart_count=st.integers(0, 2**32 - 1),
    safe=st.booleans(),
)
ATTESTS = st.builds(
    Attest,
    signer=DATA,
    extra_data=DATA,
    clock=CLOCKS,
    firmware_version=st.integers(0, 2**64 - 1),
    attested=ATTESTED,
)


@given(ATTESTS, st.data())
def test_statements_survive_the_round_trip_whole_or_not_at_all(attest: Attest, data: st.DataObject) -> None:
    whole = bytes(attest)
    assert Attest.from_bytes(whole) == attest
    for malformed in (whole[: data.draw(st.integers(0, len(whole) - 1))], whole + b"\0"):
        with pytest.raises(MalformedError):
            Attest.from_bytes(malformed)


def test_genuine_statements_survive_the_round_trip() -> None:
    for evidence in (QUOTE, CERTIFIED):
        assert bytes(Attest.from_bytes(evidence.attest)) == evidence.attest
        assert bytes(EcdsaSignature.from_bytes(evidence.signature)) == evidence.signature
        assert read_tpm_evidence(write_tpm_evidence(evidence)) == evidence


@given(st.sets(st.integers(0, 23)))
def test_selections(indices: set[int]) -> None:
    assert PcrSelection.of(Alg.SHA256, indices).indices == tuple(sorted(indices))


@given(st.binary(max_size=300))
def test_of_any_bytes_nothing_but_errors_of_evidence_come(data: bytes) -> None:
    for read in (Attest.from_bytes, EcdsaSignature.from_bytes, read_tpm_evidence):
        with pytest.raises(EvidenceError):
            read(data)


@given(st.binary(max_size=120), st.binary(max_size=120), st.binary(max_size=120))
def test_any_evidence_is_refused_with_an_error_of_evidence(attest: bytes, signature: bytes, key: bytes) -> None:
    for some in (
        replace(QUOTE, attest=attest),
        replace(QUOTE, signature=signature),
        replace(QUOTE, attestation_key=key),
        forged(QUOTE, attest),
    ):
        with pytest.raises(EvidenceError):
            verify_quote(some, trusted_name=FORGERS_KEY.name, qualifying_data=QUALIFYING, expected={})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xd2\x84",
        write_tpm_evidence(QUOTE) + b"\0",
        write_tpm_evidence(QUOTE).replace(b"attest", b"attesT", 1),
        write_tpm_evidence(QUOTE).replace(b"dpcrs", b"dpcrt", 1),
        b"\xa3fattest\x40isignature\x40oattestation_key\x60",
        b"\xa4fattest\x40isignature\x40oattestation_key\x40dpcrs\x81\x01",
        b"\xa4fattest\x40isignature\x40oattestation_key\x40dpcrs\x40",
    ],
)
def test_malformed_evidence(data: bytes) -> None:
    with pytest.raises(MalformedError):
        read_tpm_evidence(data)


def test_the_digest_of_pcrs_is_that_of_the_signing_scheme() -> None:
    assert pcr_digest(QUOTE.pcrs, Alg.SHA256) == sha256(b"".join(QUOTE.pcrs)).digest()
    with pytest.raises(MalformedError):
        pcr_digest(QUOTE.pcrs, Alg.NULL)
