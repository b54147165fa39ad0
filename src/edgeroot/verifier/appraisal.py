"""Judging a PSA token: every check in its order (RFC 9783, clause 7; RFC 9334), and in words why one fails.

Whatever fails up to the nonce makes the evidence worthless, and nothing else of it is looked at. Later checks each move
their own entry of the trustworthiness vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgeroot.evidence import (
    AuthenticationError,
    EvidenceError,
    Lifecycle,
    Profile,
    PsaClaims,
    PsaToken,
    SharedKey,
    may_state_key,
    read_key_statement,
    read_token,
    verify_mac0,
    verify_sign1,
)
from edgeroot.verifier.components import judge_components
from edgeroot.verifier.policy import Policy
from edgeroot.verifier.ports import Boot, Knowledge
from edgeroot.verifier.trust import APPROVED, CONTRAINDICATED, CRYPTOGRAPHY_FAILED, DOUBTED, UNRECOGNIZED
from edgeroot.verifier.verdict import Appraisal

_NONE: Final[Mapping[bytes, SharedKey]] = {}


def appraise(
    data: bytes,
    *,
    nonce: bytes,
    endorsements: Knowledge,
    policy: Policy,
    shared_keys: Mapping[bytes, SharedKey] = _NONE,
) -> Appraisal:
    """Judge a token that answers this nonce. Never raises for what is in it.

    ``shared_keys``, by instance id, are for tokens with an authentication code, which the policy has to accept. A token
    is checked by the one kind of key that its own kind takes.
    """
    verdict = Appraisal()
    token = _authentic(verdict, data, endorsements, policy, shared_keys)
    if token is None:
        return verdict
    if not verdict.note("nonce", token.claims.nonce == nonce, _fresh(token.claims.nonce == nonce)):
        return verdict
    if _implementation(token, endorsements, shared_keys) != token.claims.implementation_id:
        verdict.vector.instance_identity = UNRECOGNIZED
        verdict.note("implementation", False, "the device is endorsed as one of another implementation")
        return verdict
    claims = verdict.claims = token.claims
    verdict.device = claims.instance_id
    verdict.vector.instance_identity = APPROVED
    if (reason := endorsements.device_revoked(claims.instance_id)) is not None:
        verdict.vector.instance_identity = CONTRAINDICATED
        verdict.note("revocation", False, f"the device was revoked: {reason}")
    _judge_boot(verdict, claims, endorsements)
    _judge_configuration(verdict, token.profile, claims, policy)
    references = endorsements.components_of(claims.implementation_id)
    _judge_hardware(verdict, claims, is_known=references is not None)
    judge_components(verdict, claims.software_components, references or set(), endorsements, policy)
    if may_state_key(token) and not token.message.algorithm.is_mac:
        _judge_key(verdict, data)
    return verdict


def _authentic(
    verdict: Appraisal,
    data: bytes,
    endorsements: Knowledge,
    policy: Policy,
    shared_keys: Mapping[bytes, SharedKey],
) -> PsaToken | None:
    """The token, if a known device made it, for whatever challenge."""
    verdict.vector.instance_identity = CRYPTOGRAPHY_FAILED
    try:
        token = read_token(data)
    except EvidenceError as error:
        verdict.note("format", False, str(error))
        return None
    verdict.note("format", True, f"a token of {token.profile.value}")
    is_mac = token.message.algorithm.is_mac
    if is_mac and not policy.mac_tokens:
        verdict.note("algorithm", False, "the token has an authentication code, no signature: the policy refuses it")
        return None
    instance_id = token.claims.instance_id
    signer, shared = (None, shared_keys.get(instance_id)) if is_mac else (endorsements.key_of(instance_id), None)
    if signer is None and shared is None:
        verdict.vector.instance_identity = UNRECOGNIZED
        what = "there is no shared key of" if is_mac else "no endorsement knows"
        verdict.note("instance", False, f"{what} device {instance_id.hex()}")
        return None
    verdict.note("instance", True, f"device {instance_id.hex()} is {'known' if is_mac else 'endorsed'}")
    try:
        if shared is not None:
            verify_mac0(token.message, shared.key)
        elif signer is not None:
            verify_sign1(token.message, signer.key)
    except AuthenticationError as error:
        verdict.note("signature", False, str(error))
        return None
    whose = "who has the device's shared key made it" if is_mac else "the device's attestation key signed it"
    verdict.note("signature", True, whose)
    return token


def _implementation(token: PsaToken, endorsements: Knowledge, shared_keys: Mapping[bytes, SharedKey]) -> bytes | None:
    """Which one the device is known as."""
    instance_id = token.claims.instance_id
    known = shared_keys.get(instance_id) if token.message.algorithm.is_mac else endorsements.key_of(instance_id)
    return None if known is None else known.implementation_id


def _fresh(is_fresh: bool) -> str:
    return "it answers this challenge" if is_fresh else "it answers another challenge: it is old, or another's"


def _judge_key(verdict: Appraisal, data: bytes) -> None:
    """What a statement says of a key. It is no part of the device's trustworthiness, but stands beside it."""
    try:
        stated = read_key_statement(data).key
        public_key = stated.subject_public_key_info()
    except EvidenceError as error:
        verdict.warn("key", str(error))
        return
    if stated.never_left:
        verdict.note("key", True, "the key was made in the device and has never left it")
        verdict.attested_key = public_key
    else:
        verdict.warn("key", "the key was not made in the device, or may be exported")


def _judge_boot(verdict: Appraisal, claims: PsaClaims, endorsements: Knowledge) -> None:
    """An earlier boot's seed, after a later one, comes from a copy of the device, or from one that was set back.

    Both are doubts about which device it is, so they go with the identity. They are doubts only: the device's key did
    sign the token for this challenge.
    """
    seen = None if claims.boot_seed is None else endorsements.boot_seen(claims.instance_id, claims.boot_seed)
    if seen is Boot.EARLIER:
        verdict.warn("boot", "the boot seed is an earlier boot's, after a later one: the device was copied or set back")
        verdict.vector.instance_identity = max(verdict.vector.instance_identity, DOUBTED)
    elif seen is not None:
        verdict.note("boot", True, seen.value)


def _judge_configuration(verdict: Appraisal, profile: Profile, claims: PsaClaims, policy: Policy) -> None:
    """Profile, life cycle and client."""
    lifecycle = Lifecycle(claims.lifecycle & ~0xFF)
    good = verdict.note(
        "profile",
        policy.legacy_profile or profile is not Profile.LEGACY,
        f"the policy {'accepts' if policy.legacy_profile or profile is not Profile.LEGACY else 'refuses'} the profile",
    )
    trusted = lifecycle in policy.lifecycles
    good &= verdict.note(
        "lifecycle", trusted, f"the device is in the state {lifecycle.words}" + ("" if trusted else ": no trust")
    )
    expected = policy.client_ids is None or claims.client_id in policy.client_ids
    good &= verdict.note(
        "client", expected, f"client {claims.client_id} asked" + ("" if expected else ", and none that may")
    )
    verdict.vector.configuration = APPROVED if good else CONTRAINDICATED


def _judge_hardware(verdict: Appraisal, claims: PsaClaims, *, is_known: bool) -> None:
    words = f"implementation {claims.implementation_id.hex()}" + (
        " is known" if is_known else ": nobody says what it may run"
    )
    verdict.note("hardware", is_known, words)
    verdict.vector.hardware = APPROVED if is_known else UNRECOGNIZED
