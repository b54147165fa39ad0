"""What a token says: the claims of JWT-SVIDs and of Kubernetes' service accounts, judged at a given time.

Whether the token is genuine is judged elsewhere. Every refusal is an AuthenticationError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from edgeroot.auth.identity import AuthenticationError
from edgeroot.auth.spiffe_id import SpiffeId, read_spiffe_id
from edgeroot.auth.token import KubernetesSettings, TokenSettings

_LABEL: Final = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
# Names of namespaces are labels, of service accounts and pods subdomains (RFC 1123, as Kubernetes checks them).
_NAMESPACE: Final = re.compile(_LABEL)
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_MAX_NAME_CHARACTERS: Final = 253
_MAX_UID_CHARACTERS: Final = 128
_SUBJECT: Final = "system:serviceaccount:"
_LATEST_TIME_S: Final = 2.0**53
_MAX_AUDIENCES: Final = 64


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that a token is bound to. ``uid`` tells it from a later one of the same name."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """The holder of a Kubernetes token. ``pod`` is None where the token is bound to none."""

    namespace: str
    name: str
    uid: str
    pod: Pod | None
    expires_at_s: float

    @property
    def username(self) -> str:
        """As the API server calls the account."""
        return f"{_SUBJECT}{self.namespace}:{self.name}"

    def application(self, trust_domain: str) -> str:
        """The name that keys belong to: the account, not the pod, so that the next pod has them as well."""
        return f"spiffe://{trust_domain}/ns/{self.namespace}/sa/{self.name}"


@dataclass(frozen=True, slots=True)
class Workload:
    """The holder of a JWT-SVID."""

    spiffe_id: SpiffeId
    expires_at_s: float


def judge_workload(claims: dict[str, object], settings: TokenSettings, now_s: float) -> Workload:
    """A JWT-SVID (JWT-SVID standard, clause 3)."""
    subject = claims.get("sub")
    if not isinstance(subject, str):
        raise AuthenticationError("the token names no subject (sub)")
    spiffe_id = read_spiffe_id(subject)
    _judge_audience(claims, settings.audience)
    return Workload(spiffe_id, _judge_times(claims, settings.clock_skew_s, now_s))


def judge_service_account(
    claims: dict[str, object], settings: TokenSettings, now_s: float, *, at_slot: bool = True
) -> ServiceAccount:
    """A bound service-account token of Kubernetes, at a slot or not. ``settings`` has a table for Kubernetes."""
    kubernetes = settings.kubernetes
    if kubernetes is None or claims.get("iss") != kubernetes.issuer:
        raise AuthenticationError("the token is from an issuer that is not trusted here")
    _judge_audience(claims, settings.audience)
    expires_at_s = _judge_times(claims, settings.clock_skew_s, now_s)
    _judge_life(claims, expires_at_s, kubernetes)
    account = _service_account(claims, expires_at_s)
    needs_pod = kubernetes.require_pod and (at_slot or not kubernetes.accounts_without_slot)
    if account.pod is None and needs_pod:
        raise AuthenticationError(
            "the token is bound to no pod: take one from a projected volume, or set require_pod to false"
        )
    return account


def _judge_audience(claims: dict[str, object], audience: str) -> None:
    """RFC 7519 clause 4.1.3: one or several, and we have to be among them."""
    found = claims.get("aud")
    audiences = found if isinstance(found, list) else [found]
    if len(audiences) > _MAX_AUDIENCES or not all(isinstance(one, str) for one in audiences):
        raise AuthenticationError("the token does not say in words for whom it is (aud)")
    if audience not in audiences:
        raise AuthenticationError(f"the token is for others: its audience has no {audience!r}")


def _judge_times(claims: dict[str, object], skew_s: float, now_s: float) -> float:
    """When the token expires (RFC 7519 clauses 4.1.4 to 4.1.6)."""
    expires_at_s = _time(claims, "exp")
    if expires_at_s is None:
        raise AuthenticationError("the token does not say when it expires (exp)")
    if now_s >= expires_at_s + skew_s:
        raise AuthenticationError(f"the token expired {now_s - expires_at_s:.0f} s ago; read it from its file again")
    for name in ("nbf", "iat"):
        since_s = _time(claims, name)
        if since_s is not None and since_s > now_s + skew_s:
            raise AuthenticationError(
                f"the token is {since_s - now_s:.0f} s from the future ({name}); compare the clocks of this machine "
                "and of the issuer"
            )
    return expires_at_s


def _judge_life(claims: dict[str, object], expires_at_s: float, kubernetes: KubernetesSettings) -> None:
    """How long a token lives is how long a deleted account stays able to use it while nobody can be asked.

    So it is bounded whatever the mode: the API server can go away at any time.
    """
    issued_at_s = _time(claims, "iat")
    if issued_at_s is None or issued_at_s >= expires_at_s:
        raise AuthenticationError("the token does not say when it was issued (iat)")
    if expires_at_s - issued_at_s > kubernetes.max_token_life_s:
        raise AuthenticationError(
            f"the token lives for {expires_at_s - issued_at_s:.0f} s, longer than max_token_life; ask for one with "
            f"expirationSeconds of {kubernetes.max_token_life_s:.0f}"
        )


def _time(claims: dict[str, object], name: str) -> float | None:
    """A NumericDate (RFC 7519 clause 2)."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AuthenticationError(f"the token's {name} is no number")
    if not 0 <= value <= _LATEST_TIME_S:  # which infinity is not, and an integer may be too long for math.isfinite
        raise AuthenticationError(f"the token's {name} is no time")
    return float(value)


def _service_account(claims: dict[str, object], expires_at_s: float) -> ServiceAccount:
    """The subject, and the claim ``kubernetes.io`` that the API server writes; they have to agree."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject.startswith(_SUBJECT):
        raise AuthenticationError("the token's subject is no service account")
    namespace, _, name = subject.removeprefix(_SUBJECT).partition(":")
    bound = _table(claims, "kubernetes.io")
    account = _table(bound, "serviceaccount")
    if not _is_namespace(namespace) or not _is_name(name):
        raise AuthenticationError("the token's subject is no service account")
    if bound.get("namespace") != namespace or account.get("name") != name:
        raise AuthenticationError("the token's subject and its claim kubernetes.io name different service accounts")
    pod = None
    if "pod" in bound:
        named = _table(bound, "pod")
        pod_name = named.get("name")
        if not isinstance(pod_name, str) or not _is_name(pod_name):
            raise AuthenticationError("the token is bound to a pod without a name")
        pod = Pod(namespace, pod_name, _uid(named, "pod"))
    return ServiceAccount(namespace, name, _uid(account, "service account"), pod, expires_at_s)


def _table(claims: dict[str, object], name: str) -> dict[str, object]:
    found = claims.get(name)
    if not isinstance(found, dict):
        raise AuthenticationError(f"the token is no bound service-account token: it has no {name}")
    return found


def _uid(table: dict[str, object], what: str) -> str:
    uid = table.get("uid")
    if not isinstance(uid, str) or not 0 < len(uid) <= _MAX_UID_CHARACTERS:
        raise AuthenticationError(f"the token does not say which {what} it is (uid)")
    return uid


def _is_namespace(text: str) -> bool:
    return _NAMESPACE.fullmatch(text) is not None


def _is_name(text: str) -> bool:
    return len(text) <= _MAX_NAME_CHARACTERS and _NAME.fullmatch(text) is not None
