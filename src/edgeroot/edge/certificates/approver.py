"""The cluster's side of HardwareCertificates: approves requests, and puts certificates where pods find them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TypeVar

from lightkube import ApiError, Client
from lightkube.codecs import from_dict
from lightkube.resources.certificates_v1 import CertificateSigningRequestApproval

from edgeroot.edge import kinds
from edgeroot.edge.certificates.approval import CERTIFICATE_ANNOTATION, Judgement, Rules, judge
from edgeroot.edge.certificates.publisher import config_map_for
from edgeroot.edge.following import Object

T = TypeVar("T")
_FIELD_MANAGER: Final = "edgeroot-certificate-approver"
_NOT_FOUND: Final = 404
_NEVER_S: Final = 3600.0
_log: Final = logging.getLogger(__name__)


class Approver:
    """Judges each request that carries our annotation, once. Others are not ours."""

    def __init__(self, client: Client, rules: Rules) -> None:
        self._client = client
        self._rules = rules

    def look(self, request: Object) -> float:
        place = (request["metadata"].get("annotations") or {}).get(CERTIFICATE_ANNOTATION)
        if place is None or (request.get("status") or {}).get("conditions"):
            return _NEVER_S
        namespace, _, name = place.partition("/")
        resource = edge_node = None
        if name:
            resource = _found(lambda: self._client.get(kinds.HardwareCertificate, name, namespace=namespace))
        if resource is not None:
            edge_node = _found(lambda: self._client.get(kinds.EdgeNode, resource["spec"]["nodeName"]))
        self._answer(
            request, judge(request, resource=resource, edge_node=edge_node, rules=self._rules, now=datetime.now(UTC))
        )
        return _NEVER_S

    def publish(self, resource: Object) -> float:
        config_map = config_map_for(resource)
        if config_map is not None:
            # Applied and not forced: a ConfigMap of that name that somebody else fills stays theirs.
            self._client.apply(from_dict(config_map), field_manager=_FIELD_MANAGER)
        return _NEVER_S

    def _answer(self, request: Object, judgement: Judgement) -> None:
        """With the resourceVersion that was judged: a request that was answered meanwhile is a conflict."""
        name = request["metadata"]["name"]
        condition = {
            "type": "Approved" if judgement.approved else "Denied",
            "status": "True",
            "reason": judgement.reason,
            "message": judgement.message,
            "lastUpdateTime": datetime.now(UTC).isoformat(),
        }
        _log.info("request %s: %s: %s", name, condition["type"], judgement.message)
        answered = {**request, "status": {**(request.get("status") or {}), "conditions": [condition]}}
        sent = CertificateSigningRequestApproval.from_dict(answered)
        assert isinstance(sent, CertificateSigningRequestApproval)
        self._client.replace(sent, name)


def _found(get: Callable[[], T]) -> T | None:
    """None if there is no such object."""
    try:
        return get()
    except ApiError as error:
        if error.status.code == _NOT_FOUND:
            return None
        raise
