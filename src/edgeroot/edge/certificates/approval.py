"""Whether a CertificateSigningRequest for a HardwareCertificate is approved. Pure: objects, keys and the time come in.

What is approved is what somebody wished for in a resource that they had the right to make, for a key that was made in
the hardware of the node that the resource names, which is in trust. The agent that sends the request is believed in
nothing.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.edge.certificates.request import RequestError, check_request
from edgeroot.edge.certificates.resource import HardwareCertificate, ResourceError, read
from edgeroot.edge.results import ResultError, read_result

CERTIFICATE_ANNOTATION: Final = "edgeroot.dev/hardware-certificate"
"""On a CertificateSigningRequest: the HardwareCertificate that it is for, ``namespace/name``."""
RESULT_ANNOTATION: Final = "edgeroot.dev/attestation-result"
"""On a CertificateSigningRequest: the verifier's result (EAR in a JWT) about the key."""
NODE_NAME_EXTRA: Final = "authentication.kubernetes.io/node-name"
"""What the API server says of a token that is bound to a pod: the node that the pod is on."""
API_CLIENT_SIGNER: Final = "kubernetes.io/kube-apiserver-client"
"""Its certificates are credentials for the API server itself."""
_MAX_RESULT_AGE_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Who may ask for certificates of which signers, and whose results are believed."""

    requester: str
    signers: frozenset[str]
    verifier_key: ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class Judgement:
    """``reason`` in one word, ``message`` in words: they become the request's condition."""

    approved: bool
    reason: str
    message: str


class _Refusal(Exception):
    pass


def judge(
    request: Mapping[str, Any],
    *,
    resource: Mapping[str, Any] | None,
    edge_node: Mapping[str, Any] | None,
    rules: Rules,
    now: datetime,
) -> Judgement:
    """Judge a request that carries our annotation. ``edge_node`` is the EdgeNode that the resource names."""
    try:
        _check(request, resource, edge_node, rules, now)
    except (_Refusal, ResourceError, RequestError, ResultError) as error:
        return Judgement(approved=False, reason="EdgerootRefused", message=str(error))
    return Judgement(
        approved=True, reason="EdgerootAttested", message="the key was made in the hardware of a node in trust"
    )


def _check(
    request: Mapping[str, Any],
    resource: Mapping[str, Any] | None,
    edge_node: Mapping[str, Any] | None,
    rules: Rules,
    now: datetime,
) -> None:
    spec = request["spec"]
    if spec.get("username") != rules.requester:
        raise _Refusal("requests for hardware certificates come from the nodes' agents")
    if resource is None:
        raise _Refusal("there is no such HardwareCertificate")
    certificate = read(resource)
    if list((spec.get("extra") or {}).get(NODE_NAME_EXTRA) or ()) != [certificate.node_name]:
        raise _Refusal(f"the HardwareCertificate is for the node {certificate.node_name}, and another one asks")
    _check_wish(spec, certificate, rules)
    try:
        pem = b64decode(spec.get("request") or "", validate=True)
    except ValueError as error:
        raise _Refusal("spec.request is not base64") from error
    public_key = check_request(pem, certificate)
    _check_node(edge_node, certificate)
    token = (request["metadata"].get("annotations") or {}).get(RESULT_ANNOTATION)
    if not token:
        raise _Refusal(f"the request lacks the annotation {RESULT_ANNOTATION}")
    result = read_result(token, rules.verifier_key, now_s=now.timestamp(), max_age_s=_MAX_RESULT_AGE_S)
    if not result.is_affirming:
        raise _Refusal(f"the verifier says {result.status} of the device")
    if edge_node is None or result.device != (edge_node.get("spec") or {}).get("device"):
        raise _Refusal(f"the key is in another device than the node {certificate.node_name}")
    if result.attested_key != public_key:
        raise _Refusal("the device does not say that it has made this key and never let it out")


def _check_wish(spec: Mapping[str, Any], certificate: HardwareCertificate, rules: Rules) -> None:
    signer = spec.get("signerName")
    if signer != certificate.signer_name:
        raise _Refusal(f"the HardwareCertificate names the signer {certificate.signer_name}")
    if signer not in rules.signers:
        raise _Refusal(f"no requests to the signer {signer} are approved here: allow it with --signer")
    if sorted(spec.get("usages") or ()) != sorted(certificate.usages):
        raise _Refusal("the HardwareCertificate has other usages")
    if spec.get("expirationSeconds") != int(certificate.duration.total_seconds()):
        raise _Refusal("the HardwareCertificate has another duration")
    if signer == API_CLIENT_SIGNER:
        # Otherwise whoever may make the resource in one namespace could become any user of the cluster.
        user = f"edgeroot:{certificate.namespace}:{certificate.service_account_name}"
        if certificate.common_name != user or certificate.organizations:
            raise _Refusal(f"a credential for the API server has the commonName {user} and no organizations")


def _check_node(edge_node: Mapping[str, Any] | None, certificate: HardwareCertificate) -> None:
    if edge_node is None:
        raise _Refusal(f"there is no EdgeNode {certificate.node_name}")
    state = (edge_node.get("status") or {}).get("state")
    if state != "Affirmed":
        raise _Refusal(f"the node {certificate.node_name} is {state or 'Unattested'}")
