"""What the programs of a control plane are told: their command lines, decided from addresses and files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from peers.kubernetes.identities import Authority, Identity

SERVICE_NETWORK: Final = "10.96.0.0/16"
# The first address of that network is the API server's own service.
SERVICE_ADDRESS: Final = "10.96.0.1"
ISSUER: Final = "https://kubernetes.default.svc.cluster.local"
# Clear of 443 and 6443, which a cluster of somebody else would have.
API_SERVER_PORT: Final = 16443
ETCD_PORT: Final = 12379
ETCD_PEER_PORT: Final = 12380
CONTROLLER_MANAGER_PORT: Final = 20257
SCHEDULER_PORT: Final = 20259
PORTS: Final = (API_SERVER_PORT, ETCD_PORT, ETCD_PEER_PORT, CONTROLLER_MANAGER_PORT, SCHEDULER_PORT)


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """One control plane, reached at ``address``; ``listen`` is where its API server listens."""

    folder: Path
    authority: Authority
    server: Identity
    listen: str
    address: str
    api_port: int = API_SERVER_PORT

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.api_port}"

    @property
    def etcd_url(self) -> str:
        return f"https://{self.address}:{ETCD_PORT}"

    @property
    def controller_manager(self) -> Path:
        """Where its kubeconfig lies, named as who it is."""
        return self.folder / "pki/kube-controller-manager.kubeconfig"

    @property
    def scheduler(self) -> Path:
        """Where its kubeconfig lies, named as who it is."""
        return self.folder / "pki/kube-scheduler.kubeconfig"

    @property
    def etcd_data(self) -> Path:
        return self.folder / "etcd"

    def etcd_member(self) -> list[str]:
        """Who the one member of etcd is: what a restored snapshot has to be told as well."""
        peer = f"http://{self.address}:{ETCD_PEER_PORT}"
        return [
            "--name=only",
            f"--initial-cluster=only={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--data-dir={self.etcd_data}",
        ]

    def etcd(self) -> list[str]:
        ca = self.authority.own.certificate
        return [
            "etcd",
            *self.etcd_member(),
            f"--listen-peer-urls=http://{self.address}:{ETCD_PEER_PORT}",
            f"--listen-client-urls={self.etcd_url}",
            f"--advertise-client-urls={self.etcd_url}",
            "--client-cert-auth",
            f"--trusted-ca-file={ca}",
            f"--cert-file={self.server.certificate}",
            f"--key-file={self.server.key}",
            # Processes are killed here, machines are not.
            "--unsafe-no-fsync",
        ]

    def etcd_client(self) -> list[str]:
        """The options by which etcd's own tool finds it."""
        return [
            f"--endpoints={self.etcd_url}",
            f"--cacert={self.authority.own.certificate}",
            f"--cert={self.server.certificate}",
            f"--key={self.server.key}",
        ]

    def api_server(self) -> list[str]:
        ca = self.authority.own.certificate
        return [
            "kube-apiserver",
            f"--bind-address={self.listen}",
            f"--secure-port={self.api_port}",
            # The address in the endpoints of the service `kubernetes`, which may not be a loopback address.
            f"--advertise-address={self.address if not self.address.startswith('127.') else '198.18.0.1'}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            f"--etcd-servers={self.etcd_url}",
            f"--etcd-cafile={ca}",
            f"--etcd-certfile={self.server.certificate}",
            f"--etcd-keyfile={self.server.key}",
            f"--tls-cert-file={self.server.certificate}",
            f"--tls-private-key-file={self.server.key}",
            f"--client-ca-file={ca}",
            f"--kubelet-certificate-authority={ca}",
            f"--kubelet-client-certificate={self.server.certificate}",
            f"--kubelet-client-key={self.server.key}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-signing-key-file={self.authority.token_key}",
            f"--service-account-key-file={self.authority.token_public_key}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--enable-bootstrap-token-auth",
        ]

    def controllers(self) -> list[str]:
        ca = self.authority.own
        return [
            "kube-controller-manager",
            f"--kubeconfig={self.controller_manager}",
            f"--authentication-kubeconfig={self.controller_manager}",
            f"--authorization-kubeconfig={self.controller_manager}",
            f"--bind-address={self.address}",
            f"--secure-port={CONTROLLER_MANAGER_PORT}",
            f"--tls-cert-file={self.server.certificate}",
            f"--tls-private-key-file={self.server.key}",
            "--leader-elect=false",
            "--controllers=*,bootstrapsigner,tokencleaner",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self.authority.token_key}",
            f"--root-ca-file={ca.certificate}",
            f"--cluster-signing-cert-file={ca.certificate}",
            f"--cluster-signing-key-file={ca.key}",
        ]

    def schedules(self) -> list[str]:
        return [
            "kube-scheduler",
            f"--kubeconfig={self.scheduler}",
            f"--authentication-kubeconfig={self.scheduler}",
            f"--authorization-kubeconfig={self.scheduler}",
            f"--bind-address={self.address}",
            f"--secure-port={SCHEDULER_PORT}",
            f"--tls-cert-file={self.server.certificate}",
            f"--tls-private-key-file={self.server.key}",
            "--leader-elect=false",
        ]
