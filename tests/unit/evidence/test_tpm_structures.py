from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tpm2_pytss.internal.templates import ek_rsa2048
from tpm2_pytss.types import TPMT_PUBLIC

from edgeroot.evidence.tpm_structures import (
    Alg,
    CipherPublic,
    Curve,
    EccPublic,
    KeyedHashPublic,
    MalformedError,
    ObjectFlags,
    Public,
    Reader,
    RsaPublic,
    Scheme,
    Symmetric,
    sized,
)
from edgeroot.providers.tpm.reference import PublicReference, SecretReference, parse_reference
from edgeroot.providers.tpm.templates import ENDORSEMENT_RSA, STORAGE_ECC, STORAGE_RSA
from edgeroot.psa import PsaStatus
from tests.vectors.keys import refused

DIGESTS = st.binary(max_size=64)
HASHES = st.sampled_from([Alg.SHA1, Alg.SHA256, Alg.SHA384, Alg.SHA512])
CIPHERS = st.one_of(st.just(Symmetric()), st.builds(Symmetric, st.sampled_from([128, 256]), st.just(Alg.CFB)))
ASYMMETRIC = st.sampled_from([Alg.RSASSA, Alg.RSAPSS, Alg.OAEP, Alg.ECDSA])
SCHEMES = st.one_of(st.sampled_from([Scheme(), Scheme(Alg.RSAES)]), st.builds(Scheme, ASYMMETRIC, HASHES))
DETAILS = st.one_of(
    st.builds(RsaPublic, st.sampled_from([1024, 2048]), SCHEMES, CIPHERS, st.integers(0, 2**32 - 1), DIGESTS),
    st.builds(EccPublic, st.sampled_from(Curve), SCHEMES, CIPHERS, DIGESTS, DIGESTS),
    st.builds(KeyedHashPublic, st.builds(Scheme, st.just(Alg.HMAC), HASHES), DIGESTS),
    st.builds(CipherPublic, st.builds(Symmetric, st.sampled_from([128, 256]), st.sampled_from([Alg.CTR])), DIGESTS),
)
PUBLICS = st.builds(Public, DETAILS, st.sampled_from([ObjectFlags.SIGN, ObjectFlags.DECRYPT]), DIGESTS, HASHES)


@given(PUBLICS)
def test_public_areas_survive_the_round_trip(public: Public) -> None:
    assert Public.from_bytes(bytes(public)) == public


@given(PUBLICS, st.data())
def test_a_public_area_that_is_too_short_or_too_long_is_none(public: Public, data: st.DataObject) -> None:
    whole = bytes(public)
    for malformed in (whole[: data.draw(st.integers(0, len(whole) - 1))], whole + b"\0"):
        with pytest.raises(MalformedError):
            Public.from_bytes(malformed)


@given(st.binary(max_size=200))
def test_of_any_bytes_nothing_but_malformed_comes(data: bytes) -> None:
    try:
        public = Public.from_bytes(data)
    except MalformedError:
        return
    assert bytes(public) == data


@pytest.mark.parametrize("public", [STORAGE_ECC, STORAGE_RSA, ENDORSEMENT_RSA])
def test_the_library_reads_the_templates_and_writes_the_same(public: Public) -> None:
    area, taken = TPMT_PUBLIC.unmarshal(bytes(public))
    assert taken == len(bytes(public))
    assert bytes(area.marshal()) == bytes(public)
    assert bytes(area.get_name()) == public.name


def test_the_endorsement_key_is_the_tcgs() -> None:
    assert bytes(ENDORSEMENT_RSA) == bytes(ek_rsa2048.template.publicArea.marshal())


def test_what_would_be_lost_on_the_way_is_refused() -> None:
    whole = bytes(Public(EccPublic(Curve.NIST_P256), ObjectFlags.SIGN))
    no_derivation = b"\x00\x03\x00\x10"
    assert no_derivation in whole
    for other in (b"\x00\x03\x00\x20\x00\x0b", b"\x00\x03\x00\x15"):
        with pytest.raises(MalformedError):
            Public.from_bytes(whole.replace(no_derivation, other))


def test_a_reader_takes_what_is_there_and_no_more() -> None:
    reader = Reader(b"\x00\x01" + b"\x00\x00\x00\x02" + sized(b"abc"))
    assert (reader.u16(), reader.u32(), reader.sized()) == (1, 2, b"abc")
    reader.end()
    for read in (reader.u16, reader.u32, reader.sized):
        with pytest.raises(MalformedError):
            read()


@given(st.binary(max_size=300), PUBLICS)
def test_references_survive_the_round_trip(private: bytes, public: Public) -> None:
    for reference in (SecretReference(private, public), PublicReference(private)):
        assert parse_reference(bytes(reference)) == reference


@pytest.mark.parametrize(
    "reference",
    [b"", b"\x01", b"\x02\x01", b"\x01\x03", b"\x01\x01", b"\x01\x01\x00\x01", b"\x01\x01\x00\x01a\x00\x02\x00\x01"],
)
def test_a_reference_that_is_not_the_providers(reference: bytes) -> None:
    with refused(PsaStatus.DATA_INVALID):
        parse_reference(reference)


def test_a_reference_does_not_show_what_is_private() -> None:
    assert "private" not in repr(SecretReference(b"private", STORAGE_ECC))
