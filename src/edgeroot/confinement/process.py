"""What the kernel can do so that secrets in memory stay there. Each measure says whether the system granted it."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Collection
from contextlib import suppress
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_PR_SET_NO_NEW_PRIVS: Final = 38
_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_MCL_ONFAULT: Final = 4
FIRST: Final = -10
"""The niceness of a process that others wait for."""
_libc: Final = ctypes.CDLL(None, use_errno=True)


def protect_process() -> list[str]:
    """No core dumps, no debugger of the same user, no new privileges, no swap. Returns what was refused, in words."""
    refused = []
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        refused.append("other processes of this user may read this one's memory (PR_SET_DUMPABLE was refused)")
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        refused.append("programs started from here could gain privileges (PR_SET_NO_NEW_PRIVS was refused)")
    if not lock_memory():
        refused.append("memory may be swapped out: give the service LimitMEMLOCK=infinity, or have no swap")
    return refused


def is_traceable() -> bool:
    """Whether other processes of this user may read this one's memory, and a crash may write it to a file."""
    return bool(_libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)


def lock_memory() -> bool:
    """Keep what this process touches out of swap; to be said again in every child. False if the system refuses."""
    # Under a lower limit than infinity the call could succeed now and every later allocation fail.
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] != resource.RLIM_INFINITY:
        return False
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return bool(_libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0)


def limit_resources(*, processes: int, descriptors: int, file_bytes: int) -> None:
    """Bound what this process and its children may take; limits that are lower already stay."""
    wanted = (
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_NOFILE, descriptors),
        (resource.RLIMIT_FSIZE, file_bytes),
    )
    for kind, limit in wanted:
        hard = resource.getrlimit(kind)[1]
        bound = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (bound, bound))


def close_descriptors(kept: Collection[int]) -> None:
    """Close everything but standard input, output, error, and these."""
    begin = 3
    for descriptor in sorted(descriptor for descriptor in kept if descriptor >= begin):
        os.closerange(begin, descriptor)
        begin = descriptor + 1
    os.closerange(begin, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def raise_descriptor_limit() -> int:
    """Let this process open as many descriptors as it may; returns that number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def go_first() -> None:
    """As root: let this process run before others. What it starts does so as well until it gives way."""
    with suppress(PermissionError):  # root without the capability, as in some containers
        os.setpriority(os.PRIO_PROCESS, 0, FIRST)


def give_way() -> None:
    """Do not run before ordinary processes, from now on and for good."""
    if os.getpriority(os.PRIO_PROCESS, 0) < 0:
        os.setpriority(os.PRIO_PROCESS, 0, 0)


def end_with_parent(parent_pid: int) -> None:
    """Have the kernel end this process when its parent ends, so that none outlives the service and its locks."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def name_process(name: str) -> None:
    """What `ps` and `top` show for this process; the kernel keeps 15 bytes of it."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
