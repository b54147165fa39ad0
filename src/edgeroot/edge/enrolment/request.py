"""Certificate requests of kubelets (PKCS #10), made and read. A kubelet's client certificate is its whole identity.

What a request may hold is what the signer ``kubernetes.io/kube-apiserver-client-kubelet`` signs: the subject, and
nothing beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from edgeroot.edge.enrolment.errors import RefusedError

SIGNER: Final = "kubernetes.io/kube-apiserver-client-kubelet"
USAGES: Final = ("digital signature", "client auth")
_USAGES_OF_RSA: Final = ("digital signature", "key encipherment", "client auth")
_NODES: Final = "system:nodes"
_NODE: Final = "system:node:"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRequest:
    """``key_digest`` is SHA-256 of the SubjectPublicKeyInfo."""

    node_name: str
    key_digest: bytes


def key_digest(key: ec.EllipticCurvePublicKey) -> bytes:
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def make_request(node_name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """In PEM."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _NODES),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{_NODE}{node_name}"),
        ]
    )
    request = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM)


def read_request(pem: bytes) -> NodeRequest:
    """RefusedError for a request that is not a kubelet's."""
    try:
        request = x509.load_pem_x509_csr(pem)
        is_signed = request.is_signature_valid
        has_more = len(request.extensions) > 0
        names = {one.oid: str(one.value) for one in request.subject}
        public = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise RefusedError("this is no certificate request in PEM") from error
    if not is_signed:
        raise RefusedError("the certificate request is not signed by its own key")
    common_name = names.pop(NameOID.COMMON_NAME, "")
    if has_more or len(request.subject) != 2 or names != {NameOID.ORGANIZATION_NAME: _NODES}:
        raise RefusedError(f"a node's certificate is for the organisation {_NODES} and its own name, and nothing else")
    if not common_name.startswith(_NODE):
        raise RefusedError(f"the certificate request is for {common_name[:100]!r}, which is no node")
    return NodeRequest(node_name=common_name.removeprefix(_NODE), key_digest=sha256(public).digest())


def are_kubelets_usages(usages: frozenset[str]) -> bool:
    """Key encipherment comes with RSA keys, and with kubelets before 1.27."""
    return usages in (frozenset(USAGES), frozenset(_USAGES_OF_RSA))
