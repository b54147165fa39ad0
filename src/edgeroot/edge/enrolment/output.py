"""What a new node is given, as files for the engine that makes a node of it. All are YAML in the shape of JSON."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from edgeroot.edge.enrolment.device import Credential
from edgeroot.edge.enrolment.errors import RefusedError

TAINT: Final = "edgeroot.dev/unattested"
"""The node brings it along: until the controller has seen the verifier's word, nothing is placed on it."""


class Output(StrEnum):
    KUBELET = "kubelet"
    """A kubeconfig with the node's certificate: bound to the key."""
    KUBEADM = "kubeadm"
    """A kubeconfig with a bootstrap token, and a JoinConfiguration: bound to the name, and good for one certificate."""
    K3S = "k3s"
    """A part of k3s's configuration with a bootstrap token: good for minutes."""


DIRECTORIES: Final[Mapping[Output, str]] = {
    Output.KUBELET: "/etc/kubernetes",
    Output.KUBEADM: "/etc/kubernetes",
    Output.K3S: "/etc/rancher/k3s/config.yaml.d",
}
"""Where each engine looks, or is told to."""
FILES: Final[Mapping[Output, tuple[str, ...]]] = {
    Output.KUBELET: ("kubelet-client.pem", "kubelet.conf"),
    Output.KUBEADM: ("edgeroot-bootstrap.conf", "edgeroot-join.yaml"),
    Output.K3S: ("edgeroot.yaml",),
}


def files_of(credential: Credential, output: Output, directory: Path) -> dict[str, bytes]:
    """Contents by name, in the order in which they are to be written. ``directory``: where they will lie."""
    contents = {Output.KUBELET: _kubelet, Output.KUBEADM: _kubeadm, Output.K3S: _k3s}[output](credential, directory)
    return dict(zip(FILES[output], contents, strict=True))


def _kubelet(credential: Credential, directory: Path) -> tuple[bytes, bytes]:
    """Key and certificate are in one file, so that they are replaced together; a kubelet that renews them reads it."""
    pem = directory / FILES[Output.KUBELET][0]
    user = {"client-certificate": str(pem), "client-key": str(pem)}
    return credential.private_key + credential.certificate, _json(_kubeconfig(credential, user))


def _kubeadm(credential: Credential, directory: Path) -> tuple[bytes, bytes]:
    join = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        "discovery": {
            "file": {"kubeConfigPath": str(directory / FILES[Output.KUBEADM][0])},
            "tlsBootstrapToken": credential.token,
        },
        "nodeRegistration": {
            "name": credential.node_name,
            "taints": [{"key": TAINT, "effect": "NoSchedule"}],
        },
    }
    return _json(_kubeconfig(credential, {"token": credential.token})), _json(join)


def _k3s(credential: Credential, _directory: Path) -> tuple[bytes]:
    config = {
        "server": credential.api_server,
        "token": f"K10{_k3s_hash(credential.authority)}::{credential.token}",
        "node-name": credential.node_name,
        "node-taint": [f"{TAINT}=:NoSchedule"],
    }
    return (_json(config),)


def _k3s_hash(authority: str) -> str:
    """By what a k3s agent knows its server (k3s, "Token Format"): one certificate by its file, several by the root."""
    try:
        certificates = x509.load_pem_x509_certificates(authority.encode())
    except ValueError as error:
        raise RefusedError("the cluster's certificate authority is not in PEM") from error
    if len(certificates) == 1:
        return sha256(authority.encode()).hexdigest()
    roots = [one for one in certificates if one.issuer == one.subject]
    if len(roots) != 1:
        raise RefusedError("k3s knows a server by one root certificate: give the service that with --api-server-ca")
    return roots[0].fingerprint(hashes.SHA256()).hex()


def _kubeconfig(credential: Credential, user: Mapping[str, str]) -> dict[str, Any]:
    authority = b64encode(credential.authority.encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "cluster",
                "cluster": {"server": credential.api_server, "certificate-authority-data": authority},
            }
        ],
        "users": [{"name": "node", "user": dict(user)}],
        "contexts": [{"name": "node@cluster", "context": {"cluster": "cluster", "user": "node"}}],
        "current-context": "node@cluster",
    }


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"
