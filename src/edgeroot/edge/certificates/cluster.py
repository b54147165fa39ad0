"""The keeper's and the approver's side of the API server, over lightkube."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from lightkube import ApiError, Client
from lightkube.models.certificates_v1 import CertificateSigningRequestSpec
from lightkube.models.core_v1 import EventSource, ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.certificates_v1 import CertificateSigningRequest
from lightkube.resources.core_v1 import Event
from lightkube.types import PatchType

from edgeroot.edge import kinds
from edgeroot.edge.certificates.approval import CERTIFICATE_ANNOTATION, RESULT_ANNOTATION
from edgeroot.edge.certificates.decision import RequestState, SentRequest
from edgeroot.edge.certificates.resource import HardwareCertificate

FIELD_MANAGER: Final = "edgeroot-certificates"
_CONFLICT: Final = 409
_NOT_FOUND: Final = 404


class ApiCluster:
    """What the keeper needs of Kubernetes. httpx's errors and ApiError go through: the loop tries again."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def sent_request(self, name: str) -> SentRequest | None:
        try:
            found = self._client.get(CertificateSigningRequest, name)
        except ApiError as error:
            if error.status.code == _NOT_FOUND:
                return None
            raise
        status = found.status
        for condition in (status.conditions if status else None) or ():
            if condition.type in {"Denied", "Failed"}:
                told = condition.message or condition.reason or "no reason was given"
                return SentRequest(state=RequestState.REFUSED, reason=f"the request was refused: {told}")
        if status is not None and status.certificate:
            return SentRequest(state=RequestState.ISSUED, chain=b64decode(status.certificate))
        return SentRequest(state=RequestState.PENDING)

    def send_request(self, certificate: HardwareCertificate, *, name: str, request: bytes, result: str) -> None:
        sent = CertificateSigningRequest(
            metadata=ObjectMeta(
                name=name,
                annotations={
                    CERTIFICATE_ANNOTATION: f"{certificate.namespace}/{certificate.name}",
                    RESULT_ANNOTATION: result,
                },
            ),
            spec=CertificateSigningRequestSpec(
                request=b64encode(request).decode("ascii"),
                signerName=certificate.signer_name,
                usages=list(certificate.usages),
                expirationSeconds=int(certificate.duration.total_seconds()),
            ),
        )
        try:
            self._client.create(sent)
        except ApiError as error:
            if error.status.code != _CONFLICT:  # ours, sent before a restart
                raise

    def write_status(self, namespace: str, name: str, status: Mapping[str, Any]) -> None:
        self._client.patch(
            kinds.HardwareCertificate.Status,
            name,
            {"status": dict(status)},
            namespace=namespace,
            patch_type=PatchType.MERGE,
        )

    def tell(self, certificate: HardwareCertificate, *, reason: str, message: str, warning: bool = False) -> None:
        now = datetime.now(UTC)
        about = ObjectReference(
            apiVersion=kinds.API_VERSION,
            kind="HardwareCertificate",
            name=certificate.name,
            namespace=certificate.namespace,
            uid=certificate.uid,
        )
        self._client.create(
            Event(
                metadata=ObjectMeta(generateName=f"{certificate.name}-", namespace=certificate.namespace),
                involvedObject=about,
                reason=reason,
                message=message,
                type="Warning" if warning else "Normal",
                source=EventSource(component=FIELD_MANAGER, host=certificate.node_name),
                firstTimestamp=now,
                lastTimestamp=now,
                count=1,
            )
        )
