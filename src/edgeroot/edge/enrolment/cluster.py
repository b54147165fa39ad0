"""The cluster's side of enrolment, through the API server.

Secrets are never read: RBAC cannot tell one from another by what it is. A token's Secret is made, changed by a patch
that succeeds on ours only (an admission policy holds that too), and removed. What else has to be known of the last
token is its public half, in an annotation of the EdgeNode.
"""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx2
from lightkube import ApiError, Client, ConfigError
from lightkube.generic_resource import GenericGlobalResource
from lightkube.models.authorization_v1 import ResourceAttributes, SubjectAccessReviewSpec
from lightkube.models.certificates_v1 import CertificateSigningRequestCondition, CertificateSigningRequestSpec
from lightkube.models.certificates_v1 import CertificateSigningRequestStatus as Status
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.authorization_v1 import SubjectAccessReview
from lightkube.resources.certificates_v1 import CertificateSigningRequest, CertificateSigningRequestApproval
from lightkube.resources.core_v1 import Node, Secret
from lightkube.types import PatchType

from edgeroot.edge.enrolment import tokens
from edgeroot.edge.enrolment.admission import KnownNode
from edgeroot.edge.enrolment.approval import Asked
from edgeroot.edge.enrolment.errors import AwayError, RefusedError
from edgeroot.edge.enrolment.request import SIGNER, USAGES
from edgeroot.edge.kinds import EdgeNode

TOKEN_ANNOTATION: Final = "edgeroot.dev/enrolment-token"
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_UNPROCESSABLE: Final = 422
_SIGNING_S: Final = 10.0
_STEP_S: Final = 0.2
_STATE_PATH: Final = "/metadata/annotations/" + tokens.STATE.replace("/", "~1")
_BOOTSTRAPPERS: Final = ["system:bootstrappers", tokens.GROUP, "system:authenticated"]


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        raise AwayError(f"the API server refuses: {error.status.message}") from error
    except (httpx2.HTTPError, ConfigError) as error:
        raise AwayError(f"the API server does not answer: {error}") from error


class ApiCluster:
    """What desk and approver ask of the cluster."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def edge_node(self, name: str) -> KnownNode | None:
        with _asking():
            try:
                return _known(self._client.get(EdgeNode, name))
            except ApiError as error:
                if error.status.code == _NOT_FOUND:
                    return None
                raise

    def edge_nodes_of(self, device: str) -> list[KnownNode]:
        with _asking():
            return [_known(one) for one in self._client.list(EdgeNode, fields={"spec.device": device})]

    def has_node(self, name: str) -> bool:
        with _asking():
            try:
                self._client.get(Node, name)
            except ApiError as error:
                if error.status.code == _NOT_FOUND:
                    return False
                raise
        return True

    def create_edge_node(self, name: str, device: str) -> KnownNode:
        """RefusedError if there is one of this name."""
        with _asking():
            try:
                made = self._client.create(EdgeNode(metadata=ObjectMeta(name=name), spec={"device": device}))
            except ApiError as error:
                if error.status.code == _CONFLICT:
                    raise RefusedError(f"the name {name} belongs to another device") from error
                raise
        return _known(made)

    def replace_token(self, node: KnownNode, token: tokens.BootstrapToken | None) -> None:
        """The earlier one ends first. Cut off anywhere, the annotation names the only token that there may be."""
        if node.token_id:
            self.drop(node.token_id)
        with _asking():
            noted = None if token is None else token.token_id
            change = {"metadata": {"annotations": {TOKEN_ANNOTATION: noted}}}  # None removes it
            self._client.patch(EdgeNode, node.name, change, patch_type=PatchType.MERGE)
        if token is not None:
            metadata = ObjectMeta(
                name=tokens.secret_name(token.token_id),
                namespace=tokens.NAMESPACE,
                labels={tokens.LABEL: "token"},
                annotations={tokens.NODE: node.name, tokens.DEVICE: node.device, tokens.STATE: tokens.OPEN},
            )
            data = tokens.secret_data(token, node_name=node.name, device=node.device)
            with _asking():
                self._client.create(Secret(metadata=metadata, type=tokens.TYPE, data=data))

    def approves_by_itself(self) -> bool:
        """Kubernetes' own approver asks this about whoever sends a request for a kubelet's certificate."""
        asked = SubjectAccessReviewSpec(
            user="system:bootstrap:edgeroot",
            groups=_BOOTSTRAPPERS,
            resourceAttributes=ResourceAttributes(
                group="certificates.k8s.io",
                resource="certificatesigningrequests",
                subresource="nodeclient",
                verb="create",
            ),
        )
        with _asking():
            answer = self._client.create(SubjectAccessReview(spec=asked))
        return answer.status is None or answer.status.allowed

    def certificate(self, request_name: str, pem: bytes, words: str) -> bytes:
        """The signed certificate in PEM. AwayError if it is not signed in time: the same question continues."""
        encoded = b64encode(pem).decode()
        spec = CertificateSigningRequestSpec(request=encoded, signerName=SIGNER, usages=list(USAGES))
        with _asking():
            try:
                self._client.create(CertificateSigningRequest(metadata=ObjectMeta(name=request_name), spec=spec))
            except ApiError as error:
                if error.status.code != _CONFLICT:
                    raise
            found = self._client.get(CertificateSigningRequest, request_name)
            if found.spec.request != encoded or found.spec.signerName != SIGNER:
                raise RefusedError("this session has had another certificate request")
            self._decide(request_name, found, "Approved", words)
            return self._signed(request_name)

    def _signed(self, request_name: str) -> bytes:
        deadline_s = time.monotonic() + _SIGNING_S
        while True:
            status = self._client.get(CertificateSigningRequest, request_name).status or Status()
            if status.certificate:
                return b64decode(status.certificate)
            for one in status.conditions or ():
                if one.type in ("Denied", "Failed"):
                    raise RefusedError(f"the cluster signs no certificate: {one.message or one.reason}")
            if time.monotonic() > deadline_s:
                raise AwayError("the cluster has not signed the certificate yet", retry_after_s=1.0)
            time.sleep(_STEP_S)

    def claim(self, token_id: str, request_uid: str) -> tokens.Binding:
        """Use the token up for this request, however often that is tried. RefusedError if another request has."""
        used = tokens.used_by(request_uid)
        for state in (tokens.OPEN, used):
            patch = [
                {"op": "test", "path": _STATE_PATH, "value": state},
                {"op": "replace", "path": _STATE_PATH, "value": used},
            ]
            with _asking():
                try:
                    secret = self._client.patch(
                        Secret,
                        tokens.secret_name(token_id),
                        patch,
                        namespace=tokens.NAMESPACE,
                        patch_type=PatchType.JSON,
                    )
                except ApiError as error:
                    if error.status.code == _NOT_FOUND:
                        raise RefusedError("the token is used up, or was withdrawn: enrol again") from error
                    if error.status.code != _UNPROCESSABLE:
                        raise
                else:
                    return _binding(secret)
        raise RefusedError("the token was used by another request")

    def drop(self, token_id: str) -> None:
        with _asking():
            try:
                self._client.delete(Secret, tokens.secret_name(token_id), namespace=tokens.NAMESPACE)
            except ApiError as error:
                if error.status.code != _NOT_FOUND:
                    raise

    def approve(self, asked: Asked, words: str) -> None:
        self._decide_asked(asked, "Approved", words)

    def deny(self, asked: Asked, words: str) -> None:
        self._decide_asked(asked, "Denied", words)

    def requests(self) -> list[Asked]:
        """Undecided requests for kubelets' certificates."""
        with _asking():
            return [
                asked
                for one in self._client.list(CertificateSigningRequest, fields={"spec.signerName": SIGNER})
                if (asked := _asked(one)) is not None
            ]

    def settled(self) -> list[str]:
        """The users of decided requests that came with our tokens; others' tokens are not ours to end."""
        with _asking():
            return [
                one.spec.username or ""
                for one in self._client.list(CertificateSigningRequest, fields={"spec.signerName": SIGNER})
                if one.status is not None and one.status.conditions and tokens.GROUP in (one.spec.groups or ())
            ]

    def _decide_asked(self, asked: Asked, decision: str, words: str) -> None:
        with _asking():
            found = self._client.get(CertificateSigningRequest, asked.name)
            if found.metadata is not None and found.metadata.uid == asked.uid:
                self._decide(asked.name, found, decision, words)

    def _decide(self, name: str, found: CertificateSigningRequest, decision: str, words: str) -> None:
        """Unless it is decided. What was read is what is decided on: a request that has changed since is a conflict."""
        if found.status is not None and found.status.conditions:
            return
        condition = CertificateSigningRequestCondition(
            type=decision, status="True", reason="EdgerootEnrolment", message=words
        )
        decided = CertificateSigningRequestApproval(
            metadata=found.metadata, spec=found.spec, status=Status(conditions=[condition])
        )
        self._client.replace(decided, name)


def _known(found: GenericGlobalResource) -> KnownNode:
    metadata = found.metadata or ObjectMeta()
    content = dict(found)
    return KnownNode(
        name=str(metadata.name),
        device=str((content.get("spec") or {}).get("device", "")).lower(),
        token_id=(metadata.annotations or {}).get(TOKEN_ANNOTATION, ""),
        state=str((content.get("status") or {}).get("state", "")),
    )


def _binding(secret: Secret) -> tokens.Binding:
    noted = (secret.metadata.annotations if secret.metadata else None) or {}
    try:
        expires = b64decode((secret.data or {})["expiration"]).decode()
        return tokens.Binding(
            node_name=noted[tokens.NODE], device=noted[tokens.DEVICE], expires_at_s=tokens.seconds_of(expires)
        )
    except (LookupError, ValueError) as error:
        raise RefusedError("the token does not say whose it is: enrol again") from error


def _asked(found: CertificateSigningRequest) -> Asked | None:
    """None if it is decided."""
    spec, metadata = found.spec, found.metadata
    if metadata is None or metadata.creationTimestamp is None or (found.status is not None and found.status.conditions):
        return None
    return Asked(
        name=str(metadata.name),
        uid=str(metadata.uid),
        user=spec.username or "",
        groups=frozenset(spec.groups or ()),
        usages=frozenset(spec.usages or ()),
        made_at_s=int(metadata.creationTimestamp.timestamp()),
        pem=b64decode(spec.request),
    )
