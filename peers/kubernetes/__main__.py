"""``python -m peers.kubernetes``: build the programs of a cluster, if they are not there yet.

Without root there is nothing to build: that is said, and is an error only in CI, where no test may be skipped for it.
"""

from __future__ import annotations

import os
import subprocess
import sys

from peers.kubernetes.build import Programs
from peers.root import PeersUnavailableError


def main() -> int:
    programs = Programs.configured()
    if not programs.missing():
        return 0
    if os.geteuid() != 0:
        print("kubernetes: not root, so the tests against a genuine cluster will be skipped")
        return 1 if os.environ.get("CI") == "true" else 0
    try:
        programs.build()
    except (PeersUnavailableError, subprocess.CalledProcessError) as error:
        print(f"kubernetes: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
