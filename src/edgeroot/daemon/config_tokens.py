"""Reading ``[[authenticator]]`` with ``auth_type = "JwtSvid"``: whose tokens are taken, and how they are checked."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from edgeroot.auth import KubernetesSettings, TokenSettings
from edgeroot.auth.token import faults
from edgeroot.daemon.config_values import About, Ours, TableReader

JWT_SVID: Final = "JwtSvid"
_SPIFFE: Final = "spiffe://"
_MS_PER_S: Final = 1000
_DEFAULTS: Final = TokenSettings()
_KUBERNETES: Final = KubernetesSettings(issuer="")


def read_tokens(table: TableReader, directory: Path) -> TokenSettings:
    """The keys of the table beyond those of every authenticator; relative paths start at ``directory``."""
    problems_before = len(table.findings.problems)
    kubernetes = table.table(
        "kubernetes",
        Ours(
            "`JwtSvid` only: whose service-account tokens to believe, the table below. Without `workload_endpoint` it "
            "has to be there."
        ),
    )
    settings = TokenSettings(
        workload_endpoint=table.optional_text(
            "workload_endpoint",
            About(
                '`JwtSvid` only: `"unix:///path"`, the socket of the SPIFFE Workload API that tells whose JWT-SVIDs to '
                "believe."
            ),
        ),
        audience=table.text("audience", Ours("`JwtSvid` only: for whom tokens have to be."), _DEFAULTS.audience),
        clock_skew_s=table.milliseconds(
            "clock_skew",
            Ours("`JwtSvid` only: how far the clocks of a token's issuer and of this machine may be apart."),
            round(_DEFAULTS.clock_skew_s * _MS_PER_S),
        ),
        kubernetes=None if kubernetes is None else _read_kubernetes(kubernetes, directory),
    )
    if len(table.findings.problems) == problems_before:
        for fault in faults(settings):
            table.findings.problem(table.name, fault)
    return settings


def read_names(table: TableReader) -> tuple[tuple[str, str], ...]:
    """SPIFFE IDs and the names that their applications have instead."""
    found: dict[str, str] = {}
    about = Ours(
        "`JwtSvid` only: applications that are to have another name than their SPIFFE ID. Two that share a name share "
        "their keys; an account that has been renamed keeps its keys under the name of the old one. Admins and quotas "
        "go by the name.",
        otherwise="`[]`",
    )
    for one in table.tables("applications", about):
        spiffe_id, name = one.text("spiffe_id", Ours("Whose name it is.")), one.text("name", Ours("The name."))
        if spiffe_id and not spiffe_id.startswith(_SPIFFE):
            one.problem("spiffe_id", f'must be a SPIFFE ID, {_SPIFFE}trust-domain/path, not "{spiffe_id}"')
        if spiffe_id in found:
            one.problem("spiffe_id", f'"{spiffe_id}" has a name already')
        found[spiffe_id] = name
        one.finish()
    return tuple(found.items())


def _read_kubernetes(table: TableReader, directory: Path) -> KubernetesSettings:
    issuer = table.text("issuer", Ours("The cluster's `--service-account-issuer`."))
    trust_domain = table.text(
        "trust_domain",
        Ours("Of the SPIFFE IDs: `spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT`."),
        _KUBERNETES.trust_domain,
    )
    review: Literal["online", "offline"] = (
        "offline"
        if table.choice(
            "review",
            Ours(
                '`"online"`: the API server is asked whether it stands by a token; while it is away the key set '
                'decides, as it always does `"offline"`.'
            ),
            ("online", "offline"),
            _KUBERNETES.review,
        )
        == "offline"
        else "online"
    )
    settings = KubernetesSettings(
        issuer=issuer,
        trust_domain=trust_domain,
        review=review,
        api_server=table.optional_text("api_server", Ours('`"https://host:port"`. Required online.')),
        ca_file=_path(
            table,
            "ca_file",
            Ours("The certificate to believe the API server by.", otherwise="the system's"),
            directory,
        ),
        token_file=_path(
            table,
            "token_file",
            Ours(
                "The service's own credential for the API server, read again for each question. Required with "
                "`api_server`."
            ),
            directory,
        ),
        jwks_file=_path(
            table,
            "jwks_file",
            Ours(
                "The cluster's key set: kept there for times without the API server, or put there by the operator. "
                "Required without `api_server`. Give it a folder of its own, which is made if it is missing: what "
                "judges tokens may write there and nowhere else."
            ),
            directory,
        ),
        review_interval_s=table.milliseconds(
            "review_interval",
            Ours(
                "How long a verdict holds, and so how soon a deleted account or a pod that has lost its slot is "
                "refused."
            ),
            round(_KUBERNETES.review_interval_s * _MS_PER_S),
        ),
        max_token_life_s=table.milliseconds(
            "max_token_life",
            Ours("Tokens that live longer are refused."),
            round(_KUBERNETES.max_token_life_s * _MS_PER_S),
        ),
        pod_resources=_read_pod_resources(table, directory),
        resource=table.text("resource", Ours("What slots are called there."), _KUBERNETES.resource),
        require_pod=table.boolean(
            "require_pod", Ours("Refuse tokens that are bound to no pod."), _KUBERNETES.require_pod
        ),
        pods_without_slot=table.boolean(
            "pods_without_slot",
            Ours("Accept a pod's token at ordinary listeners, too, where nobody can tell which pod is calling."),
            _KUBERNETES.pods_without_slot,
        ),
        accounts_without_slot=table.boolean(
            "accounts_without_slot",
            Ours(
                "Accept tokens that are bound to no pod at ordinary listeners, whatever `require_pod` says for slots: "
                "for programs of the node that act for an account."
            ),
            _KUBERNETES.accounts_without_slot,
        ),
    )
    table.finish()
    return settings


def _read_pod_resources(table: TableReader, directory: Path) -> Path | None:
    about = Ours(
        '`"unix:/path"`, a socket with the kubelet\'s PodResources, which tells who holds which slot. Without it no '
        "pod is let in by a slot."
    )
    text = table.optional_text("pod_resources", about)
    if text is None:
        return None
    path = text.removeprefix("unix:").removeprefix("//")
    if not text.startswith("unix:") or not path:
        table.problem("pod_resources", f'must be "unix:/path", a socket with the kubelet\'s PodResources, not "{text}"')
    return table.check_socket_path("pod_resources", directory / path)


def _path(table: TableReader, key: str, about: About, directory: Path) -> Path | None:
    text = table.optional_text(key, about)
    return None if text is None else directory / text
