"""The device secret: 32 bytes from which every secret of this secure world is derived.

In a file it is worth what the file's protection is worth: root, and whoever has the disk, can read it. Sealed to a TPM
the disk alone is worthless, and root on this very device is kept out no better. A secret in hardware (a fused key) is
another :class:`DeviceSecret`. The file is an :mod:`edgeroot.sealing.secret_file`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edgeroot.psa import Secret
from edgeroot.sealing.errors import SealingError
from edgeroot.sealing.secret_file import SecretFile
from edgeroot.sealing.tpm import TpmPlace
from edgeroot.secure.platform.entropy import Entropy, SystemEntropy


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
    def open(cls, path: Path, *, place: TpmPlace | None = None, entropy: Entropy | None = None) -> Self:
        """The secret in this file, sealed to that TPM if one is named, which is made the first time.

        DeviceSecretError if it is damaged, another user's or readable by others, or if the TPM does not give it back:
        it is never replaced, because everything that was sealed would be lost.
        """
        try:
            random = (entropy or SystemEntropy()).random_bytes
            return cls(SecretFile(path, "device secret", place).open(random=random))
        except SealingError as error:
            raise DeviceSecretError(str(error)) from error

    def derive(self, label: bytes) -> Secret:
        return derive(self._secret, label)


def derive(secret: Secret, label: bytes) -> Secret:
    """32 secret bytes from a secret of full entropy."""
    return Secret(HKDF(SHA256(), 32, salt=None, info=b"edgeroot secure world v1: " + label).derive(secret))
