"""``python -m peers``: build the root that the genuine upstream programs live in, if it is not there yet.

Without root there is nothing to build: that is said, and is an error only in CI, where no test may be skipped for it.
"""

from __future__ import annotations

import os
import subprocess
import sys

from peers.root import PeersRoot, PeersUnavailableError


def main() -> int:
    root = PeersRoot.configured()
    if os.geteuid() != 0:
        print("peers: not root, so the tests against genuine upstream programs will be skipped")
        return 1 if os.environ.get("CI") == "true" else 0
    if root.missing():
        print(f"peers: building {root.path} (two minutes)", flush=True)
    try:
        root.build()
    except (PeersUnavailableError, subprocess.CalledProcessError) as error:
        print(f"peers: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
