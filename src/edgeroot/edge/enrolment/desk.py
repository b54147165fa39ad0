"""The enrolment service's dealings, whoever carries them: a session, evidence for it, and what the device gets.

The verifier judges; the service believes nothing but the verifier's signature. The cluster says which device may be
which node. Who is admitted is decided one after another, so that of two devices only one gets a name.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.edge.enrolment.admission import Admission, KnownNode, Rules, admit
from edgeroot.edge.enrolment.binding import is_node_name
from edgeroot.edge.enrolment.errors import AwayError, RefusedError
from edgeroot.edge.enrolment.request import read_request
from edgeroot.edge.enrolment.sessions import Proved, Session, Sessions
from edgeroot.edge.enrolment.tokens import BootstrapToken, new_token
from edgeroot.edge.results import ResultError, read_result

Judge: TypeAlias = Callable[[bytes, str, bytes], str]
"""Has the verifier judge evidence (of a media type, for a challenge); its signed result. RefusedError, AwayError."""
TOKEN_LIFE_S: Final = 600
_RESULT_MAX_AGE_S: Final = 60
_log: Final = logging.getLogger(__name__)


class NoSessionError(Exception):
    """There is no such session, it has expired, or it has had its evidence."""


class Cluster(Protocol):
    """What is asked of the cluster. AwayError where it does not answer."""

    def edge_node(self, name: str) -> KnownNode | None: ...

    def edge_nodes_of(self, device: str) -> Iterable[KnownNode]: ...

    def has_node(self, name: str) -> bool: ...

    def create_edge_node(self, name: str, device: str) -> KnownNode:
        """RefusedError if there is one of this name."""

    def replace_token(self, node: KnownNode, token: BootstrapToken | None) -> None:
        """The node's bootstrap token is this one from now on, or none; an earlier one counts no more."""

    def approves_by_itself(self) -> bool:
        """Whether the cluster approves requests that come with bootstrap tokens, whatever is in them."""

    def certificate(self, request_name: str, pem: bytes, words: str) -> bytes:
        """The signed certificate in PEM. AwayError if it is not signed yet: the same question continues."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServer:
    """Where the new node finds the cluster, and by which authority it knows it (PEM)."""

    url: str
    authority: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """``token`` None: a certificate for the session's key is to be had instead."""

    node_name: str
    device: str
    token: BootstrapToken | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    sessions: Sessions
    judge: Judge
    verifier_key: ec.EllipticCurvePublicKey
    cluster: Cluster
    rules: Rules
    api_server: ApiServer
    now_s: Callable[[], int]
    token_life_s: int = TOKEN_LIFE_S
    _admitting: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, *, node_name: str, key_digest: bytes) -> Session:
        """RefusedError for a name that no node can have."""
        if node_name and not is_node_name(node_name):
            raise RefusedError("a node's name has up to 63 small letters, digits, '-' and '.'")
        return self.sessions.begin(node_name=node_name, key_digest=key_digest, now_s=self.now_s())

    def prove(self, session_id: str, media_type: str, evidence: bytes) -> Joined:
        """NoSessionError, RefusedError, AwayError; whatever comes of it, the session has had its evidence."""
        session = self.sessions.take(session_id, self.now_s())
        if session is None:
            raise NoSessionError("there is no such session, or it has had its evidence: begin a new one")
        challenge = session.challenge()
        device = self._affirmed(self.judge(evidence, media_type, challenge), challenge)
        with self._admitting:
            node = self._admitted(device, session.node_name)
            token = None if session.key_digest else self._token()
            self.cluster.replace_token(node, token)
        if token is None:
            self.sessions.prove(Proved(session=session, node_name=node.name, device=device))
        _log.info("device %s is affirmed, and may be node %s", device, node.name)
        return Joined(node_name=node.name, device=device, token=token)

    def certify(self, session_id: str, pem: bytes) -> bytes:
        """The certificate, in PEM, for the key that the evidence committed to. Errors as for evidence."""
        proved = self.sessions.proved(session_id, self.now_s())
        if proved is None:
            raise NoSessionError("there is no session that may have a certificate: begin a new one")
        wanted = read_request(pem)
        if wanted.key_digest != proved.session.key_digest:
            raise RefusedError("the certificate request is for another key than the evidence")
        if wanted.node_name != proved.node_name:
            raise RefusedError(f"the certificate request is for another node than {proved.node_name}")
        node = self.cluster.edge_node(proved.node_name)
        if node is None or node.device != proved.device:
            raise RefusedError(f"the node {proved.node_name} is another device's now, or nobody's")
        words = f"device {proved.device} was affirmed, and is this node"
        certificate = self.cluster.certificate(f"edgeroot-{session_id}", pem, words)
        _log.info("node %s has a certificate, for device %s", proved.node_name, proved.device)
        return certificate

    def _affirmed(self, result: str, challenge: bytes) -> str:
        """The device that the verifier affirms by this result, for this challenge. RefusedError."""
        try:
            said = read_result(result, self.verifier_key, now_s=self.now_s(), max_age_s=_RESULT_MAX_AGE_S)
        except ResultError as error:
            raise RefusedError(str(error)) from error
        if said.nonce != challenge:
            raise RefusedError("the verifier's result is about another challenge")
        if not said.is_affirming:
            raise RefusedError(f"the verifier does not affirm the device: it is {said.status}")
        return said.device

    def _admitted(self, device: str, wanted: str) -> KnownNode:
        admission = admit(
            device,
            wanted,
            of_device=self.cluster.edge_nodes_of(device),
            of_name=self.cluster.edge_node(wanted) if wanted else None,
            rules=self.rules,
        )
        return admission.known or self._new(admission, device)

    def _new(self, admission: Admission, device: str) -> KnownNode:
        """A node that is there and is nobody's device would be taken over by whoever came with its name."""
        if self.cluster.has_node(admission.name):
            raise RefusedError(f"there is a node {admission.name} already, and no EdgeNode that gives it a device")
        return self.cluster.create_edge_node(admission.name, device)

    def _token(self) -> BootstrapToken:
        if self.cluster.approves_by_itself():
            raise AwayError(
                "no tokens are given: the cluster approves what comes with bootstrap tokens by itself; take the"
                " permission certificatesigningrequests/nodeclient from system:bootstrappers"
            )
        return new_token(self.now_s() + self.token_life_s)
