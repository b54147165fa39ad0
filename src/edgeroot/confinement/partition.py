"""The measures of a partition's process: some when it starts, the last ones when all that it needs is open."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from edgeroot.confinement import landlock, process, seccomp

_PROCESSES: Final = 256
_DESCRIPTORS: Final = 4096
_FILE_BYTES: Final = 1 << 32


def protect(name: str) -> list[str]:
    """At start: no core dump, debugger, new privileges or swap, bounded resources. What was refused, in words."""
    refused = process.protect_process()
    process.name_process(f"edgeroot-{name}")
    process.limit_resources(processes=_PROCESSES, descriptors=_DESCRIPTORS, file_bytes=_FILE_BYTES)
    return refused


def system_call_filter(*, i2c: bool = False) -> bytes:
    """What :func:`confine` installs; made outside, where libseccomp is. Empty if it is not there.

    With ``i2c`` the partition may address a device on an I2C bus that it can open.
    """
    if i2c:
        return seccomp.compile_filter(seccomp.PARTITION, requests=(seccomp.I2C_SLAVE,))
    return seccomp.compile_filter(seccomp.PARTITION)


def confine(
    *, read: Iterable[Path], write: Iterable[Path], system_calls: bytes, devices: Iterable[Path] = ()
) -> list[str]:
    """When everything is open: no other file, no program, no socket, no system call that is not needed any more.

    What was refused, in words.
    """
    process.lock_memory()  # which is not inherited by a forked process
    return landlock.restrict(read=read, write=write, devices=devices) + seccomp.install(system_calls)
