"""The PSA attestation token: a map of claims with integer labels, inside a COSE_Sign1 or COSE_Mac0.

Two encodings of the same claims: RFC 9783 (profile ``tag:psacertified.org,2023:psa#tfm``), and the labels from -75000
downwards of PSA_IOT_PROFILE_1, which Trusted Services still writes. The order in which Trusted Services writes them is
kept, so that its tokens and ours differ only in their values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from edgeroot.evidence.cbor import decode, encode
from edgeroot.evidence.cose import CoseAlgorithm, CoseMessage, MacKey, mac0, read_cose, sign1
from edgeroot.evidence.errors import EvidenceError
from edgeroot.evidence.psa_claims import Profile, PsaClaims, SoftwareComponent, check_claims

_Value = TypeVar("_Value", bytes, str, int)
_NOTHING: Final[Mapping[int, object]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Labels:
    """The labels of a profile's claims, in the order of writing."""

    nonce: int
    client_id: int
    boot_seed: int
    lifecycle: int
    instance_id: int
    implementation_id: int
    certification_reference: int
    software_components: int
    verification_service: int
    profile: int


_LEGACY: Final = _Labels(
    nonce=-75008,
    client_id=-75001,
    boot_seed=-75004,
    lifecycle=-75002,
    instance_id=-75009,
    implementation_id=-75003,
    certification_reference=-75005,
    software_components=-75006,
    verification_service=-75010,
    profile=-75000,
)
_NO_SOFTWARE_MEASUREMENTS: Final = -75007
_RFC9783: Final = _Labels(
    nonce=10,
    client_id=2394,
    boot_seed=268,
    lifecycle=2395,
    instance_id=256,
    implementation_id=2396,
    certification_reference=2398,
    software_components=2399,
    verification_service=2400,
    profile=265,
)
_LABELS: Final = {Profile.LEGACY: _LEGACY, Profile.RFC9783: _RFC9783}
# By the names under which the same rules travel: the second was the draft's, and devices still send it.
_RFC9783_NAMES: Final = {
    Profile.RFC9783.value: _RFC9783,
    "http://arm.com/psa/2.0.0": replace(_RFC9783, boot_seed=2397),
}

_TYPE, _MEASUREMENT, _VERSION, _SIGNER_ID, _DESCRIPTION = 1, 2, 4, 5, 6


@dataclass(frozen=True, slots=True)
class PsaToken:
    """A token that was read. Its claims are worth what ``message`` is: verify that first."""

    message: CoseMessage
    profile: Profile
    claims: PsaClaims


def write_token(
    claims: PsaClaims,
    profile: Profile,
    *,
    algorithm: CoseAlgorithm,
    sign_hash: Callable[[bytes], bytes],
    further: Mapping[int, object] = _NOTHING,
) -> bytes:
    """A token as COSE_Sign1; ``sign_hash`` as for :func:`edgeroot.evidence.cose.sign1`.

    ``further`` are claims, by label, that the profile does not know.
    """
    return sign1(encode_claims(claims, profile, further), algorithm=algorithm, sign_hash=sign_hash)


def write_mac_token(claims: PsaClaims, profile: Profile, key: MacKey) -> bytes:
    """A token as COSE_Mac0. RFC 9783, clause 5.2, recommends it for none but the most constrained devices."""
    return mac0(encode_claims(claims, profile), key)


def read_token(data: bytes) -> PsaToken:
    """A token of either profile; EvidenceError if its structure or a claim is wrong. Verifies no signature."""
    message = read_cose(data)
    profile, claims = decode_claims(message.payload)
    return PsaToken(message, profile, claims)


def encode_claims(claims: PsaClaims, profile: Profile, further: Mapping[int, object] = _NOTHING) -> bytes:
    """The claims as the profile's map, and further ones; EvidenceError for values that the profile does not allow."""
    check_claims(claims, profile)
    labels = _LABELS[profile]
    entries: dict[int, object] = {
        labels.nonce: claims.nonce,
        labels.client_id: claims.client_id,
        labels.boot_seed: claims.boot_seed,
        labels.lifecycle: claims.lifecycle,
        labels.instance_id: claims.instance_id,
        labels.implementation_id: claims.implementation_id,
        labels.certification_reference: claims.certification_reference,
        labels.software_components: [_encode_component(component) for component in claims.software_components] or None,
        labels.verification_service: claims.verification_service,
    }
    if profile is Profile.RFC9783:
        entries[labels.profile] = profile.value
    elif not claims.software_components:
        entries[_NO_SOFTWARE_MEASUREMENTS] = 1
    return encode(_without_none({**entries, **further}))


def _encode_component(component: SoftwareComponent) -> dict[int, object]:
    return _without_none(
        {
            _TYPE: component.measurement_type,
            _MEASUREMENT: component.measurement,
            _VERSION: component.version,
            _SIGNER_ID: component.signer_id,
            _DESCRIPTION: component.measurement_description,
        }
    )


def _without_none(entries: Mapping[int, object]) -> dict[int, object]:
    return {label: value for label, value in entries.items() if value is not None}


def decode_claims(payload: bytes) -> tuple[Profile, PsaClaims]:
    """The claims of a token's payload, and which profile they follow. Claims that the profile does not know are passed
    over.
    """
    entries = decode(payload, "the token")
    if not isinstance(entries, Mapping):
        raise EvidenceError("the token's payload is not a map")
    if any(not isinstance(label, int | str) or isinstance(label, bool) for label in entries):
        raise EvidenceError("the token has a claim whose label is neither integer nor text")
    profile, labels = _profile(entries)
    claims = PsaClaims(
        nonce=_mandatory(entries, labels.nonce, bytes),
        instance_id=_mandatory(entries, labels.instance_id, bytes),
        client_id=_mandatory(entries, labels.client_id, int),
        lifecycle=_mandatory(entries, labels.lifecycle, int),
        implementation_id=_mandatory(entries, labels.implementation_id, bytes),
        boot_seed=_optional(entries, labels.boot_seed, bytes),
        software_components=_components(entries, labels.software_components, profile),
        certification_reference=_optional(entries, labels.certification_reference, str),
        verification_service=_optional(entries, labels.verification_service, str),
    )
    check_claims(claims, profile)
    return profile, claims


def _profile(entries: Mapping[object, object]) -> tuple[Profile, _Labels]:
    name, legacy_name = (_optional(entries, labels.profile, str) for labels in (_RFC9783, _LEGACY))
    if name is not None and legacy_name is not None:
        raise EvidenceError("the token claims two profiles")
    if name is not None:
        if name not in _RFC9783_NAMES:
            raise EvidenceError(f"the token's profile {name!r} is unknown")
        return Profile.RFC9783, _RFC9783_NAMES[name]
    if legacy_name not in (None, Profile.LEGACY.value):
        raise EvidenceError(f"the token's profile {legacy_name!r} is unknown")
    # Trusted Services names no profile: its labels speak for themselves.
    if legacy_name is None and _LEGACY.nonce not in entries:
        raise EvidenceError("the token names no profile")
    return Profile.LEGACY, _LEGACY


def _components(entries: Mapping[object, object], label: int, profile: Profile) -> tuple[SoftwareComponent, ...]:
    value = entries.get(label)
    if profile is Profile.LEGACY:
        without = _optional(entries, _NO_SOFTWARE_MEASUREMENTS, int)
        if (value is None) != (without == 1):
            raise EvidenceError("the token must have either software components or the word that there are none")
        if value is None:
            return ()
    if not isinstance(value, list | tuple) or not value:
        raise EvidenceError(f"claim {label} is not an array of software components")
    return tuple(_component(component) for component in value)


def _component(entries: object) -> SoftwareComponent:
    if not isinstance(entries, Mapping):
        raise EvidenceError("a software component is not a map")
    return SoftwareComponent(
        measurement=_mandatory(entries, _MEASUREMENT, bytes),
        signer_id=_optional(entries, _SIGNER_ID, bytes),
        measurement_type=_optional(entries, _TYPE, str),
        version=_optional(entries, _VERSION, str),
        measurement_description=_optional(entries, _DESCRIPTION, str),
    )


def _mandatory(entries: Mapping[object, object], label: int, kind: type[_Value]) -> _Value:
    value = _optional(entries, label, kind)
    if value is None:
        raise EvidenceError(f"claim {label} is missing")
    return value


def _optional(entries: Mapping[object, object], label: int, kind: type[_Value]) -> _Value | None:
    if label not in entries:
        return None
    value = entries[label]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise EvidenceError(f"claim {label} is {type(value).__name__}, not {kind.__name__}")
    return value
