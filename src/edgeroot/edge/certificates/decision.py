"""What has to happen next for a HardwareCertificate, from what is there. Pure: the time is passed in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeroot.edge.certificates.resource import HardwareCertificate

# Of its life, a certificate is renewed in this part: before two thirds, and each at a time of its own.
_EARLIEST_RENEWAL: Final = 0.55
_LATEST_RENEWAL: Final = 0.65
# Not before this part, by the node's own clock, since the last: one that is ahead finds each certificate old at once.
_LEAST: Final = 0.25
_PENDING_S: Final = 2.0
_FIRST_PAUSE_S: Final = 30.0
_LONGEST_PAUSE_S: Final = 3600.0


class RequestState(Enum):
    """How far the signer is with a CertificateSigningRequest (certificates.k8s.io/v1)."""

    PENDING = auto()
    ISSUED = auto()
    REFUSED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRequest:
    """The CertificateSigningRequest of the current attempt. ``chain`` is PEM; ``reason`` says why it was refused."""

    state: RequestState
    chain: bytes = b""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What is there: the published chain (PEM), the key (SubjectPublicKeyInfo in DER), and the attempt in hand.

    ``published_generation`` is the resource's generation that the published chain was made for, ``published_at`` when
    that was, by the node's clock.
    """

    chain: bytes | None
    published_generation: int
    published_at: datetime | None
    public_key: bytes | None
    request: SentRequest | None
    failures: int
    failed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Request:
    """Make the key if there is none, attest it, and send a request."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell the chain: it is what was asked for."""

    chain: bytes
    leaf: x509.Certificate


@dataclass(frozen=True, slots=True)
class Fail:
    """The attempt has failed; the next comes after a pause."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do for so long."""

    seconds: float


Step: TypeAlias = Request | Publish | Fail | Wait


def decide(certificate: HardwareCertificate, observed: Observed, now: datetime) -> Step:
    """The next step. Carrying out the same one twice does no harm: a crash in between is nothing special."""
    if observed.request is not None:
        return _follow(observed.request, observed.public_key)
    leaf = current(observed)
    if leaf is not None and observed.published_generation == certificate.generation:
        left_s = max((renewal_time(leaf, certificate.uid) - now).total_seconds(), _new_for_s(leaf, observed, now))
        if left_s > 0:
            return Wait(left_s)
    if observed.failures and observed.failed_at is not None:
        pause = pause_s(observed.failures)
        since_s = (now - observed.failed_at).total_seconds()
        # A clock that was set back must not hold up the next attempt for longer than the pause.
        if 0 <= since_s < pause:
            return Wait(pause - since_s)
    return Request()


def pause_s(failures: int) -> float:
    """How long to pause after so many attempts that failed one after the other."""
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(max(failures, 1) - 1, 16))


def current(observed: Observed) -> x509.Certificate | None:
    """The published certificate, if there is one and it is for the key that is there."""
    if not observed.chain or observed.public_key is None:
        return None
    return _leaf(observed.chain, observed.public_key)


def renewal_time(leaf: x509.Certificate, uid: str) -> datetime:
    """When to renew: always the same time for one certificate, spread for many that were issued together."""
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    spread = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4]) / 2**32
    return begin + (end - begin) * (_EARLIEST_RENEWAL + (_LATEST_RENEWAL - _EARLIEST_RENEWAL) * spread)


def _new_for_s(leaf: x509.Certificate, observed: Observed, now: datetime) -> float:
    if observed.published_at is None:
        return 0.0
    since_s = (now - observed.published_at).total_seconds()
    life_s = (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds()
    return _LEAST * life_s - since_s if since_s >= 0 else 0.0


def request_name(certificate: HardwareCertificate, observed: Observed) -> str:
    """The name of the CertificateSigningRequest of this attempt: after a restart it is found again by it."""
    leaf = current(observed)
    attempt = "\0".join(
        (
            str(certificate.generation),
            str(observed.failures),
            f"{leaf.serial_number:x}" if leaf else "",
            (observed.public_key or b"").hex(),
        )
    )
    return f"edgeroot-{certificate.uid}-{hashlib.sha256(attempt.encode()).hexdigest()[:12]}"


def _follow(request: SentRequest, public_key: bytes | None) -> Step:
    if request.state is RequestState.PENDING:
        return Wait(_PENDING_S)
    if request.state is RequestState.REFUSED:
        return Fail(request.reason)
    leaf = _leaf(request.chain, public_key or b"")
    if leaf is None:
        return Fail("the signer has issued no certificate for this key")
    return Publish(request.chain, leaf)


def _leaf(chain: bytes, public_key: bytes) -> x509.Certificate | None:
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        stated = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return leaf if stated == public_key else None
