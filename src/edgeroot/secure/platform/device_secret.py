"""The device secret: 32 bytes from which every secret of this secure world is derived.

In a file it is worth what the file's protection is worth: root, and whoever has the disk, can read it. A secret in
hardware (a fused key), or one that a TPM unseals, is another :class:`DeviceSecret`.

File, version 1: the line ``edgeroot device secret v1``, then 32 secret bytes, nothing else; mode 0600.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final, Protocol, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edgeroot.psa import Secret
from edgeroot.secure.platform.entropy import Entropy, SystemEntropy
from edgeroot.secure.platform.files import replace_file

_HEADER: Final = b"edgeroot device secret v1\n"
_SECRET_BYTES: Final = 32
_OTHERS: Final = 0o077


class DeviceSecretError(Exception):
    """The device secret cannot be used; the message says why."""


class DeviceSecret(Protocol):
    """Gives secrets that depend on the device, and never the device secret itself."""

    def derive(self, label: bytes) -> Secret:
        """32 secret bytes, the same for the same label on the same device (HKDF-SHA256, RFC 5869)."""


class FileDeviceSecret:
    """A device secret in a file."""

    __slots__ = ("_secret",)

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    @classmethod
    def open(cls, path: Path, *, entropy: Entropy | None = None) -> Self:
        """The secret in this file, which is made the first time.

        DeviceSecretError if it is damaged, another user's or readable by others: it is never replaced, because
        everything that was sealed would be lost.
        """
        try:
            if not path.exists():
                replace_file(path, _HEADER + (entropy or SystemEntropy()).random_bytes(_SECRET_BYTES), mode=0o600)
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            with open(descriptor, "rb") as file:
                status = os.fstat(file.fileno())
                content = file.read(len(_HEADER) + _SECRET_BYTES + 1)
        except OSError as error:
            raise DeviceSecretError(f"cannot use the device secret {path}: {error.strerror}") from error
        if status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
            raise DeviceSecretError(
                f"the device secret {path} is open to others (user {status.st_uid}, mode "
                f"{stat.S_IMODE(status.st_mode):04o}): what was sealed with it may be known"
            )
        if len(content) != len(_HEADER) + _SECRET_BYTES or not content.startswith(_HEADER):
            raise DeviceSecretError(f"the device secret {path} is damaged: restore it from a backup")
        return cls(Secret(content[len(_HEADER) :]))

    def derive(self, label: bytes) -> Secret:
        return derive(self._secret, label)


def derive(secret: Secret, label: bytes) -> Secret:
    """32 secret bytes from a secret of full entropy."""
    return Secret(HKDF(SHA256(), 32, salt=None, info=b"edgeroot secure world v1: " + label).derive(secret))
