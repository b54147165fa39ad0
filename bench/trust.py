"""Rows about the root of trust: tokens of a verified secure world, judging them, and what a verified start costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from bench.errors import BenchError
from bench.fleet import COMPONENTS, references_of
from bench.measure import Bench, Outcome
from bench.world import World, running
from edgeroot.evidence import PsaToken, read_token
from edgeroot.tee.psa.client import PsaClient
from edgeroot.tee.transports.emulated import EmulatedTransport
from edgeroot.verifier.appraisal import appraise
from edgeroot.verifier.corim import Endorsements, VerificationKey
from edgeroot.verifier.policy import Policy
from edgeroot.verifier.trust import Status

TOKEN_LIMIT_MS: Final = 5.0
VERIFICATION_LIMIT_MS: Final = 300.0
_TOKENS: Final = 300
_WARM_UP_TOKENS: Final = 20
_BATCH: Final = 50
_CHALLENGE_BYTES: Final = 32


def _edgeroot(*arguments: str) -> str:
    """What the command prints. BenchError if it fails."""
    command = [sys.executable, "-I", "-m", "edgeroot", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"edgeroot {' '.join(arguments[:2])}: {done.stderr.strip()[-500:]}")
    return done.stdout


def _firmware(bench: Bench) -> Path:
    """A folder with a maker's public key and the images that he has signed, made once."""
    folder = bench.folder / "firmware"
    if not folder.exists():
        bench.say("building images of the secure world")
        folder.mkdir()
        key, public = str(folder / "maker.pem"), str(folder / "maker.pub.pem")
        for command in (
            ["genpkey", "-algorithm", "ed25519", "-out", key],
            ["pkey", "-in", key, "-pubout", "-out", public],
        ):
            subprocess.run(["openssl", *command], check=True, capture_output=True)
        images = str(folder / "images")
        _edgeroot("device", "build-images", "--key", key, "--version", "1.0.0", "--security-counter", "1", images)
    return folder


def _secure(firmware: Path, state: Path) -> None:
    """Make the state folder that of a provisioned and secured device."""
    key, images = str(firmware / "maker.pub.pem"), str(firmware / "images")
    provision = ("device", "provision", "--root-key", key, "--security-counter", "1", "--images", images)
    _edgeroot(*provision, "--state", str(state))
    _edgeroot("device", "lifecycle", "secured", "--state", str(state))


def _verified(bench: Bench) -> AbstractContextManager[World]:
    """A new secure world that runs from verified images, as on a secured device."""
    return running(bench, prepare=partial(_secure, _firmware(bench)))


def _lacking(token: PsaToken) -> tuple[str, ...]:
    """A fault if the token does not list all that a verified start measures."""
    lacking = set(COMPONENTS) - {one.measurement_type for one in token.claims.software_components}
    return (f"the token does not list {', '.join(sorted(lacking))}",) if lacking else ()


def token(bench: Bench) -> Outcome:
    """Milliseconds of the median attestation token, asked for over one connection, against the limit."""
    rounds, data = [], b""
    with _verified(bench) as world, EmulatedTransport(world.socket_path) as transport, PsaClient(transport) as client:
        for _ in range(_WARM_UP_TOKENS):
            data = client.psa_initial_attest_get_token(os.urandom(_CHALLENGE_BYTES))
        for _ in range(bench.rounds):
            taken_ms = []
            for _ in range(_TOKENS):
                challenge = os.urandom(_CHALLENGE_BYTES)
                began = time.perf_counter()
                data = client.psa_initial_attest_get_token(challenge)
                taken_ms.append((time.perf_counter() - began) * 1000)
            rounds.append(median(taken_ms))
    read, taken = read_token(data), median(rounds)
    return Outcome(
        ours=taken,
        reference=TOKEN_LIMIT_MS,
        reference_name="limit",
        ratio=taken / TOKEN_LIMIT_MS,
        rounds=rounds,
        notes=(f"{len(data)} bytes, {len(read.claims.software_components)} components",),
        faults=_lacking(read),
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """Median microseconds of one appraisal, and of one verification by itself."""

    appraisal_us: float
    verification_us: float


def judging(data: bytes, *, nonce: bytes, key: ec.EllipticCurvePublicKey, seconds: float) -> Judged:
    """Appraise the token, and verify its signature alone, in turn, in this thread.

    The verification is the package cryptography's, of the same signature over the same bytes. BenchError if the
    token is not found good.
    """
    token = read_token(data)
    claims, message = token.claims, token.message
    device = VerificationKey(implementation_id=claims.implementation_id, instance_id=claims.instance_id, key=key)
    endorsements = Endorsements(
        keys={claims.instance_id: device},
        references={claims.implementation_id: references_of(claims.software_components)},
    )
    policy, half = Policy(), len(message.authenticator) // 2
    r, s = (int.from_bytes(part, "big") for part in (message.authenticator[:half], message.authenticator[half:]))
    signature, signed = encode_dss_signature(r, s), message.authenticated_bytes
    algorithm = ec.ECDSA(message.algorithm.hash_algorithm)
    found = appraise(data, nonce=nonce, endorsements=endorsements, policy=policy)
    if found.status is not Status.AFFIRMING:
        why = "; ".join(check.words for check in found.checks if not check.passed)
        raise BenchError(f"the token is not found good: {why}")
    appraisals, verifications = _timed_in_turn(
        lambda: appraise(data, nonce=nonce, endorsements=endorsements, policy=policy),
        lambda: key.verify(signature, signed, algorithm),
        seconds=seconds,
    )
    return Judged(median(appraisals), median(verifications))


def _timed_in_turn(
    one: Callable[[], object], other: Callable[[], object], *, seconds: float
) -> tuple[list[float], list[float]]:
    """Microseconds of each call, a batch of the one and then of the other until the time is over."""
    taken: tuple[list[float], list[float]] = ([], [])
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for call, times in zip((one, other), taken, strict=True):
            for _ in range(_BATCH):
                began = time.perf_counter()
                call()
                times.append((time.perf_counter() - began) * 1e6)
    return taken


def appraisal(bench: Bench) -> Outcome:
    """Microseconds of judging a token of a verified secure world, over those of verifying its signature."""
    nonce = os.urandom(_CHALLENGE_BYTES)
    with _verified(bench) as world:
        with EmulatedTransport(world.socket_path) as transport, PsaClient(transport) as client:
            data = client.psa_initial_attest_get_token(nonce)
        pem = _edgeroot("secure-world", "attestation-key", "--world-socket", str(world.socket_path))
    key = load_pem_public_key(pem.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise BenchError("the attestation key is not on an elliptic curve")
    rounds = [judging(data, nonce=nonce, key=key, seconds=bench.seconds) for _ in range(bench.rounds)]
    return Outcome(
        ours=median(one.appraisal_us for one in rounds),
        reference=median(one.verification_us for one in rounds),
        reference_name="cryptography, the signature alone",
        ratio=median(one.appraisal_us / one.verification_us for one in rounds),
        rounds=[{"appraisal_us": one.appraisal_us, "verification_us": one.verification_us} for one in rounds],
        faults=_lacking(read_token(data)),
    )


def verified_start(bench: Bench) -> Outcome:
    """Milliseconds by which verified images lengthen the start to the first answer, against the limit.

    Both begin with a new device: one provisioned and secured, one as it comes.
    """
    firmware = _firmware(bench)
    cases: list[Callable[[Path], None] | None] = [None, partial(_secure, firmware)]
    rounds = []
    for number in range(bench.rounds):
        taken_ms = {}
        for case in cases if number % 2 else reversed(cases):
            with running(bench, prepare=case) as world:
                taken_ms["unverified" if case is None else "verified"] = world.start_s * 1000
        rounds.append(taken_ms)
        bench.say(
            f"round {number + 1}/{bench.rounds}: " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in taken_ms.items())
        )
    extra = median(one["verified"] - one["unverified"] for one in rounds)
    return Outcome(
        ours=extra,
        reference=VERIFICATION_LIMIT_MS,
        reference_name="limit",
        ratio=extra / VERIFICATION_LIMIT_MS,
        rounds=rounds,
        notes=tuple(f"{name}: {median(one[name] for one in rounds):,.0f} ms" for name in ("verified", "unverified")),
    )
