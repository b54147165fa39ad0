"""What becomes of a certificate request that came with one of our bootstrap tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgeroot.edge.enrolment.admission import KnownNode
from edgeroot.edge.enrolment.errors import RefusedError
from edgeroot.edge.enrolment.request import NodeRequest, are_kubelets_usages, read_request
from edgeroot.edge.enrolment.tokens import GROUP, Binding, token_id_of

CONTRAINDICATED = "Contraindicated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A CertificateSigningRequest that nobody has decided. ``made_at_s`` counts from 1970; ``pem`` is its request."""

    name: str
    uid: str
    user: str
    groups: frozenset[str]
    usages: frozenset[str]
    made_at_s: int
    pem: bytes


class Tokens(Protocol):
    """What is asked of the cluster. AwayError where it does not answer."""

    def claim(self, token_id: str, request_uid: str) -> Binding:
        """Use the token up for this request, however often that is tried. RefusedError if another request has."""

    def drop(self, token_id: str) -> None:
        """Make an end of the token, if there is one."""

    def edge_node(self, name: str) -> KnownNode | None: ...

    def approve(self, asked: Asked, words: str) -> None: ...

    def deny(self, asked: Asked, words: str) -> None: ...


def is_ours(asked: Asked) -> bool:
    return GROUP in asked.groups


def settle(asked: Asked, tokens: Tokens) -> str:
    """Decide a request of ours, and say so in words.

    The order lets no second request through wherever it is cut off: the token is first taken by this one request, and
    then it is approved, and then the token goes. A token that came with a wrong request is gone before it is denied.
    """
    token_id = token_id_of(asked.user)
    try:
        if token_id is None:
            raise RefusedError("whoever has no bootstrap token of ours is not of its group")
        wanted = _read(asked)
        binding = tokens.claim(token_id, asked.uid)
        _match(asked, wanted, binding, token_id, tokens.edge_node(binding.node_name))
    except RefusedError as error:
        if token_id is not None:
            tokens.drop(token_id)
        tokens.deny(asked, str(error))
        return f"denied {asked.name}: {error}"
    tokens.approve(asked, f"device {binding.device} was affirmed, and is this node")
    tokens.drop(token_id)
    return f"approved {asked.name}: device {binding.device} is node {binding.node_name}"


def _read(asked: Asked) -> NodeRequest:
    if not are_kubelets_usages(asked.usages):
        raise RefusedError("a node's certificate is for digital signature and client auth")
    return read_request(asked.pem)


def _match(asked: Asked, wanted: NodeRequest, binding: Binding, token_id: str, node: KnownNode | None) -> None:
    if wanted.node_name != binding.node_name:
        raise RefusedError(f"the token is for node {binding.node_name}, not {wanted.node_name[:100]!r}")
    if asked.made_at_s > binding.expires_at_s:
        raise RefusedError("the token has expired: enrol again")
    if node is None or node.device != binding.device:
        raise RefusedError("the node is another device's now, or nobody's")
    if node.token_id != token_id:
        raise RefusedError("the device has enrolled again since: this token counts no more")
    if node.state == CONTRAINDICATED:
        raise RefusedError("the verifier has contraindicated the device since")
