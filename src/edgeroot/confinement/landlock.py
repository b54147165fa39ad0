"""Landlock: a process gives up all files but the named ones, by three system calls (``landlock(7)``).

No well-kept library wraps them. A kernel with an older ABI gets the rights that it knows.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from struct import Struct
from typing import Final

_CREATE_RULESET: Final = 444  # the same numbers on every architecture
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
_RULESET: Final = Struct("=QQQ")
_PATH_BENEATH: Final = Struct("=Qi")

_EXECUTE: Final = 1 << 0
_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_TRUNCATE: Final = 1 << 14
_IOCTL: Final = 1 << 15
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_READ: Final = _READ_FILE | _READ_DIR
# How many rights for files each ABI knows: 1 begins with 13, 2 adds moving, 3 truncating, 5 ioctl on devices.
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_NETWORK_ABI: Final = 4
_NETWORK_RIGHTS: Final = 0b11  # TCP: bind and connect
_SCOPE_ABI: Final = 6
_SCOPE_SOCKETS: Final = 0b01  # abstract Unix sockets outside
_SCOPE_SIGNALS: Final = 0b10  # signals to processes outside
_libc: Final = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """The version of Landlock that this kernel has, 0 for none."""
    version: int = _libc.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    return max(0, version)


def restrict(
    *,
    read: Iterable[Path] = (),
    write: Iterable[Path] = (),
    devices: Iterable[Path] = (),
    execute: bool = False,
    network: bool = False,
) -> list[str]:
    """From now on and for ever, this process and its children may use these trees only. Returns what was refused.

    ``write`` trees may also be read, and ``devices`` are nodes that are also asked by ioctl. ``execute`` lets programs
    in ``read`` trees be run, and no others; ``network`` leaves TCP and abstract Unix sockets alone.
    Needs PR_SET_NO_NEW_PRIVS. Paths that do not exist are left out.
    """
    version = abi()
    if version == 0:
        return ["every file that this user can reach stays within reach (the kernel has no Landlock)"]
    rights = (1 << _FILE_RIGHTS.get(version, 16)) - 1
    handled_network = _NETWORK_RIGHTS if version >= _NETWORK_ABI and not network else 0
    scopes = 0
    if version >= _SCOPE_ABI:
        scopes = _SCOPE_SIGNALS if network else _SCOPE_SIGNALS | _SCOPE_SOCKETS
    attributes = _RULESET.pack(rights, handled_network, scopes)
    # A kernel refuses a structure that is longer than it knows, unless the rest is zero.
    ruleset = _libc.syscall(_CREATE_RULESET, attributes, len(attributes) if version >= _SCOPE_ABI else 16, 0)
    if ruleset < 0:
        return [f"files stay within reach (Landlock: {os.strerror(ctypes.get_errno())})"]
    try:
        reading = _READ | (_EXECUTE if execute else 0)
        for path in read:
            _allow(ruleset, path, reading & rights)
        for path in write:
            _allow(ruleset, path, rights & ~_EXECUTE)
        for path in devices:
            _allow(ruleset, path, (_READ_FILE | _WRITE_FILE | _IOCTL) & rights, of=_OF_FILES | _IOCTL)
        if _libc.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
            return [f"files stay within reach (Landlock: {os.strerror(ctypes.get_errno())})"]
    finally:
        os.close(ruleset)
    return []


def _allow(ruleset: int, path: Path, rights: int, *, of: int = _OF_FILES) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            rights &= of
        rule = _PATH_BENEATH.pack(rights, descriptor)
        if _libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), "Landlock takes no rule", str(path))
    finally:
        os.close(descriptor)
