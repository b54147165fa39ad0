"""The story of the fleet, told as `make demo-edge` tells it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from peers.kubernetes import NODE
from tests.support.requirements import require_root

CHECKOUT = Path(__file__).parents[3]
PICTURES = {"edge-affirmed.png", "edge-contraindicated.png", "edge-why.png", "edge-back.png"}


@pytest.mark.timeout(600)
def test_the_story_is_true_to_its_end(tmp_path: Path) -> None:
    require_root("run containers")
    places = set(Path("/tmp").glob("edge-*"))
    done = subprocess.run(
        [sys.executable, "-m", "examples.edge_fleet", "--pictures", str(tmp_path)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"made a key in the secure world of {NODE}, and its signature is good" in done.stdout
    assert "the next pod of the account has signed with the same key" in done.stdout
    assert "the camera is evicted" in done.stdout
    assert "the camera that waited is bound to node-2" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == PICTURES
    assert set(Path("/tmp").glob("edge-*")) == places
