"""What authenticators take and give."""

from __future__ import annotations

from enum import Enum, auto
from typing import ClassVar, NamedTuple, Protocol


class PeerCredentials(NamedTuple):
    """What the kernel says of the process at the other end (``SO_PEERCRED``); ``uid`` is its effective user id."""

    pid: int
    uid: int
    gid: int


class Identity(NamedTuple):
    """An application. Equal names under two authenticators are two applications.

    ``authenticator`` is the number of the authentication type in the wire protocol.
    """

    authenticator: int
    application: str


class AuthenticationFailure(Enum):
    """Why there is no identity; the wire protocol has a status for each."""

    REFUSED = auto()
    INVALID_ENCODING = auto()


class AuthenticationError(Exception):
    """The auth field does not prove an identity."""

    def __init__(self, detail: str, *, kind: AuthenticationFailure = AuthenticationFailure.REFUSED) -> None:
        super().__init__(detail)
        self.kind = kind


class Authenticator(Protocol):
    """One authentication type. ``auth_type`` is its number on the wire; the rest is what ListAuthenticators tells.

    ``is_timeless``: the same field from the same peer always proves the same identity. Not so where a token expires or
    keys are revoked.
    """

    auth_type: ClassVar[int]
    description: ClassVar[str]
    version: ClassVar[tuple[int, int, int]]
    is_timeless: ClassVar[bool]

    def authenticate(self, auth: bytes, peer: PeerCredentials) -> Identity:
        """The identity that the auth field of a request proves; AuthenticationError if it proves none."""
