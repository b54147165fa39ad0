"""The alerts, judged by Prometheus' own tool: each is well-formed, and fires when it should and not before."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from peers import PeersUnavailableError
from peers.promtool import promtool
from tests.support.requirements import unavailable

MONITORING: Final = Path(__file__).parents[3] / "deploy/monitoring"


@pytest.fixture(scope="module")
def tool() -> Path:
    try:
        return promtool()
    except PeersUnavailableError as error:
        unavailable(str(error))


def _run(tool: Path, *arguments: str, folder: Path = MONITORING) -> str:
    done = subprocess.run([tool, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_what_prometheus_takes(tool: Path) -> None:
    assert "SUCCESS: 12 rules found" in _run(tool, "check", "rules", "--lint-fatal", "rules.yaml")


def test_each_alert_fires_when_it_should(tool: Path) -> None:
    rules = yaml.safe_load((MONITORING / "rules.yaml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    stories = yaml.safe_load((MONITORING / "rules_test.yaml").read_text())
    told = {one["alertname"] for story in stories["tests"] for one in story["alert_rule_test"] if one["exp_alerts"]}

    assert told == alerts
    _run(tool, "test", "rules", "rules_test.yaml")


def test_an_alert_that_comes_too_early_is_noticed(tool: Path, tmp_path: Path) -> None:
    rules = (MONITORING / "rules.yaml").read_text()
    (tmp_path / "rules.yaml").write_text(rules.replace("for: 15m", "for: 1m"))
    (tmp_path / "rules_test.yaml").write_text((MONITORING / "rules_test.yaml").read_text())

    with pytest.raises(AssertionError, match="EdgerootNodeExpired"):
        _run(tool, "test", "rules", "rules_test.yaml", folder=tmp_path)


def test_prometheus_can_read_what_the_dashboard_asks(tool: Path, tmp_path: Path) -> None:
    dashboard = yaml.safe_load((MONITORING / "dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(asked) > 15
    plain = [one.replace("$__rate_interval", "5m").replace("$instance", ".*") for one in asked]
    # As rules, for which there is a check in every version of the tool.
    rules = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(plain)]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    assert f"{len(asked)} rules found" in _run(tool, "check", "rules", "panels.yaml", folder=tmp_path)
