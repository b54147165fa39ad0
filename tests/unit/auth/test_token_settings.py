from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeroot.auth import KubernetesSettings, TokenSettings
from edgeroot.auth.token import faults
from tests.support.tokens import ISSUER

KUBERNETES = KubernetesSettings(
    issuer=ISSUER, api_server="https://10.0.0.1:6443", ca_file=Path("/ca"), token_file=Path("/token")
)


def test_each_way_to_take_tokens_is_enough() -> None:
    offline = KubernetesSettings(issuer=ISSUER, review="offline", jwks_file=Path("/jwks"))

    assert faults(TokenSettings(workload_endpoint="unix:///run/spire/agent.sock")) == []
    assert faults(TokenSettings(kubernetes=KUBERNETES)) == []
    assert faults(TokenSettings(kubernetes=offline)) == []
    assert faults(TokenSettings(workload_endpoint="unix:/run/agent.sock", kubernetes=KUBERNETES)) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"issuer": ""}, "issuer"),
        ({"trust_domain": "Cluster.local"}, "trust_domain"),
        ({"trust_domain": ""}, "trust_domain"),
        ({"trust_domain": "cluster.local/ns/bank"}, "trust_domain"),
        ({"api_server": "http://10.0.0.1:8080"}, "https"),
        ({"api_server": None, "jwks_file": Path("/jwks")}, "offline"),
        ({"token_file": None}, "token_file"),
        ({"api_server": None, "review": "offline"}, "jwks_file or api_server"),
    ],
)
def test_what_is_missing_or_unsafe_is_named(change: dict[str, Any], word: str) -> None:
    found = faults(TokenSettings(kubernetes=replace(KUBERNETES, **change)))

    assert len(found) == 1
    assert word in found[0]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (TokenSettings(), "needs workload_endpoint"),
        (TokenSettings(workload_endpoint="tcp://127.0.0.1:8081"), "unix:///path"),
        (TokenSettings(workload_endpoint=""), "unix:///path"),
        (TokenSettings(audience="", kubernetes=KUBERNETES), "audience"),
    ],
)
def test_so_is_what_is_wrong_with_the_whole(settings: TokenSettings, word: str) -> None:
    assert word in "; ".join(faults(settings))
