"""``python -m edgeroot.secure.bridge FILE``: build the bridge into this file and print its path."""

from __future__ import annotations

import sys
from pathlib import Path

from edgeroot.secure.bridge.build import BridgeError, build_bridge


def main() -> int:
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m edgeroot.secure.bridge FILE\n")
        return 2
    try:
        sys.stdout.write(f"{build_bridge(Path(sys.argv[1]))}\n")
    except BridgeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
