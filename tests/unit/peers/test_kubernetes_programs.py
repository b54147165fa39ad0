"""Where a genuine Kubernetes comes from, and what is said where it cannot be had."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from peers import PeersUnavailableError
from peers.kubernetes import Programs


def test_programs_that_were_not_built_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEROOT_KUBERNETES_ROOT", str(tmp_path))

    with pytest.raises(
        PeersUnavailableError, match=r"lacks kubernetes, busybox-static, .*: run `make cluster` as root"
    ):
        Programs.ready()


def test_folder_is_named_by_the_version_and_by_what_it_is_built_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEROOT_KUBERNETES_ROOT", str(tmp_path))
    before = Programs.configured().path

    source = tmp_path / "source"
    source.mkdir()
    (source / "go.mod").write_text("require (\n\tk8s.io/kubernetes v1.99.0\n)\n")
    monkeypatch.setattr("peers.kubernetes.build._SOURCE", source)
    after = Programs.configured().path

    assert before.parent == after.parent == tmp_path
    assert re.fullmatch(r"v1\.99\.0-[0-9a-f]{12}", after.name)
    assert re.fullmatch(r"v1\.\d+\.\d+-[0-9a-f]{12}", before.name)


def test_go_that_is_too_old_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEROOT_KUBERNETES_ROOT", str(tmp_path / "root"))
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho go1.19.8\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    with pytest.raises(PeersUnavailableError, match=r"go is go1\.19\.8: Kubernetes needs Go 1\.21 or newer"):
        Programs.configured().build()
