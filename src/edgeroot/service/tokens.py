"""Tokens as a request's proof of identity: what a worker knows of one already, and how it finds out about another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Final, NamedTuple

from edgeroot.auth import AuthenticationError, AuthenticationFailure, Identity, PeerCredentials
from edgeroot.service.effects import StepsTo, expect
from edgeroot.service.questions import LOST, TokenAnswer, TokenQuestion
from edgeroot.wire.operations import AuthType
from edgeroot.wire.status import ResponseStatus, WireError

_JWT_SVID: Final = int(AuthType.JWT_SVID)
_KNOWN: Final = 256
_ATTEMPTS: Final = 2  # a question that was lost with whoever was answering another one may be asked again


class _Verdict(NamedTuple):
    identity: Identity
    good_until_s: float  # since the epoch
    good_until_steady_s: float


class TokenAuthenticator:
    """The auth field is a JWT-SVID or a service account's token. One instance a door, for one thread.

    It remembers verdicts, the oldest of which it forgets when there are too many. A clock that is set back does not
    make one last longer: the time that it was good for when it was asked for is counted on a clock that only goes on.
    """

    auth_type: ClassVar[int] = _JWT_SVID
    description: ClassVar[str] = "Authenticator validating a JWT SPIFFE Verifiable Identity Document"
    version: ClassVar[tuple[int, int, int]] = (0, 1, 0)
    is_timeless: ClassVar[bool] = False

    def __init__(
        self,
        slot: int | None,
        *,
        clock_s: Callable[[], float],
        steady_clock_s: Callable[[], float],
        names: Mapping[str, str] | None = None,
        capacity: int = _KNOWN,
    ) -> None:
        """``clock_s`` tells seconds since the epoch, ``steady_clock_s`` is never set.

        ``names`` are applications' names by SPIFFE IDs; all others are called by their SPIFFE IDs.
        """
        self._slot = slot
        self._names = names or {}
        self._clock_s = clock_s
        self._steady_clock_s = steady_clock_s
        self._capacity = capacity
        self._verdicts: dict[bytes, _Verdict] = {}

    def authenticate(self, auth: bytes, _peer: PeerCredentials) -> Identity | TokenQuestion:
        """Who holds the token, or the question that :meth:`ask` asks; AuthenticationError for what is no token."""
        verdict = self._verdicts.get(auth)
        if verdict is not None:
            if self._clock_s() < verdict.good_until_s and self._steady_clock_s() < verdict.good_until_steady_s:
                return verdict.identity
            del self._verdicts[auth]
        if not auth:
            raise AuthenticationError("the auth field is empty")
        try:
            str(auth, "utf-8")
        except UnicodeDecodeError as error:
            kind = AuthenticationFailure.INVALID_ENCODING
            raise AuthenticationError("the token is not UTF-8", kind=kind) from error
        return TokenQuestion(auth, self._slot)

    def ask(self, question: TokenQuestion) -> StepsTo[Identity]:
        """Steps to the identity; WireError if the token proves none."""
        asked_s, asked_steady_s = self._clock_s(), self._steady_clock_s()
        answer = LOST
        for _ in range(_ATTEMPTS):
            answer = expect(TokenAnswer, (yield question))
            if answer != LOST:
                break
        if answer.status is not ResponseStatus.SUCCESS:
            status = ResponseStatus.AUTHENTICATION_ERROR if answer == LOST else answer.status
            raise WireError(status, answer.text)
        identity = Identity(_JWT_SVID, self._names.get(answer.text, answer.text))
        # Whichever way the clock was set in the meantime: the shorter time is right.
        now_s, now_steady_s = self._clock_s(), self._steady_clock_s()
        until_steady_s = answer.good_until_s + min(asked_steady_s - asked_s, now_steady_s - now_s)
        if now_s < answer.good_until_s and now_steady_s < until_steady_s:
            self._remember(question.token, _Verdict(identity, answer.good_until_s, until_steady_s))
        return identity

    def _remember(self, token: bytes, verdict: _Verdict) -> None:
        self._verdicts.pop(token, None)
        if len(self._verdicts) >= self._capacity:
            del self._verdicts[next(iter(self._verdicts))]
        self._verdicts[token] = verdict
