"""The genuine Pebble, Let's Encrypt's ACME server for tests, built from its Go module: ``python -m peers.pebble``."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from peers.root import PeersUnavailableError
from peers.toolchains import search_path

VERSION: Final = "v2.10.3"
_DEFAULT_PATH: Final = "/var/lib/edgeroot-pebble"


def _configured() -> Path:
    return Path(os.environ.get("EDGEROOT_PEBBLE_ROOT", _DEFAULT_PATH), VERSION, "pebble")


def pebble() -> Path:
    """The program. Raises PeersUnavailableError if it is not there."""
    path = _configured()
    if not path.exists():
        raise PeersUnavailableError(f"there is no {path}: run `make peers` where Go is")
    return path


def main() -> int:
    """Build it, in ten seconds; an error only in CI, where no test may be skipped for it."""
    path = _configured()
    if path.exists():
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PATH": search_path()}
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        command = ["go", "install", f"github.com/letsencrypt/pebble/v2/cmd/pebble@{VERSION}"]
        try:
            done = subprocess.run(
                command, env={**environment, "GOBIN": place}, capture_output=True, text=True, check=False
            )
            said = done.stderr if done.returncode else ""
        except OSError as error:
            said = str(error)
        if said:
            print(f"peers: `{' '.join(command)}` failed:\n{said}", file=sys.stderr)
            return 1 if os.environ.get("CI") == "true" else 0
        Path(place, "pebble").rename(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
