"""Keeper and approver of certificates, each the only one: killed while there is work, and with wrong clocks."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509

from edgeroot.edge.certificates.approval import CERTIFICATE_ANNOTATION
from peers.kubernetes import Cluster
from tests.support.cluster_accounts import killed_edge, running_edge
from tests.support.edge_nodes import until
from tests.support.hardware_certificates import Scene, deploy_certificates, running_scene
from tests.support.stepped_clock import SteppedClock

LIVES_S: Final = (1.0, 3.0)  # they are there after a second
KILLS: Final = 8
HOUR_S: Final = 3600
CHANGED: Final = 3


@pytest.mark.timeout(300)
def test_the_only_keeper_and_the_only_approver_are_killed(cluster: Cluster, tmp_path: Path) -> None:
    deploy_certificates(cluster)
    with running_scene(cluster, tmp_path) as everything:
        scene = everything.in_new_namespace()
        names: list[str] = []
        with (
            killed_edge(scene.keeper, tmp_path, *scene.keeping, lives_s=LIVES_S) as keepers,
            killed_edge(scene.approver, tmp_path, *scene.approving, lives_s=LIVES_S) as approvers,
        ):
            while min(keepers.kills, approvers.kills) < KILLS:
                names.append(f"till-{len(names)}")
                scene.wish(names[-1])
                time.sleep(1.0)
            for name in names:
                scene.condition(name, "Issued")
            for name in names[:CHANGED]:
                wish = ("hardwarecertificate", name, "-n", scene.namespace, "--type=merge")
                cluster.kubectl("patch", *wish, "-p", '{"spec": {"duration": "2h"}}')
            until(lambda: all(_is_as_wished(scene, name) for name in names), "all are there", timeout_s=120)
            approvers.spare()
            until(lambda: all(_is_published(scene, name) for name in names), "pods find them", timeout_s=60)
        with scene.as_till() as client:
            assert {key.name for key in client.list_keys()} == set(names)  # and none beside them
            keys = {name: client.public_key(name) for name in names}
        for name in names:
            leaf = x509.load_pem_x509_certificate(_status(scene, name)["certificate"].encode())
            assert leaf.public_key() == keys[name]
        requests = _requests(scene)
        assert all(one["status"].get("certificate") for one in requests)
        of_each = Counter(one["metadata"]["annotations"][CERTIFICATE_ANNOTATION] for one in requests)
        assert of_each == {f"{scene.namespace}/{name}": 1 + (name in names[:CHANGED]) for name in names}


def _status(scene: Scene, name: str) -> dict[str, Any]:
    found: dict[str, Any] = scene.cluster.get("hardwarecertificate", name, "-n", scene.namespace)
    return {"generation": found["metadata"]["generation"], **found.get("status", {})}


def _is_as_wished(scene: Scene, name: str) -> bool:
    status = _status(scene, name)
    return bool(status.get("publishedGeneration") == status["generation"])


def _is_published(scene: Scene, name: str) -> bool:
    return bool(scene.published(name)["tls.crt"] == _status(scene, name)["certificate"])


def _requests(scene: Scene) -> list[dict[str, Any]]:
    """Those for certificates of the namespace."""
    found = scene.cluster.get("csr")["items"]
    prefix = f"{scene.namespace}/"
    return [
        one
        for one in found
        if one["metadata"].get("annotations", {}).get(CERTIFICATE_ANNOTATION, "").startswith(prefix)
    ]


def test_a_keepers_clock(cluster: Cluster, tmp_path: Path) -> None:
    """Neither a rush of renewals nor a certificate that does not come."""
    deploy_certificates(cluster)
    clock = SteppedClock(tmp_path / "clock")
    with (
        running_scene(cluster, tmp_path) as everything,
        running_edge(everything.approver, tmp_path, *everything.approving),
        running_edge(everything.keeper, tmp_path, *everything.keeping, environment=clock.environment),
    ):
        scene = everything.in_new_namespace()
        clock.be_off(2 * HOUR_S)
        scene.wish("ahead")
        scene.condition("ahead", "Issued")
        time.sleep(8)
        clock.be_off(-2 * HOUR_S)  # before the API server's own certificate began
        scene.wish("behind")
        time.sleep(5)
        clock.be_off(0)
        scene.condition("behind", "Issued")
        requests = [one["metadata"]["annotations"][CERTIFICATE_ANNOTATION] for one in _requests(scene)]
        assert sorted(requests) == [f"{scene.namespace}/{name}" for name in ("ahead", "behind")]
