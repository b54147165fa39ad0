"""How the Parsec service shuts itself out of the secure world that runs as the same user.

Another user's processes and files are out of its reach anyway. The same user's are not: so before its first request
the service gives up all files but its own, and the system calls that reach into other processes. It can still talk to
the secure world over its socket, which is what it is for.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from edgeroot.confinement import landlock, seccomp

_SYSTEM: Final = tuple(map(Path, ("/usr", "/lib", "/lib64", "/bin", "/etc", "/opt", "/dev", "/sys/devices")))


def confine_service(*, read: Iterable[Path], write: Iterable[Path]) -> list[str]:
    """From now on and for ever, for this process and its children. Returns what was refused, in words.

    ``write`` are folders of the service's own; ``read`` those of its configuration. No /proc: what it needs to know of
    itself it knows by now.
    """
    system_calls = seccomp.compile_filter(None)  # while libseccomp can still be found
    code = [Path(sys.prefix), Path(sys.base_prefix), Path(sysconfig.get_path("purelib")), Path(__file__).parents[2]]
    readable = [*_SYSTEM, *code, *read]
    devices = [Path("/dev/null"), Path("/dev/urandom")]
    refused = landlock.restrict(read=readable, write=[*write, *devices], execute=True, network=True)
    return refused + seccomp.install(system_calls)
