"""The verifier's dealings, whoever carries them: challenges, evidence for them, endorsements, revocations.

Everything that changes the store is one transaction with its line in the audit log: what was answered is kept, and what
is kept was logged. The clock and randomness are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.evidence import Lifecycle
from edgeroot.verifier import media_types
from edgeroot.verifier.appraisal import appraise
from edgeroot.verifier.cmw import UNWRAP
from edgeroot.verifier.corim import read_corim, read_signed_corim
from edgeroot.verifier.ear import PSA_SUBMODULE, TPM_SUBMODULE, claims_of_own, ear_claims
from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.fleet import RESULT_LIFETIME_DEFAULT_S
from edgeroot.verifier.policy import Policy
from edgeroot.verifier.ports import Revoked, Session, SessionStatus, Storage
from edgeroot.verifier.quote import appraise_quote
from edgeroot.verifier.verdict import Appraisal

Signer: TypeAlias = Callable[[dict[str, Any]], str]
NONCE_MIN_BYTES: Final = 8
NONCE_MAX_BYTES: Final = 64
NONCE_DEFAULT_BYTES: Final = 32
SESSION_TTL_S: Final = 150
NONCE_MEMORY_S: Final = 86_400
"""How long a nonce is remembered that a relying party chose. Ours do not come again."""
MAX_SESSIONS: Final = 100_000
MAX_REASON_CHARACTERS: Final = 200


class DeskError(Exception):
    """The request is refused; the message says why, for whoever made it."""


class BadRequestError(DeskError):
    """It asks for what there is not."""


class NoSessionError(DeskError):
    """There is no such session, or it has expired."""


class ConflictError(DeskError):
    """The session has had its evidence, or the nonce was used before."""


class MediaTypeError(DeskError):
    """``accepted`` are the types that would do."""

    def __init__(self, media_type: str, accepted: tuple[str, ...]) -> None:
        super().__init__(f"the media type {media_type[:100]!r} is not among those accepted")
        self.accepted = accepted


class NoResultError(DeskError):
    """The session has no result yet, or not in this form."""


class FullError(DeskError):
    """Too many sessions wait for evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """``sign`` makes the signed result of its claims, a JWT, and ``sign_cwt`` a CWT for those who want one.

    ``corim_signers`` are those whose signed CoRIMs are believed; ``result_lifetime_s``, how long results may be relied
    on.
    """

    storage: Storage
    policy: Policy
    policy_id: str
    sign: Signer
    now_s: Callable[[], int]
    random: Callable[[int], bytes]
    corim_signers: Sequence[ec.EllipticCurvePublicKey] = ()
    sign_cwt: Callable[[dict[str, Any]], bytes] | None = None
    result_lifetime_s: int = RESULT_LIFETIME_DEFAULT_S

    def new_session(self, *, nonce: bytes | None = None, nonce_size_bytes: int = NONCE_DEFAULT_BYTES) -> Session:
        """BadRequestError, ConflictError, FullError."""
        size = nonce_size_bytes if nonce is None else len(nonce)
        if not NONCE_MIN_BYTES <= size <= NONCE_MAX_BYTES:
            raise BadRequestError(f"a nonce has {NONCE_MIN_BYTES} to {NONCE_MAX_BYTES} bytes, not {size}")
        now_s = self.now_s()
        session = Session(
            session_id=self.random(16).hex(),
            nonce=self.random(size) if nonce is None else nonce,
            expires_at_s=now_s + SESSION_TTL_S,
        )
        with self.storage.transaction():
            self.storage.forget_expired(now_s)
            if self.storage.open_sessions() >= MAX_SESSIONS:
                raise FullError("too many sessions are open: try again later")
            if not self.storage.add_session(session, remember_until_s=now_s + NONCE_MEMORY_S):
                raise ConflictError("this nonce was used before: choose a new one")
        return session

    def session(self, session_id: str) -> Session:
        """NoSessionError."""
        session = self.storage.session(session_id)
        # One that began in the future is from before a clock was set back: nobody knows how old it is.
        if session is None or not 0 < session.expires_at_s - self.now_s() <= SESSION_TTL_S:
            raise NoSessionError("there is no such session, or it has expired: begin a new one")
        return session

    def submit(self, session_id: str, media_type: str, evidence: bytes) -> tuple[Session, Appraisal]:
        """Judge the evidence for a session, which takes one piece only. NoSessionError, MediaTypeError, ConflictError.

        Bad evidence is no error: it gets a bad result. A bad wrapper around it is one (BadRequestError), and the
        session waits on.
        """
        kind, inside = _opened(media_type, evidence)
        is_quote = media_types.is_one_of(kind, media_types.QUOTE)
        judge, submodule = (appraise_quote, TPM_SUBMODULE) if is_quote else (appraise, PSA_SUBMODULE)
        with self.storage.transaction():
            session = self.session(session_id)
            if session.status is not SessionStatus.WAITING:
                raise ConflictError("the session has had its evidence: begin a new one")
            appraisal = judge(inside, nonce=session.nonce, endorsements=self.storage, policy=self.policy)
            at_s = self.now_s()
            claims = ear_claims(
                appraisal,
                issued_at_s=at_s,
                nonce=session.nonce,
                policy_id=self.policy_id,
                submodule=submodule,
                expires_at_s=at_s + self.result_lifetime_s,
            )
            complete = replace(
                session,
                status=SessionStatus.COMPLETE,
                media_type=media_type,
                evidence=evidence,
                result=self.sign(claims),
            )
            self.storage.complete_session(complete)
            if appraisal.claims is not None and appraisal.claims.boot_seed is not None:
                self.storage.remember_boot(appraisal.claims.instance_id, appraisal.claims.boot_seed)
            device = appraisal.device
            if device:  # What does not prove whose it is goes into nobody's history.
                self.storage.add_result(
                    device,
                    at_s=at_s,
                    status=int(appraisal.status),
                    claims=claims,
                    findings=appraisal.findings(),
                    lifecycle=_lifecycle(appraisal),
                )
            failed = [f"{one.name}: {one.words}" for one in appraisal.checks if not one.passed]
            self._log("appraised", device=device.hex(), status=appraisal.status.name.lower(), failed=failed)
        return complete, appraisal

    def result_as_cwt(self, session: Session) -> bytes:
        """The result of a complete session in the other form: the same claims, signed anew. NoResultError."""
        if session.status is not SessionStatus.COMPLETE or self.sign_cwt is None:
            raise NoResultError("the session has no such result: it waits for evidence")
        return self.sign_cwt(claims_of_own(session.result))

    def end_session(self, session_id: str) -> None:
        """NoSessionError."""
        with self.storage.transaction():
            self.session(session_id)
            self.storage.remove_session(session_id)

    def provision(self, media_type: str, corim: bytes, *, who: str) -> None:
        """Take endorsements in. MediaTypeError; VerifierError for a CoRIM that cannot be taken as a whole."""
        if media_types.is_one_of(media_type, media_types.CORIM):
            endorsements = read_corim(corim)
        elif media_types.is_one_of(media_type, media_types.SIGNED_CORIM):
            endorsements = read_signed_corim(corim, self.corim_signers)
        else:
            raise MediaTypeError(media_type, media_types.CORIM + media_types.SIGNED_CORIM)
        with self.storage.transaction():
            self.storage.add_endorsements(endorsements)
            self._log(
                "endorsed",
                who=who,
                devices=[one.hex() for one in sorted(endorsements.keys)],
                implementations=[one.hex() for one in sorted(endorsements.references)],
            )

    def _log(self, event: str, **details: object) -> None:
        self.storage.log({"at_s": self.now_s(), "event": event, **details})


def _lifecycle(appraisal: Appraisal) -> str:
    """In words; quotes say nothing of it."""
    return "" if appraisal.claims is None else Lifecycle(appraisal.claims.lifecycle & ~0xFF).words


def _opened(media_type: str, evidence: bytes) -> tuple[str, bytes]:
    """Media type and content without the wrapper, if there is one; one within another is refused."""
    unwrap = next((one for name, one in UNWRAP.items() if media_types.is_one_of(media_type, (name,))), None)
    if unwrap is not None:
        try:
            media_type, evidence = unwrap(evidence)
        except VerifierError as error:
            raise BadRequestError(str(error)) from error
    if not media_types.is_one_of(media_type, media_types.EVIDENCE + media_types.QUOTE):
        raise MediaTypeError(media_type, media_types.ALL_EVIDENCE)
    return media_type, evidence


def revoke(storage: Storage, kind: Revoked, name: str, reason: str, *, now_s: int) -> None:
    """Trust a device, a measurement, a signer or a version no more. VerifierError for a name that could never match."""
    if kind is Revoked.VERSION:
        if "=" not in name:
            raise VerifierError(f"a version is named TYPE=VERSION, as in PRoT=1.2.3, not {name!r}")
    else:
        sizes = (33, 34) if kind is Revoked.DEVICE else (32, 48, 64)
        try:
            name = bytes.fromhex(name).hex()
        except ValueError as error:
            raise VerifierError(f"a {kind} is named in hexadecimal") from error
        if len(name) // 2 not in sizes:
            raise VerifierError(f"a {kind} is named by {' or '.join(map(str, sizes))} bytes, not {len(name) // 2}")
    if not 0 < len(reason) <= MAX_REASON_CHARACTERS:
        raise VerifierError(f"a reason has 1 to {MAX_REASON_CHARACTERS} characters")
    with storage.transaction():
        storage.revoke(kind, name, reason, at_s=now_s)
        storage.log({"at_s": now_s, "event": "revoked", "kind": kind, "name": name, "reason": reason})
