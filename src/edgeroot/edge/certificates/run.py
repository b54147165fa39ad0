"""The two programs: the keeper on a node, and the approver in the cluster."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from lightkube import Client
from lightkube.resources.certificates_v1 import CertificateSigningRequest

from edgeroot.edge.certificates.accounts import Accounts
from edgeroot.edge.certificates.approval import Rules
from edgeroot.edge.certificates.approver import Approver
from edgeroot.edge.certificates.cluster import ApiCluster
from edgeroot.edge.certificates.keeper import Keeper
from edgeroot.edge.certificates.keys import AskVerifier, ServiceKeys
from edgeroot.edge.following import Follower, Object, run
from edgeroot.edge.kinds import HardwareCertificate

_WISH: Final = ("uid", "generation")


def run_keeper(node_name: str, endpoint: str, ask_verifier: AskVerifier, stop: threading.Event) -> None:
    """``endpoint`` is a listener of the node's service that takes tokens without a pod."""
    client = Client()
    keys = ServiceKeys(Accounts(client, endpoint).connect, ask_verifier)
    keeper = Keeper(ApiCluster(client), keys)
    follower = Follower(client, HardwareCertificate, fields={"spec.nodeName": node_name})
    run(
        follower,
        lambda resource: keeper.reconcile(resource, datetime.now(UTC)),
        is_news=_is_another_wish,
        stopped=stop.is_set,
    )


def run_approver(verifier_key: bytes, requester: str, signers: frozenset[str], stop: threading.Event) -> None:
    """ValueError unless the verifier's key is one of P-256 in PEM."""
    key = load_pem_public_key(verifier_key)
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise ValueError("the verifier's key has to be one of P-256: results are signed with ES256")
    client = Client()
    approver = Approver(client, Rules(requester=requester, signers=signers, verifier_key=key))
    requests = Follower(client, CertificateSigningRequest)
    resources = Follower(client, HardwareCertificate)
    publishing = threading.Thread(
        target=run,
        args=(resources, approver.publish),
        kwargs={"is_news": _is_another_certificate, "stopped": stop.is_set},
        name="publishing",
    )
    publishing.start()
    try:
        run(requests, approver.look, is_news=lambda before, _: before is None, stopped=stop.is_set)
    finally:
        stop.set()
        publishing.join()


def _is_another_wish(before: Object | None, found: Object) -> bool:
    return before is None or any(before["metadata"].get(one) != found["metadata"].get(one) for one in _WISH)


def _is_another_certificate(before: Object | None, found: Object) -> bool:
    return before is None or (before.get("status") or {}).get("certificate") != (found.get("status") or {}).get(
        "certificate"
    )
