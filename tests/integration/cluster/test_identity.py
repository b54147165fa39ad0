"""A genuine API server gives tokens to pods; a double of the kubelet says which slots they hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgeroot.auth import AuthenticationError, KubernetesSettings, TokenSettings
from edgeroot.identity.verifier import TokenVerifier
from peers.kubernetes import Cluster
from peers.kubernetes.control_plane import ISSUER
from tests.support.cluster import AUDIENCE, new_namespace, restricted_pod, running_cluster
from tests.support.pod_resources import PodResourcesDouble, serving

REVIEWER = "system:edgeroot-test-reviewer"
SLOT = 3


@dataclass
class Site:
    """A namespace with the accounts till and vault, a pod of each, and the till in the slot."""

    cluster: Cluster
    kubelet: PodResourcesDouble
    settings: KubernetesSettings
    namespace: str

    def application(self, account: str) -> str:
        return f"spiffe://cluster.local/ns/{self.namespace}/sa/{account}"

    def token(self, account: str, *more: str, audience: str = AUDIENCE, life_s: int = 600) -> bytes:
        """Bound to the account's pod."""
        pod = self.cluster.get("pod", account, "-n", self.namespace)
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={account}")
        uid = f"--bound-object-uid={pod['metadata']['uid']}"
        return self.unbound_token(account, *bound, uid, *more, audience=audience, life_s=life_s)

    def unbound_token(self, account: str, *more: str, audience: str = AUDIENCE, life_s: int = 600) -> bytes:
        asked = (f"--audience={audience}", f"--duration={life_s}s", *more)
        return self.cluster.kubectl("create", "token", account, "-n", self.namespace, *asked).strip().encode()

    def delete(self, *what: str) -> None:
        self.cluster.kubectl("delete", *what, "-n", self.namespace, "--wait=true", "--grace-period=0", "--force")

    def restart(self) -> TokenVerifier:
        return TokenVerifier(TokenSettings(kubernetes=self.settings))


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """These tests end its API server."""
    with running_cluster() as running:
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": REVIEWER}}
        running.apply(
            {
                **role,
                "rules": [{"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}],
            }
        )
        yield running


@pytest.fixture
def site(own_cluster: Cluster, tmp_path: Path) -> Iterator[Site]:
    namespace = new_namespace(own_cluster)
    for account in ("edgeroot", "till", "vault"):
        metadata = {"name": account, "namespace": namespace}
        own_cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    for account in ("till", "vault"):
        own_cluster.create(restricted_pod(account, namespace, ["true"], service_account=account))
    own_cluster.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"{REVIEWER}-{namespace}"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": REVIEWER},
            "subjects": [{"kind": "ServiceAccount", "name": "edgeroot", "namespace": namespace}],
        }
    )
    credential = tmp_path / "token"
    credential.write_text(own_cluster.kubectl("create", "token", "edgeroot", "-n", namespace))
    settings = KubernetesSettings(
        issuer=ISSUER,
        api_server=own_cluster.url,
        ca_file=own_cluster.authority.own.certificate,
        token_file=credential,
        jwks_file=tmp_path / "jwks.json",
        pod_resources=tmp_path / "kubelet.sock",
    )
    with serving(PodResourcesDouble(), tmp_path / "kubelet.sock") as kubelet:
        kubelet.holders = {SLOT: f"{namespace}/till", SLOT + 1: f"{namespace}/vault"}
        yield Site(own_cluster, kubelet, settings, namespace)


@pytest.fixture
def verifier(site: Site) -> Iterator[TokenVerifier]:
    found = site.restart()
    yield found
    found.close()


def refusal(verifier: TokenVerifier, token: bytes, slot: int | None = SLOT) -> str:
    with pytest.raises(AuthenticationError) as refused:
        verifier.verify(token, slot)
    return str(refused.value)


def becomes_true(condition: Callable[[], bool], within_s: float) -> bool:
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True


def is_refused(verifier: TokenVerifier, token: bytes) -> bool:
    try:
        verifier.verify(token, SLOT)
    except AuthenticationError:
        return True
    return False


def test_a_pods_token_is_its_account_in_its_own_slot_alone(site: Site, verifier: TokenVerifier) -> None:
    till, vault = site.token("till"), site.token("vault")

    assert verifier.verify(till, SLOT).application == site.application("till")
    assert verifier.verify(vault, SLOT + 1).application == site.application("vault")

    assert "does not hold slot" in refusal(verifier, till, SLOT + 1)
    assert "does not hold slot" in refusal(verifier, vault, SLOT)
    assert "only through the slot" in refusal(verifier, till, None)


def test_other_tokens_of_the_cluster_are_refused(site: Site, verifier: TokenVerifier) -> None:
    assert "for others" in refusal(verifier, site.token("till", audience=ISSUER))
    assert "bound to no pod" in refusal(verifier, site.unbound_token("till"))
    assert "longer than max_token_life" in refusal(verifier, site.token("till", life_s=3600))
    tampered = site.token("till")
    assert "signature is wrong" in refusal(verifier, tampered[:-8] + b"AAAAAAAA")


def test_a_deleted_account_is_refused_within_the_interval(site: Site, verifier: TokenVerifier) -> None:
    """Though the API server itself remembers for ten seconds what it stood by."""
    token = site.token("till")
    verdict = verifier.verify(token, SLOT)
    site.delete("serviceaccount", "till")

    time.sleep(max(0.0, verdict.good_until_s - time.time()))

    assert "does not stand by the token" in refusal(verifier, token)


def test_an_account_made_anew_is_another(site: Site, verifier: TokenVerifier) -> None:
    token = site.token("till")
    verifier.verify(token, SLOT)
    site.delete("serviceaccount", "till")
    metadata = {"name": "till", "namespace": site.namespace}
    site.cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    time.sleep(1)

    assert "does not stand by the token" in refusal(verifier, token)


def test_a_deleted_pods_token_is_refused_though_its_account_is_there(site: Site, verifier: TokenVerifier) -> None:
    token = site.token("till")
    verdict = verifier.verify(token, SLOT)
    site.delete("pod", "till")

    time.sleep(max(0.0, verdict.good_until_s - time.time()))

    assert "does not stand by the token" in refusal(verifier, token)


def test_without_the_right_to_review_nobody_is_let_in(site: Site, verifier: TokenVerifier) -> None:
    token = site.token("till")
    verifier.verify(token, SLOT)
    site.cluster.kubectl("delete", "clusterrolebinding", f"{REVIEWER}-{site.namespace}")

    assert becomes_true(lambda: is_refused(verifier, token), within_s=10)
    assert "403; look at the rights" in refusal(verifier, token)


def test_offline_the_key_set_alone_decides(site: Site) -> None:
    verifier = TokenVerifier(TokenSettings(kubernetes=replace(site.settings, review="offline")))
    token = site.token("till")
    verifier.verify(token, SLOT)
    site.delete("serviceaccount", "till")

    assert verifier.verify(token, SLOT).application == site.application("till")
    verifier.close()


def test_without_the_api_server_tokens_are_good_until_it_is_back(site: Site, verifier: TokenVerifier) -> None:
    till, vault = site.token("till"), site.token("vault")
    verifier.verify(till, SLOT)
    site.delete("serviceaccount", "till")
    site.cluster.api_server.kill()

    time.sleep(1)
    assert verifier.verify(till, SLOT).application == site.application("till")
    assert "does not hold slot" in refusal(verifier, till, SLOT + 1)
    after_a_restart = site.restart()
    assert after_a_restart.verify(vault, SLOT + 1).application == site.application("vault")
    after_a_restart.close()

    site.cluster.api_server.start()
    assert becomes_true(lambda: is_refused(verifier, till), within_s=15)
    assert verifier.verify(vault, SLOT + 1).application == site.application("vault")
