"""Enrolments under way: each for one piece of evidence and for a short time. They live in memory and may be lost."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edgeroot.edge.enrolment.binding import SEED_BYTES, challenge_of

TTL_S: Final = 120
_MAX_SESSIONS: Final = 20_000
_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """``node_name`` is the name that was asked for, may be empty; ``key_digest`` is empty if no key came with it."""

    session_id: str
    seed: bytes
    node_name: str
    key_digest: bytes
    expires_at_s: int

    def challenge(self) -> bytes:
        return challenge_of(self.seed, node_name=self.node_name, key_digest=self.key_digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """A session whose device may have a certificate for its key as this node."""

    session: Session
    node_name: str
    device: str


class Sessions:
    """Both kinds, by the session's id. Of too many the oldest goes: who floods the service delays others' joining."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Session] = OrderedDict()
        self._proved: OrderedDict[str, Proved] = OrderedDict()

    def begin(self, *, node_name: str, key_digest: bytes, now_s: int) -> Session:
        session = Session(
            session_id=self._random(_ID_BYTES).hex(),
            seed=self._random(SEED_BYTES),
            node_name=node_name,
            key_digest=key_digest,
            expires_at_s=now_s + TTL_S,
        )
        with self._lock:
            self._open[session.session_id] = session
            if len(self._open) > _MAX_SESSIONS:
                self._open.popitem(last=False)
        return session

    def take(self, session_id: str, now_s: int) -> Session | None:
        """The session, which nobody gets again."""
        with self._lock:
            session = self._open.pop(session_id, None)
        return session if session is not None and _lives(session, now_s) else None

    def prove(self, proved: Proved) -> None:
        with self._lock:
            self._proved[proved.session.session_id] = proved
            if len(self._proved) > _MAX_SESSIONS:
                self._proved.popitem(last=False)

    def proved(self, session_id: str, now_s: int) -> Proved | None:
        """It stays: a certificate may take several questions."""
        with self._lock:
            proved = self._proved.get(session_id)
            if proved is not None and not _lives(proved.session, now_s):
                del self._proved[session_id]
                return None
        return proved


def _lives(session: Session, now_s: int) -> bool:
    """One that began in the future is from before the clock was set back: nobody knows how old it is."""
    return 0 < session.expires_at_s - now_s <= TTL_S
