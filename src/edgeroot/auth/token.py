"""Signed tokens as proof of identity: what the configuration says of them, and what comes of judging one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edgeroot.auth.spiffe_id import is_trust_domain

DEFAULT_AUDIENCE: Final = "parsec"


@dataclass(frozen=True, slots=True)
class TokenVerdict:
    """Whose token it is. ``application`` is a SPIFFE ID; ``good_until_s`` (seconds since 1970) bounds the verdict.

    After that time, or if the clock is found to have been set back, the token has to be judged again.
    """

    application: str
    good_until_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSettings:
    """``[authenticator.kubernetes]``: whose service-account tokens are taken, and how they are checked.

    ``issuer`` is the cluster's ``--service-account-issuer``. ``jwks_file`` keeps its key set for times without the API
    server, or is where the operator puts it. ``token_file`` is the service's own credential, read again for each
    question.
    ``review_interval_s`` bounds each verdict. ``pod_resources`` is the path of a socket with the kubelet's PodResources
    v1; without it no slot can be told to be a pod's. ``pods_without_slot``: a pod's token is taken at an ordinary
    listener too, where nobody can tell which pod is calling. ``accounts_without_slot``: a token that is bound to no pod
    is taken there, whatever slots require.
    """

    issuer: str
    trust_domain: str = "cluster.local"
    api_server: str | None = None
    ca_file: Path | None = None
    token_file: Path | None = None
    jwks_file: Path | None = None
    review: Literal["online", "offline"] = "online"
    review_interval_s: float = 1.0
    max_token_life_s: float = 600.0
    pod_resources: Path | None = None
    resource: str = "edgeroot.dev/parsec"
    require_pod: bool = True
    pods_without_slot: bool = False
    accounts_without_slot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSettings:
    """``[[authenticator]]`` with ``auth_type = "JwtSvid"``. ``workload_endpoint``: upstream's key, a ``unix:`` URI.

    ``clock_skew_s`` is how far the clocks of whoever issued a token and of this machine may be apart.
    """

    audience: str = DEFAULT_AUDIENCE
    clock_skew_s: float = 5.0
    workload_endpoint: str | None = None
    kubernetes: KubernetesSettings | None = None


def faults(settings: TokenSettings) -> list[str]:
    """What is wrong with these settings as a whole, one sentence each; keys by their names in the configuration."""
    found: list[str] = []
    if settings.workload_endpoint is None and settings.kubernetes is None:
        found.append("JwtSvid needs workload_endpoint (SPIFFE Workload API), a table kubernetes, or both")
    if settings.workload_endpoint is not None and not settings.workload_endpoint.startswith("unix:/"):
        found.append("workload_endpoint has to be a socket on this machine: unix:///path")
    if not settings.audience:
        found.append("audience must not be empty: without one any token would do")
    return found if settings.kubernetes is None else found + _kubernetes_faults(settings.kubernetes)


def _kubernetes_faults(kubernetes: KubernetesSettings) -> list[str]:
    found: list[str] = []
    if not kubernetes.issuer:
        found.append("kubernetes.issuer has to name the cluster's service-account issuer")
    if not is_trust_domain(kubernetes.trust_domain):
        found.append("kubernetes.trust_domain is no name of a SPIFFE trust domain: lower-case letters, digits, . - _")
    if kubernetes.api_server is not None and not kubernetes.api_server.startswith("https://"):
        found.append("kubernetes.api_server has to be an https URL: tokens are sent there")
    if kubernetes.review == "online" and kubernetes.api_server is None:
        found.append('kubernetes.review = "online" needs api_server; without one, set review = "offline"')
    if kubernetes.api_server is not None and kubernetes.token_file is None:
        found.append("kubernetes.api_server needs token_file, the service's own credential")
    if kubernetes.api_server is None and kubernetes.jwks_file is None:
        found.append("kubernetes needs jwks_file or api_server: somebody has to give the cluster's key set")
    return found
