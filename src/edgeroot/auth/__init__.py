"""Who is asking: authenticators turn a request's auth field into an application identity.

Everything here is pure. What an authenticator needs to know of the peer, of keys or of the time is given to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edgeroot.auth.direct import DirectAuthenticator
from edgeroot.auth.identity import (
    AuthenticationError,
    AuthenticationFailure,
    Authenticator,
    Identity,
    PeerCredentials,
)
from edgeroot.auth.token import KubernetesSettings, TokenSettings, TokenVerdict
from edgeroot.auth.unix_peer import UnixPeerCredentialsAuthenticator

AUTHENTICATORS: Final[dict[str, Callable[[], Authenticator]]] = {
    "Direct": DirectAuthenticator,
    "UnixPeerCredentials": UnixPeerCredentialsAuthenticator,
}
"""The authenticators of this release under the names that ``auth_type`` has in the configuration."""

__all__ = [
    "AUTHENTICATORS",
    "AuthenticationError",
    "AuthenticationFailure",
    "Authenticator",
    "DirectAuthenticator",
    "Identity",
    "KubernetesSettings",
    "PeerCredentials",
    "TokenSettings",
    "TokenVerdict",
    "UnixPeerCredentialsAuthenticator",
]
