"""Reading ``[[authenticator]]`` with ``auth_type = "JwtSvid"``: whose tokens are taken, and how they are checked."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from edgeroot.auth import KubernetesSettings, TokenSettings
from edgeroot.auth.token import faults
from edgeroot.daemon.config_values import TableReader

JWT_SVID: Final = "JwtSvid"
_SPIFFE: Final = "spiffe://"
_MS_PER_S: Final = 1000
_DEFAULTS: Final = TokenSettings()
_KUBERNETES: Final = KubernetesSettings(issuer="")


def read_tokens(table: TableReader, directory: Path) -> TokenSettings:
    """The keys of the table beyond those of every authenticator; relative paths start at ``directory``."""
    problems_before = len(table.findings.problems)
    kubernetes = table.table("kubernetes")
    settings = TokenSettings(
        audience=table.text("audience", _DEFAULTS.audience),
        clock_skew_s=table.milliseconds("clock_skew", round(_DEFAULTS.clock_skew_s * _MS_PER_S)),
        workload_endpoint=table.optional_text("workload_endpoint"),
        kubernetes=None if kubernetes is None else _read_kubernetes(kubernetes, directory),
    )
    if len(table.findings.problems) == problems_before:
        for fault in faults(settings):
            table.findings.problem(table.name, fault)
    return settings


def read_names(table: TableReader) -> tuple[tuple[str, str], ...]:
    """SPIFFE IDs and the names that their applications have instead."""
    found: dict[str, str] = {}
    for one in table.tables("applications"):
        spiffe_id, name = one.text("spiffe_id"), one.text("name")
        if spiffe_id and not spiffe_id.startswith(_SPIFFE):
            one.problem("spiffe_id", f'must be a SPIFFE ID, {_SPIFFE}trust-domain/path, not "{spiffe_id}"')
        if spiffe_id in found:
            one.problem("spiffe_id", f'"{spiffe_id}" has a name already')
        found[spiffe_id] = name
        one.finish()
    return tuple(found.items())


def _read_kubernetes(table: TableReader, directory: Path) -> KubernetesSettings:
    review: Literal["online", "offline"] = (
        "offline" if table.optional_choice("review", ("online", "offline")) == "offline" else "online"
    )
    settings = KubernetesSettings(
        issuer=table.text("issuer"),
        trust_domain=table.text("trust_domain", _KUBERNETES.trust_domain),
        api_server=table.optional_text("api_server"),
        ca_file=_path(table, "ca_file", directory),
        token_file=_path(table, "token_file", directory),
        jwks_file=_path(table, "jwks_file", directory),
        review=review,
        review_interval_s=table.milliseconds("review_interval", round(_KUBERNETES.review_interval_s * _MS_PER_S)),
        max_token_life_s=table.milliseconds("max_token_life", round(_KUBERNETES.max_token_life_s * _MS_PER_S)),
        pod_resources=_read_pod_resources(table, directory),
        resource=table.text("resource", _KUBERNETES.resource),
        require_pod=table.boolean("require_pod", _KUBERNETES.require_pod),
        pods_without_slot=table.boolean("pods_without_slot", _KUBERNETES.pods_without_slot),
        accounts_without_slot=table.boolean("accounts_without_slot", _KUBERNETES.accounts_without_slot),
    )
    table.finish()
    return settings


def _read_pod_resources(table: TableReader, directory: Path) -> Path | None:
    text = table.optional_text("pod_resources")
    if text is None:
        return None
    path = text.removeprefix("unix:").removeprefix("//")
    if not text.startswith("unix:") or not path:
        table.problem("pod_resources", f'must be "unix:/path", a socket with the kubelet\'s PodResources, not "{text}"')
    return table.check_socket_path("pod_resources", directory / path)


def _path(table: TableReader, key: str, directory: Path) -> Path | None:
    text = table.optional_text(key)
    return None if text is None else directory / text
