"""``python -m edgeroot.secure.spm``: an emulated secure world, in the foreground until it is told to stop.

On a device that was provisioned this is the first stage of the boot: the partition manager comes from a verified image
and from nowhere else. Elsewhere the installed one runs.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run; the exit code."""
    from edgeroot.secure.stage.options import is_provisioned

    if is_provisioned(arguments):
        from edgeroot.secure.stage.main import main as boot

        refused = boot(arguments)
        if refused is not None:
            return refused
    from edgeroot.secure.spm.run import main as run

    return run(arguments, is_verified=False)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))
