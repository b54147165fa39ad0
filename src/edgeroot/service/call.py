"""One request on its way through the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeroot.auth import Authenticator, Identity, PeerCredentials
from edgeroot.service.mounted import MountedProvider
from edgeroot.service.quotas import Limit, Quota
from edgeroot.service.tokens import TokenAuthenticator
from edgeroot.wire.framing import Request
from edgeroot.wire.status import ResponseStatus, WireError


@dataclass(frozen=True, slots=True)
class Door:
    """What a listener lets in: the authenticators that it accepts, by authentication type, in the order configured."""

    authenticators: Mapping[int, Authenticator | TokenAuthenticator]


class Call:
    """A parsed request, who sent it, and what the pipeline has found out so far.

    ``key_name`` is the key that it is about; for DeleteClient, which is about all of an application's, the application.
    ``quota`` is its application's, if it has one, and ``beyond`` what of it the request goes beyond.
    """

    __slots__ = ("beyond", "door", "identity", "key_name", "peer", "provider", "quota", "request", "started_ns")

    def __init__(self, request: Request, peer: PeerCredentials, door: Door, started_ns: int) -> None:
        self.request = request
        self.peer = peer
        self.door = door
        self.started_ns = started_ns
        self.identity: Identity | None = None
        self.provider: MountedProvider | None = None
        self.key_name: str | None = None
        self.quota: Quota | None = None
        self.beyond: Limit | None = None

    def require_identity(self) -> Identity:
        if self.identity is None:
            raise WireError(ResponseStatus.NOT_AUTHENTICATED)
        return self.identity

    def require_provider(self) -> MountedProvider:
        """The crypto provider; the pipeline has sent core operations elsewhere before anybody asks."""
        assert self.provider is not None
        return self.provider
