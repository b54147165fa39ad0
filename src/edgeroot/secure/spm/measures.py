"""``python -m edgeroot.secure.spm.measures``: what this system grants of the isolation, as JSON, one finding a line.

The process does to itself what a partition does, and looks at what has come of it. No partition is started.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Final

from edgeroot.confinement import partition, process
from edgeroot.secure.spm.sandbox import LANDLOCK, NAME_SPACES, OWN_USERS, SECCOMP, Finding, probe

_STATUS_BYTES: Final = 4096
_BOUNDED: Final = (resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)
_FILTERED: Final = "2"  # the value of Seccomp in /proc/PID/status


def try_measures() -> list[Finding]:
    """Every measure, tried. This process is confined from then on and for ever."""
    findings = {finding.measure: finding for finding in probe()}
    system_calls = partition.system_call_filter()
    status = os.open("/proc/self/status", os.O_RDONLY)  # which Landlock closes
    partition.protect("measures")
    partition.confine(read=(), write=(), system_calls=system_calls)
    state = dict(line.split(":\t", 1) for line in os.pread(status, _STATUS_BYTES, 0).decode().splitlines())
    for measure, holds in ((LANDLOCK, not _opens("/")), (SECCOMP, state["Seccomp"] == _FILTERED)):
        findings[measure] = replace(findings[measure], in_force=holds)
    granted = {measure: finding.in_force for measure, finding in findings.items()}
    return [*findings.values(), *_own_measures(state), *_of_several(granted)]


def _own_measures(state: dict[str, str]) -> Iterator[Finding]:
    """What a process gives up by itself."""
    old = "take a kernel of 5.13 or later, outside of an emulation that lacks the call"
    yield Finding(
        "no new privileges", state["NoNewPrivs"] == "1", "a partition could gain privileges by starting a program", old
    )
    core = resource.getrlimit(resource.RLIMIT_CORE)
    yield Finding("no core dumps", core == (0, 0), "a crash may write a partition's memory to a file", old)
    yield Finding(
        "no debugger", not process.is_traceable(), "the user's other processes may read a partition's memory", old
    )
    locked = int(state["VmLck"].split()[0])
    yield Finding(
        "memory out of swap",
        locked > 0,
        "a partition's memory may be swapped out",
        "set the limit on locked memory to infinite (LimitMEMLOCK=infinity or limits.conf), or have no swap",
    )
    limits = [resource.getrlimit(kind) for kind in _BOUNDED]
    bounded = all(resource.RLIM_INFINITY not in limit for limit in limits)
    yield Finding("bounded resources", bounded, "a partition may take all of the system's processes and files", old)


def _of_several(granted: dict[str, bool]) -> Iterator[Finding]:
    """What follows from any of several measures, or from all of them."""
    yield Finding(
        "no network",
        granted[NAME_SPACES] or granted[SECCOMP],
        "a partition can talk to the network",
        "install bubblewrap or libseccomp (Debian: bubblewrap, libseccomp2)",
    )
    yield Finding(
        "the service shut out",
        granted[OWN_USERS] or (granted[LANDLOCK] and granted[SECCOMP]),
        "a service of the same user could look into the secure world once it is taken over",
        "start the secure world as root, or see to Landlock and seccomp",
    )


def _opens(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except PermissionError:
        return False
    return True


def main() -> int:
    """Print what was found; the exit code."""
    sys.stdout.writelines(f"{json.dumps(asdict(finding))}\n" for finding in try_measures())
    return 0


if __name__ == "__main__":
    sys.exit(main())
