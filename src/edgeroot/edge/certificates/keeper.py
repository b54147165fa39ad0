"""Keeping HardwareCertificates: one step at a time, over a port to the cluster and one to the node's keys."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from urllib.parse import quote

from edgeroot.edge.certificates.decision import (
    Fail,
    Observed,
    Publish,
    Request,
    SentRequest,
    decide,
    pause_s,
    renewal_time,
    request_name,
)
from edgeroot.edge.certificates.resource import HardwareCertificate, ResourceError, read

_log: Final = logging.getLogger(__name__)
# However long there is nothing to do, the key is looked at again after so long.
_LONGEST_WAIT_S: Final = 600.0
_SOON_S: Final = 1.0


class NodeError(Exception):
    """The node's service or the verifier did not do its part; the message says which and what to do."""


class Cluster(Protocol):
    """What the keeper needs of Kubernetes."""

    def sent_request(self, name: str) -> SentRequest | None: ...

    def send_request(self, certificate: HardwareCertificate, *, name: str, request: bytes, result: str) -> None: ...

    def write_status(self, namespace: str, name: str, status: Mapping[str, Any]) -> None: ...

    def tell(self, certificate: HardwareCertificate, *, reason: str, message: str, warning: bool = False) -> None: ...


class Keys(Protocol):
    """What the keeper needs of the node: the workload's keys, under the workload's identity. Raises NodeError."""

    def public_key(self, certificate: HardwareCertificate) -> bytes | None:
        """SubjectPublicKeyInfo in DER; None if there is no such key."""

    def create(self, certificate: HardwareCertificate) -> bytes:
        """Make the key and give its public part."""

    def request(self, certificate: HardwareCertificate) -> bytes:
        """A certificate request in PEM, signed by the key."""

    def attest(self, certificate: HardwareCertificate) -> str:
        """The verifier's signed result (EAR in a JWT) about a statement on the key."""


class Keeper:
    """Brings one HardwareCertificate after the other towards what it asks for. It keeps nothing in memory."""

    def __init__(self, cluster: Cluster, keys: Keys) -> None:
        self._cluster = cluster
        self._keys = keys

    def reconcile(self, resource: Mapping[str, Any], now: datetime) -> float:
        """Do what can be done now, and say after how many seconds to look again."""
        status: Mapping[str, Any] = resource.get("status") or {}
        try:
            certificate = read(resource)
        except ResourceError as error:
            self._say(resource, status, _condition(ready=False, reason="Invalid", message=str(error), now=now))
            return _LONGEST_WAIT_S
        try:
            return self._advance(certificate, resource, dict(status), now)
        except NodeError as error:
            _log.warning("HardwareCertificate %s/%s: %s", certificate.namespace, certificate.name, error)
            self._fail(certificate, resource, dict(status), str(error), now)
            return pause_s(status.get("failures", 0) + 1)

    def _advance(
        self, certificate: HardwareCertificate, resource: Mapping[str, Any], status: dict[str, Any], now: datetime
    ) -> float:
        observed = Observed(
            chain=status.get("certificate", "").encode() or None,
            published_generation=status.get("publishedGeneration", 0),
            published_at=_time(status.get("publishedAt")),
            public_key=self._keys.public_key(certificate),
            request=None,
            failures=status.get("failures", 0),
            failed_at=_time(status.get("failedAt")),
        )
        observed = replace(observed, request=self._cluster.sent_request(request_name(certificate, observed)))
        step = decide(certificate, observed, now)
        if isinstance(step, Request):
            self._send(certificate, observed)
            message = f"waits for the signer {certificate.signer_name}"
            if not status.get("serialNumber"):
                self._say(resource, status, _condition(ready=False, reason="Requested", message=message, now=now))
            return _SOON_S
        if isinstance(step, Publish):
            self._publish(certificate, resource, step, now)
            return _SOON_S
        if isinstance(step, Fail):
            self._fail(certificate, resource, status, step.reason, now)
            return _SOON_S
        return min(step.seconds, _LONGEST_WAIT_S)

    def _send(self, certificate: HardwareCertificate, observed: Observed) -> None:
        if observed.public_key is None:
            observed = replace(observed, public_key=self._keys.create(certificate))
            self._cluster.tell(certificate, reason="KeyCreated", message=f"made the key {certificate.key_name}")
        # The result is asked for last: whoever approves wants it to be fresh.
        request = self._keys.request(certificate)
        result = self._keys.attest(certificate)
        name = request_name(certificate, observed)
        self._cluster.send_request(certificate, name=name, request=request, result=result)
        self._cluster.tell(certificate, reason="Requested", message=f"sent the request {name}")

    def _publish(
        self, certificate: HardwareCertificate, resource: Mapping[str, Any], step: Publish, now: datetime
    ) -> None:
        leaf = step.leaf
        status = {
            "certificate": step.chain.decode("ascii"),
            "keyURI": key_uri(certificate.key_name),
            "serialNumber": f"{leaf.serial_number:x}",
            "notBefore": _text(leaf.not_valid_before_utc),
            "notAfter": _text(leaf.not_valid_after_utc),
            "renewalTime": _text(renewal_time(leaf, certificate.uid)),
            "publishedGeneration": certificate.generation,
            "publishedAt": _text(now),
            # Without them the next attempt would find the request of an earlier one by its name.
            "failures": 0,
        }
        message = f"{certificate.signer_name} has issued a certificate until {status['notAfter']}"
        self._say(resource, status, _condition(ready=True, reason="Issued", message=message, now=now))
        self._cluster.tell(certificate, reason="Issued", message=message)

    def _fail(
        self,
        certificate: HardwareCertificate,
        resource: Mapping[str, Any],
        status: dict[str, Any],
        reason: str,
        now: datetime,
    ) -> None:
        status |= {"failures": status.get("failures", 0) + 1, "failedAt": _text(now)}
        end = _time(status.get("notAfter"))
        is_ready = end is not None and end > now
        told = f"{reason} (the certificate before is in use until {status['notAfter']})" if is_ready else reason
        self._say(resource, status, _condition(ready=is_ready, reason="Failed", message=told, now=now))
        self._cluster.tell(certificate, reason="Failed", message=reason, warning=True)

    def _say(self, resource: Mapping[str, Any], status: Mapping[str, Any], condition: Mapping[str, Any]) -> None:
        metadata = resource["metadata"]
        before = (resource.get("status") or {}).get("conditions") or []
        same = [one for one in before if one.get("status") == condition["status"]]
        if same:  # the time says since when, and it was so before
            condition = {**condition, "lastTransitionTime": same[0]["lastTransitionTime"]}
        told = {**status, "observedGeneration": metadata.get("generation", 0), "conditions": [condition]}
        if told != resource.get("status"):
            self._cluster.write_status(metadata["namespace"], metadata["name"], told)


def key_uri(key_name: str) -> str:
    """A PKCS#11 URI (RFC 7512) of a private key in the service, as programs with a PKCS#11 module take it."""
    return f"pkcs11:object={quote(key_name, safe='-._~')};type=private"


def _condition(*, ready: bool, reason: str, message: str, now: datetime) -> dict[str, Any]:
    return {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": reason,
        "message": message,
        "lastTransitionTime": _text(now),
    }


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
