"""The keeper over a cluster and keys in memory: what it does, in which order, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.edge.certificates.decision import RequestState, SentRequest
from edgeroot.edge.certificates.keeper import Keeper, NodeError
from edgeroot.edge.certificates.request import check_request, make_request
from edgeroot.edge.certificates.resource import HardwareCertificate, read
from tests.unit.edge.certificates.support import NOW, issued, public_bytes, resource


@dataclass
class MemoryCluster:
    """A cluster with one HardwareCertificate; its signer acts when the test says so."""

    resource: dict[str, Any] = field(default_factory=resource)
    requests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    answers: dict[str, SentRequest] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    status_writes: int = 0

    def sent_request(self, name: str) -> SentRequest | None:
        if name not in self.requests:
            return None
        return self.answers.get(name, SentRequest(state=RequestState.PENDING))

    def send_request(self, certificate: HardwareCertificate, *, name: str, request: bytes, result: str) -> None:
        self.requests[name] = (request, result)

    def write_status(self, namespace: str, name: str, status: Mapping[str, Any]) -> None:
        self.resource["status"] = {**self.resource.get("status", {}), **status}
        self.status_writes += 1

    def tell(self, certificate: HardwareCertificate, *, reason: str, message: str, warning: bool = False) -> None:
        self.events.append(reason)

    @property
    def condition(self) -> dict[str, Any]:
        [condition] = self.resource["status"]["conditions"]
        found: dict[str, Any] = condition
        return found

    @property
    def chain(self) -> str:
        return str(self.resource["status"]["certificate"])

    def answer(self, answer: SentRequest) -> None:
        self.answers[list(self.requests)[-1]] = answer


@dataclass
class MemoryKeys:
    """Keys of this process: the keeper sees no difference."""

    key: ec.EllipticCurvePrivateKey | None = None
    fault: str = ""

    def public_key(self, certificate: HardwareCertificate) -> bytes | None:
        if self.fault:
            raise NodeError(self.fault)
        return None if self.key is None else public_bytes(self.key)

    def create(self, certificate: HardwareCertificate) -> bytes:
        self.key = ec.generate_private_key(ec.SECP256R1())
        return public_bytes(self.key)

    def request(self, certificate: HardwareCertificate) -> bytes:
        assert self.key is not None
        return make_request(certificate, self.key)

    def attest(self, certificate: HardwareCertificate) -> str:
        return "result"


@dataclass
class Scene:
    cluster: MemoryCluster = field(default_factory=MemoryCluster)
    keys: MemoryKeys = field(default_factory=MemoryKeys)

    def look(self, now: datetime = NOW) -> float:
        """One look by a keeper that was started just now: it has to find everything in the cluster."""
        return Keeper(self.cluster, self.keys).reconcile(self.cluster.resource, now)

    def issue(self, *, begin: datetime = NOW) -> None:
        assert self.keys.key is not None
        self.cluster.answer(SentRequest(state=RequestState.ISSUED, chain=issued(self.keys.key, begin=begin)))


def test_from_the_wish_to_the_certificate() -> None:
    scene = Scene()
    scene.look()
    assert scene.cluster.condition["reason"] == "Requested"
    [(name, (pem, result))] = scene.cluster.requests.items()
    assert result == "result"
    assert len(check_request(pem, read(scene.cluster.resource))) > 0
    scene.look()
    assert list(scene.cluster.requests) == [name]
    scene.issue()
    scene.look()
    assert scene.cluster.resource["status"]["keyURI"] == "pkcs11:object=till;type=private"
    assert scene.cluster.chain.startswith("-----BEGIN CERTIFICATE-----")
    assert scene.cluster.condition["status"] == "True"
    assert scene.cluster.events == ["KeyCreated", "Requested", "Issued"]
    writes = scene.cluster.status_writes
    assert scene.look() == 600.0
    assert scene.cluster.status_writes == writes


def test_it_is_renewed_with_the_same_key() -> None:
    scene = Scene()
    scene.look()
    scene.issue()
    scene.look()
    key, first = scene.keys.key, scene.cluster.chain
    later = NOW + timedelta(days=60)
    scene.look(later)
    assert scene.cluster.chain == first
    assert scene.cluster.condition["status"] == "True"
    scene.issue(begin=later)
    scene.look(later)
    assert scene.cluster.chain != first
    assert scene.keys.key is key
    assert len(scene.cluster.requests) == 2


def test_a_refusal_is_told_and_tried_again_later() -> None:
    scene = Scene()
    scene.look()
    scene.cluster.answer(SentRequest(state=RequestState.REFUSED, reason="the node gateway-7 is Expired"))
    scene.look()
    assert scene.cluster.condition["reason"] == "Failed"
    assert "gateway-7 is Expired" in scene.cluster.condition["message"]
    assert scene.look(NOW + timedelta(seconds=5)) == 25.0
    assert len(scene.cluster.requests) == 1
    scene.look(NOW + timedelta(seconds=31))
    assert len(scene.cluster.requests) == 2


def test_a_failed_renewal_leaves_the_certificate_in_use() -> None:
    scene = Scene()
    scene.look()
    scene.issue()
    scene.look()
    chain = scene.cluster.chain
    later = NOW + timedelta(days=60)
    scene.look(later)
    scene.cluster.answer(SentRequest(state=RequestState.REFUSED, reason="no"))
    scene.look(later)
    assert scene.cluster.chain == chain
    assert scene.cluster.condition["status"] == "True"
    assert "no (the certificate before is in use until" in scene.cluster.condition["message"]


def test_a_key_that_is_gone_is_made_anew() -> None:
    scene = Scene()
    scene.look()
    scene.issue()
    scene.look()
    scene.keys.key = None
    scene.look()
    scene.issue()
    scene.look()
    assert len(scene.cluster.requests) == 2
    assert scene.cluster.condition["reason"] == "Issued"


def test_a_changed_wish_is_carried_out() -> None:
    scene = Scene()
    scene.look()
    scene.issue()
    scene.look()
    scene.cluster.resource["metadata"]["generation"] = 2
    scene.cluster.resource["spec"]["dnsNames"] = ["new.shop.svc"]
    scene.look()
    pem, _ = list(scene.cluster.requests.values())[-1]
    check_request(pem, read(scene.cluster.resource))
    assert len(scene.cluster.requests) == 2


def test_a_service_that_is_away_is_asked_ever_less_often() -> None:
    scene = Scene(keys=MemoryKeys(fault="the node's service: nobody listens"))
    assert [scene.look() for _ in range(3)] == [30, 60, 120]
    assert scene.cluster.condition["message"] == "the node's service: nobody listens"
    scene.keys.fault = ""
    scene.look(NOW + timedelta(minutes=5))
    assert len(scene.cluster.requests) == 1


def test_a_bad_wish_is_told_once() -> None:
    scene = Scene(cluster=MemoryCluster(resource=resource(duration="1d")))
    assert [scene.look(), scene.look()] == [600, 600]
    assert scene.cluster.condition["reason"] == "Invalid"
    assert scene.cluster.status_writes == 1
    assert scene.cluster.requests == {}
