"""A wrapping key in a file; see :mod:`edgeroot.sealing.secret_file`."""

from __future__ import annotations

from pathlib import Path

from edgeroot.sealing.secret_file import SecretFile
from edgeroot.sealing.tpm import TpmPlace
from edgeroot.sealing.wrapping_key import SoftwareWrappingKey, WrappingKey


def key_file(path: Path, *, create: bool = True, place: TpmPlace | None = None) -> WrappingKey:
    """The wrapping key in this file, sealed to that TPM if one is named; made if it is missing and ``create`` is true.

    SealingError as :meth:`SecretFile.open` raises it.
    """
    return SoftwareWrappingKey(SecretFile(path, "wrapping key", place).open(create=create))
