"""The genuine promtool of Prometheus, unpacked from Debian's package: ``python -m peers.promtool`` fetches it.

It is only unpacked, for installing the package would start a Prometheus.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from peers.root import PeersUnavailableError

_DEFAULT_PATH: Final = "/var/lib/edgeroot-promtool"


def _configured() -> Path:
    return Path(os.environ.get("EDGEROOT_PROMTOOL_ROOT", _DEFAULT_PATH), "promtool")


def promtool() -> Path:
    """The program. Raises PeersUnavailableError if it is not there."""
    path = _configured()
    if not path.exists():
        raise PeersUnavailableError(f"there is no {path}: run `make chart`")
    return path


def main() -> int:
    """Fetch it; an error only in CI, where no test may be skipped for it."""
    path = _configured()
    if path.exists():
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        # As root even for the download: apt's own user may not write here.
        commands = [
            ["apt-get", "update"],
            ["apt-get", "-o", "APT::Sandbox::User=root", "download", "prometheus"],
            ["sh", "-c", "dpkg-deb --extract prometheus_*.deb ."],
        ]
        for command in commands:
            done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                print(f"promtool: `{' '.join(command)}` failed:\n{done.stderr}", file=sys.stderr)
                return 1 if os.environ.get("CI") == "true" else 0
        (Path(place) / "usr/bin/promtool").rename(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
