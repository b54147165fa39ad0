"""Bootstrap tokens (Kubernetes: "Authenticating with Bootstrap Tokens"): good for minutes, one node and one use.

The API server takes a token as often as it comes; that only one certificate comes of it is the approver's work. What it
has to know lies beside the token, in annotations of its Secret.
"""

from __future__ import annotations

import re
import secrets
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

NAMESPACE: Final = "kube-system"
GROUP: Final = "system:bootstrappers:edgeroot"
LABEL: Final = "edgeroot.dev/enrolment"
NODE: Final = "edgeroot.dev/node"
DEVICE: Final = "edgeroot.dev/device"
STATE: Final = "edgeroot.dev/state"
OPEN: Final = "open"
"""Nobody has used the token. After that the state names the certificate request that did."""
_USER: Final = "system:bootstrap:"
TYPE: Final = "bootstrap.kubernetes.io/token"
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_ID: Final = re.compile(r"[a-z0-9]{6}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapToken:
    """``expires_at_s`` counts from 1970."""

    token_id: str
    secret: str = field(repr=False)
    expires_at_s: int

    def text(self) -> str:
        """As it is presented."""
        return f"{self.token_id}.{self.secret}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Whose a token is."""

    node_name: str
    device: str
    expires_at_s: int


def new_token(expires_at_s: int) -> BootstrapToken:
    return BootstrapToken(
        token_id="".join(secrets.choice(_ALPHABET) for _ in range(6)),
        secret="".join(secrets.choice(_ALPHABET) for _ in range(16)),
        expires_at_s=expires_at_s,
    )


def token_id_of(user: str) -> str | None:
    """The token that a user of the API server has authenticated with; None if it was no token."""
    token_id = user.removeprefix(_USER)
    return token_id if user.startswith(_USER) and is_token_id(token_id) else None


def is_token_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def secret_name(token_id: str) -> str:
    return f"bootstrap-token-{token_id}"


def used_by(request_uid: str) -> str:
    """The state of a token that this certificate request has used."""
    return f"used by {request_uid}"


def secret_data(token: BootstrapToken, *, node_name: str, device: str) -> dict[str, str]:
    """What is in the Secret that makes the token one, each entry in base64."""
    data = {
        "token-id": token.token_id,
        "token-secret": token.secret,
        "expiration": time_of(token.expires_at_s),
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": GROUP,
        "description": f"edgeroot: device {device} joins as node {node_name}",
    }
    return {name: b64encode(value.encode()).decode() for name, value in data.items()}


def time_of(at_s: int) -> str:
    """RFC 3339, as Kubernetes writes it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str) -> int:
    """The other way. ValueError."""
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
