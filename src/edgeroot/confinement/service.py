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

_DEVICES: Final = (Path("/dev/null"), Path("/dev/urandom"))
_SYSTEM: Final = tuple(map(Path, ("/usr", "/lib", "/lib64", "/bin", "/etc", "/opt", "/dev", "/sys/devices")))


def confine_service(*, read: Iterable[Path], write: Iterable[Path]) -> list[str]:
    """From now on and for ever, for this process and its children. Returns what was refused, in words.

    ``write`` are folders of the service's own; ``read`` those of its configuration. No /proc: what it needs to know of
    itself it knows by now.
    """
    system_calls = seccomp.compile_filter(None)  # while libseccomp can still be found
    refused = landlock.restrict(read=[*_code(), *read], write=[*write, *_DEVICES], execute=True, network=True)
    return refused + seccomp.install(system_calls)


def confine_files(*, read: Iterable[Path], write: Iterable[Path]) -> list[str]:
    """As :func:`confine_service`, for a process of a service that may have confined itself already.

    It runs no programs, and reaches no other files than these.
    """
    return landlock.restrict(read=[*_code(), *read], write=[*write, *_DEVICES], execute=False, network=True)


def _code() -> list[Path]:
    """What Python and its modules are read from, and the system's configuration."""
    code = [Path(sys.prefix), Path(sys.base_prefix), Path(sysconfig.get_path("purelib")), Path(__file__).parents[2]]
    return [*_SYSTEM, *code]
