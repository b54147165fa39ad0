"""A device joins: real verifier, real emulated secure world, service and commands; the API server is a test double."""

from __future__ import annotations

import json
import os
import time
from base64 import b64decode, b64encode, urlsafe_b64decode
from collections.abc import Iterator
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
)

from edgeroot.client import Client
from edgeroot.edge.enrolment.binding import challenge_of, derived_name
from edgeroot.edge.enrolment.request import SIGNER, USAGES, make_request
from tests.support.api_double import CSRS, ApiDouble, Status, running_api
from tests.support.joining import LAB, JoiningSite
from tests.support.service import SOFTWARE_PROVIDER, Service, running_service
from tests.support.world import World, running_world, with_world

PSA: Final = "application/psa-attestation-token"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_world() as running:
        yield running


@pytest.fixture(scope="module")
def service(world: World) -> Iterator[Service]:
    with running_service(provider=SOFTWARE_PROVIDER + with_world(world)) as one:
        yield one


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Client]:
    with service.client(provider=4) as client:
        yield client


@dataclass
class Site(JoiningSite):
    api: ApiDouble = field(default_factory=ApiDouble)


@pytest.fixture
def site(tmp_path: Path, world: World, service: Service, client: Client) -> Iterator[Site]:
    with running_api() as api:
        (tmp_path / "authority.pem").write_bytes(api.authority)
        one = Site(tmp_path, api.kubeconfig(tmp_path / "kubeconfig"), "https://api.test:6443", service, world, api=api)
        one.endorse(client)
        yield one


def test_a_device_becomes_the_node_that_an_operator_named(site: Site) -> None:
    with site.enrolment() as url:
        assert f"nobody has admitted device {site.device}" in site.enrol(url, code=3)
        site.api.put("edgenodes", "gate-1", spec={"device": site.device})
        assert "is the node gate-1, and no other" in site.enrol(url, "--node-name", "gate-2", code=3)
        assert not (site.folder / "node").exists()
        said = site.enrol(url)
        assert "the cluster has signed the node's certificate" in said
        assert "a node already" in site.enrol(url, code=1)
    pem = site.folder / "node" / "kubelet-client.pem"
    assert pem.stat().st_mode & 0o777 == 0o600
    key = load_pem_private_key(pem.read_bytes(), None)
    certificate = x509.load_pem_x509_certificate(pem.read_bytes())
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == "CN=system:node:gate-1,O=system:nodes"
    kubeconfig = json.loads((site.folder / "node" / "kubelet.conf").read_text())
    assert kubeconfig["users"][0]["user"] == {"client-certificate": str(pem), "client-key": str(pem)}
    cluster = kubeconfig["clusters"][0]["cluster"]
    assert cluster["server"] == "https://api.test:6443"
    assert b64decode(cluster["certificate-authority-data"]) == site.api.authority
    assert site.api.names("secrets") == []


def token_of(site: Site) -> str:
    config = json.loads((site.folder / "node" / "edgeroot-bootstrap.conf").read_text())
    token: str = config["users"][0]["user"]["token"]
    return token


def ask(site: Site, token: str, node: str) -> str:
    """Ask for a certificate as a kubelet does that has this token; what became of it."""
    name = f"csr-{len(site.api.names(CSRS))}"
    spec = {
        "request": b64encode(make_request(node, ec.generate_private_key(ec.SECP256R1()))).decode(),
        "signerName": SIGNER,
        "usages": list(USAGES),
    }
    body = {"metadata": {"name": name}, "spec": spec}
    site.api.answer("POST", f"/apis/certificates.k8s.io/v1/{CSRS}", token, "application/json", body)
    deadline_s = time.monotonic() + 20
    while not (conditions := site.api.objects[CSRS, name].get("status", {}).get("conditions")):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    return f"{conditions[0]['type']}: {conditions[0]['message']}"


def test_a_bootstrap_token_makes_one_node_once(site: Site) -> None:
    """And a new one ends the one before. The name of a node that nobody named follows from the device."""
    name = derived_name(site.device)
    with site.enrolment("--admit-affirmed") as url:
        site.enrol(url, "--output", "kubeadm")
        first = token_of(site)
        site.enrol(url, "--output", "kubeadm", "--force")
        second = token_of(site)
        with pytest.raises(Status, match="Unauthorized"):
            ask(site, first, name)
        assert ask(site, second, name).startswith("Approved: device")
        deadline_s = time.monotonic() + 20
        while site.api.names("secrets"):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        with pytest.raises(Status, match="Unauthorized"):
            ask(site, second, name)
        site.enrol(url, "--output", "kubeadm", "--force")
        assert "the token is for node" in ask(site, token_of(site), "control-plane-1")
        assert site.api.objects["edgenodes", name]["spec"] == {"device": site.device}


def post(url: str, path: str, body: bytes, kind: str) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", urlsplit(url).port or 0, timeout=30)
    connection.request("POST", path, body, {"content-type": kind})
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    return answer.status, said


def begin(url: str, name: str) -> tuple[str, bytes]:
    _status, said = post(url, "/enrol/v1/sessions", json.dumps({"nodeName": name}).encode(), "application/json")
    return f"/enrol/v1/sessions/{said['session']}/evidence", urlsafe_b64decode(said["seed"] + "=")


def test_evidence_is_good_for_its_own_session_only(site: Site, client: Client) -> None:
    site.api.put("edgenodes", "gate-1", spec={"device": site.device})
    with site.enrolment() as url:
        path, seed = begin(url, "gate-1")
        evidence = client.attestation_token(challenge_of(seed, node_name="gate-1", key_digest=b""))
        assert post(url, path, evidence, PSA)[0] == 200
        status, said = post(url, path, evidence, PSA)
        assert (status, "no such session" in said["detail"]) == (404, True)
        for name in ("gate-1", ""):  # replayed, and made for another name in its own session
            path, seed = begin(url, name)
            if not name:
                evidence = client.attestation_token(challenge_of(seed, node_name="gate-1", key_digest=b""))
            status, said = post(url, path, evidence, PSA)
            assert (status, "does not affirm" in said["detail"]) == (403, True)


@pytest.mark.parametrize("policy", ["", LAB + "client_ids = [-99]\n"])
def test_a_device_that_the_policy_does_not_trust(site: Site, policy: str) -> None:
    """Nor one whose evidence was asked for by somebody who may not."""
    site.api.put("edgenodes", "gate-1", spec={"device": site.device})
    with site.enrolment("--admit-affirmed", policy=policy) as url:
        assert "does not affirm the device: it is contraindicated" in site.enrol(url, code=3)
    assert not (site.folder / "node").exists()


def test_another_device_is_not_that_node(site: Site) -> None:
    """One that the verifier affirms as well. Enrolling keeps no state that it could have copied."""
    site.api.put("edgenodes", "gate-1", spec={"device": site.device})
    with ExitStack() as stack:
        url = stack.enter_context(site.enrolment("--admit-affirmed", "--names", "*"))
        other = stack.enter_context(running_world())
        service = stack.enter_context(running_service(provider=SOFTWARE_PROVIDER + with_world(other)))
        stranger = copy(site)
        stranger.world, stranger.service = other, service
        assert "contraindicated" in stranger.enrol(url, "--node-name", "gate-1", code=3)
        stranger.endorse(stack.enter_context(service.client(provider=4)))
        stranger.submit()
        assert "gate-1 belongs to another device" in stranger.enrol(url, "--node-name", "gate-1", code=3)


def test_services_that_come_late(site: Site) -> None:
    """A device waits for a service that is not there yet; the service says when the verifier is away."""
    assert "try again later" in site.enrol("http://127.0.0.1:9", code=1)
    given = (
        "--verifier",
        "http://127.0.0.1:9",
        "--verifier-key",
        "verify.pem",
        "--api-server",
        "https://api.test:6443",
    )
    command = ("edge", "enrolment", "serve", *given, "--api-server-ca", "authority.pem")
    with site.serving(*command, environment={**os.environ, "KUBECONFIG": str(site.kubeconfig)}) as url:
        assert "127.0.0.1:9 does not answer" in site.enrol(url, code=1)
        ours = copy(site)
        ours.service = Service(site.folder)  # which nobody has started
        assert "this device's own service does not answer" in ours.enrol(url, code=1)


def test_what_it_does_not_start_with(site: Site) -> None:
    given = {"verifier": "http://127.0.0.1:9", "verifier-key": "verify.pem", "api-server-ca": "authority.pem"}
    for options, words in (
        ({"host": "0.0.0.0"}, "over TLS only"),
        ({"tls-key": "sign.pem"}, "both a certificate"),
        ({"verifier": "http://verifier.example"}, "only https"),
        ({"verifier-key": "token"}, "no public key"),
    ):
        arguments = [f"--{name}={value}" for name, value in {**given, **options}.items()]
        command = ("edge", "enrolment", "serve", "--api-server", "https://api.test", "--port", "0")
        assert words in site.run(*command, *arguments, code=1)
