"""The cluster's side through lightkube, against a test double of the API server."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from lightkube import Client, KubeConfig

from edgeroot.edge.enrolment import tokens
from edgeroot.edge.enrolment.admission import KnownNode
from edgeroot.edge.enrolment.approver import Approver
from edgeroot.edge.enrolment.cluster import TOKEN_ANNOTATION, ApiCluster
from edgeroot.edge.enrolment.errors import AwayError, RefusedError
from edgeroot.edge.enrolment.request import SIGNER, USAGES, make_request
from tests.support.api_double import CSRS, ApiDouble, Document, running_api

DEVICE = "01" + "ab" * 32
KEY = ec.generate_private_key(ec.SECP256R1())


@dataclass
class Site:
    api: ApiDouble
    client: Client
    cluster: ApiCluster

    def ask(self, token: str, name: str, node: str = "gate-1") -> None:
        """A certificate request with a bootstrap token."""
        pem = make_request(node, ec.generate_private_key(ec.SECP256R1()))
        spec = {"request": b64encode(pem).decode(), "signerName": SIGNER, "usages": list(USAGES)}
        body: Document = {"metadata": {"name": name}, "spec": spec}
        path = f"/apis/certificates.k8s.io/v1/{CSRS}"
        assert self.api.answer("POST", path, token, "application/json", body)[0] == 201

    def decision(self, name: str) -> tuple[str, str]:
        (condition,) = self.api.objects[CSRS, name]["status"]["conditions"]
        return condition["type"], condition["message"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running_api() as api, Client(KubeConfig.from_file(api.kubeconfig(tmp_path / "kubeconfig"))) as client:
        yield Site(api, client, ApiCluster(client))


def test_edge_nodes(site: Site) -> None:
    assert site.cluster.edge_node("gate-1") is None
    assert site.cluster.edge_nodes_of(DEVICE) == []
    made = site.cluster.create_edge_node("gate-1", DEVICE)
    assert made == site.cluster.edge_node("gate-1") == KnownNode(name="gate-1", device=DEVICE)
    assert site.cluster.edge_nodes_of(DEVICE) == [made]
    with pytest.raises(RefusedError, match="belongs to another device"):
        site.cluster.create_edge_node("gate-1", DEVICE)
    site.api.put("edgenodes", "bare")
    assert site.cluster.edge_node("bare") == KnownNode(name="bare", device="")
    site.api.put("edgenodes", "bad", spec={"device": DEVICE.upper()}, status={"state": "Contraindicated"})
    assert site.cluster.edge_node("bad") == KnownNode(name="bad", device=DEVICE, state="Contraindicated")
    assert not site.cluster.has_node("gate-1")
    site.api.put("nodes", "gate-1")
    assert site.cluster.has_node("gate-1")


def known(site: Site) -> KnownNode:
    node = site.cluster.edge_node("gate-1")
    return node or site.cluster.create_edge_node("gate-1", DEVICE)


def test_a_new_token_ends_the_one_before(site: Site) -> None:
    first, second = (tokens.new_token(4_000_000_000) for _ in range(2))
    site.cluster.replace_token(known(site), first)
    assert site.api.user_of(first.text())[0] == f"system:bootstrap:{first.token_id}"
    assert known(site).token_id == first.token_id
    site.cluster.replace_token(known(site), second)
    assert site.api.names("secrets") == [f"bootstrap-token-{second.token_id}"]
    secret = site.api.objects["secrets", f"bootstrap-token-{second.token_id}"]
    assert secret["type"] == "bootstrap.kubernetes.io/token"
    assert secret["metadata"]["annotations"] == {
        "edgeroot.dev/node": "gate-1",
        "edgeroot.dev/device": DEVICE,
        "edgeroot.dev/state": "open",
    }
    site.cluster.replace_token(known(site), None)
    assert site.api.names("secrets") == []
    assert TOKEN_ANNOTATION not in site.api.objects["edgenodes", "gate-1"]["metadata"].get("annotations", {})


class Cut(Exception):
    """The service was killed here."""


class Dying:
    """The API server's client in a service that is killed after so many writes."""

    def __init__(self, client: Client, writes: int) -> None:
        self._client = client
        self._left = writes

    def __getattr__(self, name: str) -> object:
        if name in {"create", "patch", "delete", "replace"}:
            if not self._left:
                raise Cut
            self._left -= 1
        return getattr(self._client, name)


def cut_off(site: Site, writes: int) -> ApiCluster:
    return ApiCluster(cast(Client, Dying(site.client, writes)))


@pytest.mark.parametrize("writes", range(3))
def test_wherever_a_new_token_is_cut_off_there_is_never_a_second(site: Site, writes: int) -> None:
    joined(site)
    with pytest.raises(Cut):
        cut_off(site, writes).replace_token(known(site), tokens.new_token(4_000_000_000))
    assert len(site.api.names("secrets")) <= 1
    last = joined(site)  # the device asks again
    assert site.api.names("secrets") == [f"bootstrap-token-{last.token_id}"]


def test_a_token_whose_approval_was_cut_off_ends_at_the_next_start(site: Site) -> None:
    token = joined(site)
    site.ask(token.text(), "first")
    with pytest.raises(Cut):
        Approver(cut_off(site, 2)).round()  # the claim, and the approval
    assert site.decision("first")[0] == "Approved"
    assert site.api.names("secrets") == [f"bootstrap-token-{token.token_id}"]
    spec = site.api.objects[CSRS, "first"]["spec"]
    ours, spec["groups"] = spec["groups"], ["system:bootstrappers:kubeadm:default-node-token"]
    assert Approver(site.cluster).sweep()
    assert site.api.names("secrets") != [], "another's token is not ours to end"
    spec["groups"] = ours
    assert Approver(site.cluster).sweep()
    assert site.api.names("secrets") == []


def joined(site: Site) -> tokens.BootstrapToken:
    token = tokens.new_token(4_000_000_000)
    site.cluster.replace_token(known(site), token)
    return token


def test_a_token_is_good_for_one_request(site: Site) -> None:
    token = joined(site)
    site.ask(token.text(), "first")
    site.ask(token.text(), "second")
    assert Approver(site.cluster).round()
    assert site.decision("first")[0] == "Approved"
    assert DEVICE in site.decision("first")[1]
    assert site.decision("second") == ("Denied", "the token is used up, or was withdrawn: enrol again")
    assert site.api.names("secrets") == []
    assert site.cluster.requests() == []


def test_another_name_is_denied_and_ends_the_token(site: Site) -> None:
    token = joined(site)
    site.ask(token.text(), "wrong", node="gate-2")
    assert Approver(site.cluster).round()
    assert site.decision("wrong") == ("Denied", "the token is for node gate-1, not 'gate-2'")
    assert site.api.names("secrets") == []


def test_a_token_that_is_claimed_stays_with_its_request(site: Site) -> None:
    token = joined(site)
    for _ in range(2):  # an approver that was cut off claims again
        assert site.cluster.claim(token.token_id, "uid-1").node_name == "gate-1"
    with pytest.raises(RefusedError, match="another request"):
        site.cluster.claim(token.token_id, "uid-2")
    site.cluster.drop(token.token_id)
    site.cluster.drop(token.token_id)
    with pytest.raises(RefusedError, match="used up"):
        site.cluster.claim(token.token_id, "uid-1")


def test_a_secret_that_is_not_ours_is_not_claimed(site: Site) -> None:
    site.api.put("secrets", "bootstrap-token-abc123", data={})
    with pytest.raises(RefusedError, match="another request"):
        site.cluster.claim("abc123", "uid-1")
    site.api.put("secrets", "bootstrap-token-abc123", data={})["metadata"]["annotations"] = {tokens.STATE: "open"}
    with pytest.raises(RefusedError, match="does not say whose"):
        site.cluster.claim("abc123", "uid-1")


def test_a_request_of_the_same_name_made_anew_is_not_approved(site: Site) -> None:
    token = joined(site)
    site.ask(token.text(), "first")
    (asked,) = site.cluster.requests()
    del site.api.objects[CSRS, "first"]
    site.ask(token.text(), "first", node="gate-2")
    site.cluster.approve(asked, "words")
    assert "status" not in site.api.objects[CSRS, "first"]


def test_a_certificate_at_once(site: Site) -> None:
    pem = make_request("gate-1", KEY)
    signed = site.cluster.certificate("edgeroot-1", pem, "words")
    assert x509.load_pem_x509_certificate(signed).public_key() == KEY.public_key()
    assert site.cluster.certificate("edgeroot-1", pem, "words") == signed  # the same question has the same answer
    with pytest.raises(RefusedError, match="another certificate request"):
        site.cluster.certificate("edgeroot-1", make_request("gate-2", KEY), "words")
    assert b64decode(site.api.objects[CSRS, "edgeroot-1"]["spec"]["request"]) == pem


def test_a_cluster_that_does_not_sign(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeroot.edge.enrolment.cluster._SIGNING_S", 0.3)
    site.api.signs = False
    pem = make_request("gate-1", KEY)
    with pytest.raises(AwayError, match="not signed the certificate yet"):
        site.cluster.certificate("edgeroot-1", pem, "words")
    conditions: list[dict[str, Any]] = site.api.objects[CSRS, "edgeroot-1"]["status"]["conditions"]
    conditions.append({"type": "Failed", "status": "True", "message": "no such signer"})
    with pytest.raises(RefusedError, match="no such signer"):
        site.cluster.certificate("edgeroot-1", pem, "words")


def test_who_approves(site: Site) -> None:
    assert not site.cluster.approves_by_itself()
    site.api.approves_by_itself = True
    assert site.cluster.approves_by_itself()


def test_an_api_server_that_is_away(site: Site) -> None:
    site.api.is_away = True
    with pytest.raises(AwayError, match="etcd is away"):
        site.cluster.edge_node("gate-1")
    assert not Approver(site.cluster).round()


def test_nobody_at_the_api_servers_address(tmp_path: Path) -> None:
    api = ApiDouble(url="http://127.0.0.1:9")
    config = KubeConfig.from_file(api.kubeconfig(tmp_path / "kubeconfig"))
    with Client(config) as client, pytest.raises(AwayError, match="does not answer"):
        ApiCluster(client).requests()


def test_secrets_are_never_read(site: Site) -> None:
    """Who may read one Secret of kube-system by RBAC may read all that RBAC cannot tell from it."""
    token = joined(site)
    site.ask(token.text(), "first")
    Approver(site.cluster).round()
    joined(site)
    assert {method for method, plural in site.api.asked if plural == "secrets"} == {"POST", "PATCH", "DELETE"}
