"""What the identity program is told, and what it leaves itself."""

from __future__ import annotations

import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from edgeroot.auth import KubernetesSettings, TokenSettings
from edgeroot.confinement import landlock, process
from edgeroot.daemon.identity_program import Task, confine
from tests.support.forked import error_of, outcome_of
from tests.support.requirements import unavailable

FULL = KubernetesSettings(
    issuer="https://issuer",
    trust_domain="edge",
    api_server="https://api",
    ca_file=Path("/ca/ca.crt"),
    token_file=Path("/own/token"),
    jwks_file=Path("/keys/keys.json"),
    review="offline",
    review_interval_s=0.5,
    max_token_life_s=60.0,
    pod_resources=Path("/pods.sock"),
    resource="example.com/key",
    require_pod=False,
    pods_without_slot=True,
    accounts_without_slot=True,
)


@pytest.mark.parametrize(
    "tokens",
    [
        TokenSettings(audience="keys", clock_skew_s=0.25, workload_endpoint="unix:///agent.sock", kubernetes=FULL),
        TokenSettings(kubernetes=KubernetesSettings(issuer="https://issuer")),
        TokenSettings(workload_endpoint="unix:///agent.sock"),
    ],
)
@pytest.mark.parametrize("level", [None, "debug"])
def test_it_is_told_everything(tokens: TokenSettings, level: str | None) -> None:
    task = Task(tokens=tokens, longest_s=2.5, log_level=level, log_format="json", log_timestamps=True)
    assert Task.decode(task.encode()) == task


def test_the_test_above_has_a_value_of_its_own_for_every_setting() -> None:
    plain = KubernetesSettings(issuer="")
    assert all(getattr(FULL, one.name) != getattr(plain, one.name) for one in fields(KubernetesSettings))


def test_it_reaches_what_it_needs_and_no_key_store(tmp_path: Path) -> None:
    if landlock.abi() == 0:
        unavailable("this needs a kernel with Landlock")
    for name in ("ca", "own", "keys", "store"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    settings = KubernetesSettings(
        issuer="https://issuer",
        ca_file=tmp_path / "ca/file",
        token_file=tmp_path / "own/file",
        jwks_file=tmp_path / "keys/file",
    )

    def attempts() -> object:
        process.protect_process()
        assert confine(TokenSettings(kubernetes=settings)) == []
        (tmp_path / "keys/next").write_text("renewed")
        (tmp_path / "keys/next").rename(tmp_path / "keys/file")
        return [
            *((tmp_path / name / "file").read_text() for name in ("ca", "own", "keys")),
            error_of((tmp_path / "store/file").read_bytes),
            error_of(lambda: (tmp_path / "store/file").write_bytes(b"")),
            error_of(lambda: (tmp_path / "own/file").write_bytes(b"")),
            error_of((tmp_path / "own/new").touch),
            error_of(lambda: subprocess.run(["/bin/true"], check=False)),
        ]

    assert outcome_of(attempts) == ["ca", "own", "renewed", *["EACCES"] * 5]
