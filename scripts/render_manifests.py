"""Render the chart into plain manifests, for who has no Helm: deploy/kubernetes/edgeroot.yaml.

Usage: render_manifests.py [--helm PATH] [--check]. It takes a Helm, of which ``make chart`` gets the one that the chart
is tested with. What they are rendered with is the chart's defaults; the verifier's address in them has to be replaced.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PLACE: Final = ROOT / "deploy/kubernetes/edgeroot.yaml"
VERIFIER: Final = "https://verifier.example:8443"
_HEAD: Final = f"""\
# Rendered from deploy/helm/edgeroot by scripts/render_manifests.py: change that, not this. docs/kubernetes.md says how
# it is used. Replace {VERIFIER} and the image, and apply the definitions in crds first.
apiVersion: v1
kind: Namespace
metadata:
  name: edgeroot-system
  labels:
    # The node's part is more than "restricted" allows; nothing else should be in here.
    pod-security.kubernetes.io/enforce: privileged
"""
# What Helm says of itself.
_NOT_OURS: Final = ("app.kubernetes.io/managed-by: Helm", "helm.sh/chart: ", "# Source: ")


def render(helm: str | Path) -> str:
    """The manifests, by this Helm. What it runs at an uninstallation is not among them."""
    where = ["template", "edgeroot", str(ROOT / "deploy/helm/edgeroot"), "--namespace", "edgeroot-system", "--no-hooks"]
    values = ["--set", f"attestation.verifierUrl={VERIFIER}", "--kube-version", "1.35"]
    try:
        done = subprocess.run([helm, *where, *values], capture_output=True, text=True, check=False)
    except OSError as error:
        raise SystemExit(f"error: {helm}: {error.strerror}: name a Helm with --helm") from error
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    kept = [line for line in done.stdout.splitlines() if not line.strip().startswith(_NOT_OURS)]
    return _HEAD + "\n".join(kept) + "\n"


def main(arguments: list[str]) -> int:
    """Write them, or say whether they are what the chart gives."""
    parser = argparse.ArgumentParser(description="Render the chart into plain manifests.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if they are out of date")
    parser.add_argument("--helm", default="helm", metavar="PATH", help="the program (default: the one in PATH)")
    options = parser.parse_args(arguments)
    manifests = render(options.helm)
    if not options.check:
        PLACE.write_text(manifests)
        return 0
    if PLACE.read_text() == manifests:
        return 0
    print(f"{PLACE} is not what the chart gives: run scripts/render_manifests.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
