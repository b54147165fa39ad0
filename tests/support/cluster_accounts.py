"""What edgeroot's programs find in a cluster: its resources, their rights, and credentials of their accounts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from peers.kubernetes import Cluster
from tests.support.killing import Killed, killed

DEPLOY: Final = Path(__file__).parents[2] / "deploy" / "kubernetes"
SYSTEM: Final = "edgeroot-system"


def deploy(cluster: Cluster, *files: str) -> None:
    """Apply these files of ``deploy/kubernetes``; a resource's definition is waited for. May be done again."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    for file in files:
        cluster.kubectl("apply", "-f", str(DEPLOY / file))
        if file.startswith("crds/"):
            cluster.wait_for(f"crd/{Path(file).stem}s.edgeroot.dev", "condition=Established")


def account_kubeconfig(cluster: Cluster, account: str, path: Path, *bound: str) -> Path:
    """A kubeconfig with a new token of this account of ours; ``bound`` are options of ``kubectl create token``."""
    token = cluster.kubectl("create", "token", account, "-n", SYSTEM, *bound).strip()
    given = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    path.write_text(json.dumps({**given, "users": [{"name": given["users"][0]["name"], "user": {"token": token}}]}))
    path.chmod(0o600)
    return path


@contextmanager
def running_edge(
    kubeconfig: Path, folder: Path, *arguments: str, environment: Mapping[str, str] = os.environ
) -> Iterator[None]:
    """``edgeroot edge`` with these arguments, in this folder, with its log there; it has to run until the end."""
    log_path = folder / "log"
    command = [sys.executable, "-m", "edgeroot", "edge", *arguments]
    environment = {**environment, "KUBECONFIG": str(kubeconfig)}
    with (
        log_path.open("ab") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            yield
            assert process.poll() is None, log_path.read_text()
        finally:
            process.terminate()


def killed_edge(
    kubeconfig: Path, folder: Path, *arguments: str, lives_s: tuple[float, float]
) -> AbstractContextManager[Killed]:
    """The same, but killed after a chance of so many seconds, and started again, until it is spared or the end."""
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    return killed("edge", *arguments, environment=environment, folder=folder, lives_s=lives_s)
