"""Evidence from a TPM 2.0: a quote of the PCRs, or a certified key, signed by an attestation key; and its verification.

A piece of evidence is a CBOR map (RFC 8949) with text keys: ``attest`` (TPMS_ATTEST), ``signature`` (TPMT_SIGNATURE),
``attestation_key`` (TPMT_PUBLIC) and, if the TPM has one, ``endorsement_certificate`` (X.509 in DER, as it is in the
TPM); with a quote ``pcrs``, the values of the quoted PCRs in ascending order, with a certified key ``public``, its
TPMT_PUBLIC. All are byte strings, ``pcrs`` an array of them. ``event_log``, with a quote, is what the boot says to have
measured, in the format of :mod:`edgeroot.evidence.event_log`; whoever carries the evidence may add it.

Nothing in it but ``attest`` is signed: all else is there to be checked against that. It is worth what the attestation
key is, so a verifier says which one it trusts, by its name. That the key is in the same TPM as an endorsement key shows
TPM2_MakeCredential and TPM2_ActivateCredential, when the device is enrolled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from edgeroot.evidence.cbor import decode, encode
from edgeroot.evidence.errors import AuthenticationError, EvidenceError
from edgeroot.evidence.tpm_attest import Attest, Certified, Clock, EcdsaSignature, Quoted, digest_bytes, pcr_digest
from edgeroot.evidence.tpm_structures import (
    BORN_HERE,
    Alg,
    Curve,
    EccPublic,
    MalformedError,
    ObjectFlags,
    Public,
    Scheme,
)

_COORDINATE_BYTES: Final = 32
_KEYS: Final = frozenset(
    {"attest", "signature", "attestation_key", "endorsement_certificate", "pcrs", "public", "event_log"}
)


class UntrustedKeyError(EvidenceError):
    """The attestation key is not the one that is trusted, or it is none: unrestricted keys sign forgeries as well."""


class WrongEvidenceError(EvidenceError):
    """It is a quote where a certified key is wanted, or the other way round."""


class ChallengeError(EvidenceError):
    """It was made for another challenge, or for somebody else."""


class PcrDigestError(EvidenceError):
    """The values of the PCRs that go with the quote are not those that were quoted."""


class PcrValueError(EvidenceError):
    """A PCR has not the expected value, or was not quoted: ``index`` says which."""

    def __init__(self, index: int, detail: str) -> None:
        super().__init__(f"PCR {index} {detail}")
        self.index: Final = index


class KeyNameError(EvidenceError):
    """The public area that goes with the evidence is not that of the certified key."""


class KeyAttributesError(EvidenceError):
    """The certified key may also be elsewhere: it lacks an attribute that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmEvidence:
    """Evidence as it was read, and nothing of it verified."""

    attest: bytes
    signature: bytes
    attestation_key: bytes
    endorsement_certificate: bytes = b""
    pcrs: tuple[bytes, ...] = ()
    public: bytes = b""
    event_log: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedQuote:
    """What a TPM has said of its PCRs: ``bank`` is their hash algorithm's number (TPM_ALG_ID)."""

    bank: int
    pcrs: Mapping[int, bytes]
    clock: Clock
    firmware_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedKey:
    """A key that is loaded in the TPM; what its attributes promise holds."""

    name: bytes
    public: Public
    clock: Clock
    firmware_version: int


def write_tpm_evidence(evidence: TpmEvidence) -> bytes:
    entries: dict[str, object] = {
        "attest": evidence.attest,
        "signature": evidence.signature,
        "attestation_key": evidence.attestation_key,
    }
    if evidence.endorsement_certificate:
        entries["endorsement_certificate"] = evidence.endorsement_certificate
    if evidence.pcrs:
        entries["pcrs"] = list(evidence.pcrs)
    if evidence.public:
        entries["public"] = evidence.public
    if evidence.event_log:
        entries["event_log"] = evidence.event_log
    return encode(entries)


def read_tpm_evidence(data: bytes) -> TpmEvidence:
    """MalformedError for anything but the map above. Verifies nothing."""
    try:
        entries = decode(data, "the evidence")
    except EvidenceError as error:
        raise MalformedError(str(error)) from error
    if not isinstance(entries, Mapping) or not entries.keys() <= _KEYS:
        raise MalformedError("the evidence is not a map of what a TPM's evidence has")
    pcrs = entries.get("pcrs", ())
    if not isinstance(pcrs, list | tuple) or not all(isinstance(value, bytes) for value in pcrs):
        raise MalformedError("pcrs is not an array of byte strings")
    return TpmEvidence(
        attest=_bytes(entries, "attest"),
        signature=_bytes(entries, "signature"),
        attestation_key=_bytes(entries, "attestation_key"),
        endorsement_certificate=_bytes(entries, "endorsement_certificate", default=b""),
        pcrs=tuple(pcrs),
        public=_bytes(entries, "public", default=b""),
        event_log=_bytes(entries, "event_log", default=b""),
    )


def _bytes(entries: Mapping[object, object], key: str, default: bytes | None = None) -> bytes:
    value = entries.get(key, default)
    if not isinstance(value, bytes):
        raise MalformedError(f"{key} is not a byte string")
    return value


def verify_quote(
    evidence: TpmEvidence, *, trusted_name: bytes, qualifying_data: bytes, expected: Mapping[int, bytes]
) -> VerifiedQuote:
    """Verify a quote by the attestation key with this name (Part 1, clause 16).

    ``qualifying_data`` is what :func:`edgeroot.psa.bound_challenge` makes of the verifier's challenge and of who is to
    have asked. ``expected`` has the values of PCRs by their index, as a list of reference values says them or as
    :func:`edgeroot.evidence.replay` gets them from an event log; whatever else was quoted is not looked at.

    MalformedError, UntrustedKeyError, AuthenticationError, NotGeneratedError, WrongEvidenceError, ChallengeError,
    PcrDigestError, PcrValueError.
    """
    attest = _verified(evidence, trusted_name, qualifying_data)
    quoted = attest.attested
    if not isinstance(quoted, Quoted):
        raise WrongEvidenceError("the evidence is not a quote")
    selection, width = quoted.selection, digest_bytes(quoted.selection.bank)
    indices = selection.indices
    widths = [len(value) for value in evidence.pcrs]
    if widths != [width] * len(indices) or pcr_digest(evidence.pcrs, Alg.SHA256) != quoted.pcr_digest:
        raise PcrDigestError("the values of the PCRs are not those that were quoted")
    pcrs = dict(zip(indices, evidence.pcrs, strict=True))
    for index, value in sorted(expected.items()):
        if index not in pcrs:
            raise PcrValueError(index, "was not quoted")
        if pcrs[index] != value:
            raise PcrValueError(index, f"is {pcrs[index].hex()}, not {value.hex()}")
    return VerifiedQuote(bank=selection.bank, pcrs=pcrs, clock=attest.clock, firmware_version=attest.firmware_version)


def verify_certified_key(
    evidence: TpmEvidence, *, trusted_name: bytes, qualifying_data: bytes, required: ObjectFlags = BORN_HERE
) -> VerifiedKey:
    """Verify that a key is in the TPM of the attestation key with this name; parameters as of :func:`verify_quote`.

    ``required`` are the attributes that the key must have.

    MalformedError, UntrustedKeyError, AuthenticationError, NotGeneratedError, WrongEvidenceError, ChallengeError,
    KeyNameError, KeyAttributesError.
    """
    attest = _verified(evidence, trusted_name, qualifying_data)
    certified = attest.attested
    if not isinstance(certified, Certified):
        raise WrongEvidenceError("the evidence is not of a certified key")
    public = Public.from_bytes(evidence.public)
    if public.name != certified.name:
        raise KeyNameError("the public area is not that of the certified key")
    missing = required & ~public.flags
    if missing:
        raise KeyAttributesError(f"the certified key lacks {missing!r}")
    return VerifiedKey(name=certified.name, public=public, clock=attest.clock, firmware_version=attest.firmware_version)


def attestation_public_key(evidence: TpmEvidence) -> ec.EllipticCurvePublicKey:
    """The key that evidence says it is signed with. MalformedError; UntrustedKeyError for one that is no such key."""
    return _verifying_key(Public.from_bytes(evidence.attestation_key))


def _verified(evidence: TpmEvidence, trusted_name: bytes, qualifying_data: bytes) -> Attest:
    key = Public.from_bytes(evidence.attestation_key)
    if key.name != trusted_name:
        raise UntrustedKeyError("the attestation key is not the trusted one")
    signature = EcdsaSignature.from_bytes(evidence.signature)
    if signature.hash_algorithm != Alg.SHA256:
        raise AuthenticationError("the signature is not by ECDSA with SHA-256")
    r, s = int.from_bytes(signature.r), int.from_bytes(signature.s)
    try:
        _verifying_key(key).verify(encode_dss_signature(r, s), evidence.attest, ec.ECDSA(SHA256()))
    except InvalidSignature as error:
        raise AuthenticationError("the signature is not the attestation key's") from error
    attest = Attest.from_bytes(evidence.attest)
    if attest.extra_data != qualifying_data:
        raise ChallengeError("the evidence was made for another challenge, or for somebody else")
    return attest


def _verifying_key(key: Public) -> ec.EllipticCurvePublicKey:
    """A restricted signing key of P-256 that signs by ECDSA with SHA-256, and does nothing else."""
    detail, needed = key.detail, BORN_HERE | ObjectFlags.RESTRICTED | ObjectFlags.SIGN
    if (
        key.flags & (needed | ObjectFlags.DECRYPT) != needed
        or not isinstance(detail, EccPublic)
        or (detail.curve, detail.scheme) != (Curve.NIST_P256, Scheme(Alg.ECDSA, Alg.SHA256))
    ):
        raise UntrustedKeyError("the attestation key is not a restricted signing key for ECDSA on P-256 with SHA-256")
    point = b"\x04" + b"".join(number.rjust(_COORDINATE_BYTES, b"\0") for number in (detail.x, detail.y))
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as error:
        raise MalformedError("the attestation key is no point of P-256") from error
