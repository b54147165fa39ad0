"""Fragments of configuration in the documentation are what they are for takes: the service, systemd, Kubernetes."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from edgeroot.daemon.assembly import provider_types
from edgeroot.daemon.config import Host, read_document
from edgeroot.daemon.config_values import Findings, TableReader
from edgeroot.element.access_keys import parse_access_keys
from edgeroot.element.settings import ElementSettings
from scripts.check_docs import ROOT
from tests.support.requirements import unavailable

KUBERNETES = "1.35"
GROUP = "edgeroot.dev/v1alpha1"
COMPLETE = tomllib.loads((ROOT / "deploy/config/parsec.toml").read_text())
HOST = Host(Path("/work"), 4, lambda name: 0)


def fragments(kind: str) -> list[Any]:
    return list(_fragments(kind))


def _fragments(kind: str) -> Iterator[Any]:
    for path in sorted((ROOT / "docs").glob("*.md")):
        text = path.read_text()
        for found in re.finditer(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            yield pytest.param(found[1], id=f"{path.name}:{text.count(chr(10), 0, found.start()) + 1}")


@pytest.mark.parametrize("text", fragments("toml"))
def test_configuration(text: str) -> None:
    fragment = tomllib.loads(text)
    if "access_keys" in fragment:
        assert parse_access_keys(text)
    elif "device_type" in fragment:
        ElementSettings(**fragment)
    else:
        findings = Findings("fragment")
        read_document(TableReader({**COMPLETE, **fragment}, "", findings), provider_types(), HOST)
        assert (findings.problems, findings.warnings) == ([], [])


@pytest.mark.parametrize("text", fragments("ini"))
def test_units(text: str, tmp_path: Path) -> None:
    """A whole unit, or what is put over the service's."""
    if shutil.which("systemd-analyze") is None:
        unavailable("this needs systemd-analyze (Debian: systemd)")
    for unit in (ROOT / "deploy/systemd").glob("edgeroot.*"):
        shutil.copy(unit, tmp_path)
    unit = tmp_path / "edgeroot.service"
    if "[Unit]" in text:
        unit = tmp_path / "of-the-page.service"
        unit.write_text(text)
    else:
        (tmp_path / "edgeroot.service.d").mkdir()
        (tmp_path / "edgeroot.service.d/override.conf").write_text(text)
    for file in tmp_path.glob("*.service"):
        file.write_text(re.sub(r"/\S+/bin/edgeroot", "/bin/true", file.read_text()))
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("text", fragments("yaml"))
def test_objects_of_kubernetes(text: str) -> None:
    fragment = yaml.safe_load(text)
    if fragment.get("apiVersion") == GROUP:
        jsonschema.validate(fragment, strict(schema_of(fragment["kind"])))
    elif "registerWithTaints" in fragment:
        node = {"apiVersion": "v1", "kind": "Node", "spec": {"taints": fragment["registerWithTaints"]}}
        kubernetes_validate.validate(node, KUBERNETES, strict=True)
    elif "rules" in fragment:
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "x"}}
        kubernetes_validate.validate(role | fragment, KUBERNETES, strict=True)
    else:
        spec = fragment.get("spec", fragment)
        containers = [{"name": "x", **{key: spec.pop(key) for key in ("resources",) if key in spec}}]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": containers, **spec}}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def schema_of(kind: str) -> dict[str, Any]:
    for path in (ROOT / "deploy/kubernetes/crds").glob("*.yaml"):
        definition = yaml.safe_load(path.read_text())["spec"]
        if definition["names"]["kind"] == kind:
            (version,) = definition["versions"]
            schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
            return schema
    raise LookupError(kind)


def strict(schema: object) -> object:
    """As the API server takes it with ``--validate=strict``: nothing that the schema does not name."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    return {"additionalProperties": False, **closed} if "properties" in schema else closed
