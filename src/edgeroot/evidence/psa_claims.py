"""What a PSA attestation token says, whichever of its two encodings it has."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from edgeroot.evidence.errors import EvidenceError
from edgeroot.psa import CHALLENGE_SIZES_BYTES, Lifecycle

_HASH_SIZES_BYTES: Final = (32, 48, 64)
INSTANCE_ID_BYTES: Final = 33
# The type of a UEID that is a random or hashed value (RFC 9711, clause 4.2.1).
UEID_RAND: Final = b"\x01"
_CLIENT_ID_LIMIT: Final = 1 << 31
_REFERENCE: Final = re.compile(r"[0-9]{13}-[0-9]{5}", re.ASCII)
_LEGACY_REFERENCE: Final = re.compile(r"[0-9]{13}(-[0-9]{5})?", re.ASCII)


class Profile(Enum):
    """Which labels and rules a token follows.

    LEGACY is PSA_IOT_PROFILE_1 as deployed: Trusted Services names no profile, calls its implementation by a string and
    gives no signers, and Linux is its client 0. So of these the reader demands only the types.
    """

    LEGACY = "PSA_IOT_PROFILE_1"
    RFC9783 = "tag:psacertified.org,2023:psa#tfm"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareComponent:
    """One measured piece of software: its hash, and the hash of the key that signed it."""

    measurement: bytes
    signer_id: bytes | None = None
    measurement_type: str | None = None
    version: str | None = None
    measurement_description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PsaClaims:
    """The claims. Sizes in bytes: nonce 32, 48 or 64; instance id 33; implementation id 32 (legacy: any); boot seed
    8 to 32 (legacy: 32). ``client_id`` is negative for callers in the normal world (legacy Trusted Services: never).
    """

    nonce: bytes
    instance_id: bytes
    client_id: int
    lifecycle: int
    implementation_id: bytes
    boot_seed: bytes | None = None
    software_components: tuple[SoftwareComponent, ...] = field(default=())
    certification_reference: str | None = None
    verification_service: str | None = None


def check_claims(claims: PsaClaims, profile: Profile) -> None:
    """EvidenceError unless every value is one that the profile allows."""
    legacy = profile is Profile.LEGACY
    _demand(len(claims.nonce) in CHALLENGE_SIZES_BYTES, f"a nonce of {len(claims.nonce)} bytes")
    _demand(
        len(claims.instance_id) == INSTANCE_ID_BYTES and claims.instance_id.startswith(UEID_RAND),
        "an instance id that is not 01 and 32 bytes",
    )
    _demand(-_CLIENT_ID_LIMIT <= claims.client_id < _CLIENT_ID_LIMIT, "a client id beyond 32 bits")
    _demand(claims.client_id != 0 or legacy, "client id 0")
    _demand(claims.lifecycle & ~0xFF in set(Lifecycle), f"the lifecycle {claims.lifecycle:#x}")
    size = len(claims.implementation_id)
    _demand(size > 0 if legacy else size == 32, f"an implementation id of {size} bytes")
    if claims.boot_seed is not None:
        size = len(claims.boot_seed)
        _demand(size == 32 if legacy else 8 <= size <= 32, f"a boot seed of {size} bytes")
    elif legacy:
        raise EvidenceError("the token has no boot seed")
    if claims.certification_reference is not None:
        pattern = _LEGACY_REFERENCE if legacy else _REFERENCE
        _demand(pattern.fullmatch(claims.certification_reference) is not None, "a malformed certification reference")
    _demand(legacy or bool(claims.software_components), "no software components")
    for component in claims.software_components:
        _check_component(component, signed=not legacy)


def _check_component(component: SoftwareComponent, *, signed: bool) -> None:
    size = len(component.measurement)
    _demand(size in _HASH_SIZES_BYTES, f"a measurement of {size} bytes")
    if component.signer_id is None:
        _demand(not signed, "a software component without signer id")
    else:
        size = len(component.signer_id)
        _demand(size in _HASH_SIZES_BYTES, f"a signer id of {size} bytes")


def _demand(fulfilled: bool, otherwise: str) -> None:
    if not fulfilled:
        raise EvidenceError(f"the token has {otherwise}")
