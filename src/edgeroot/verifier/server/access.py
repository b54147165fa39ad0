"""Who may use a part of the interface: whoever sends its token. Each part has its own."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from typing import Final

from edgeroot.psa import Secret
from edgeroot.verifier.server.http import HttpError, Request

_FORWARDED: Final = frozenset({"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """``words`` name the part, ``closed`` says why without a token it is nobody's, and what to do.

    ``open_to_loopback``: without a token it is open to programs of this machine, if they ask this machine by its own
    name. That keeps out web pages whose name was pointed at it, and what a proxy lets through from elsewhere.
    """

    words: str
    closed: str
    token: Secret | None = None
    open_to_loopback: bool = False

    def check(self, request: Request) -> None:
        """HttpError 401 for a wrong token, 403 if no token would do."""
        if self.token is not None:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode("latin-1"), bytes(self.token))
            if scheme.lower() != "bearer" or not right:
                raise HttpError(401, self.words, {"www-authenticate": "Bearer"})
        elif not self.open_to_loopback or not _is_local(request):
            raise HttpError(403, self.closed)


def _is_local(request: Request) -> bool:
    host = request.headers.get("host", "")
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    named = name.lower() == "localhost" or _is_loopback(name)
    return named and _is_loopback(request.client) and _FORWARDED.isdisjoint(request.headers)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
