"""A connection to a TPM for a few commands, after which nothing of ours is left in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeroot.sealing.errors import SealingError

if TYPE_CHECKING:
    from tpm2_pytss import ESAPI

_DEFAULT_DEVICE: Final = "/dev/tpm0"  # tcti-device(7)
_FORMAT_ONE: Final = 0x080
_FORMAT_ONE_CODE: Final = 0x03F


@contextmanager
def connected(tcti: str, *, advice: Mapping[int, str]) -> Iterator[ESAPI]:
    """The connection. What is loaded into the TPM meanwhile is flushed at the end.

    The TPM's errors become SealingErrors; ``advice`` is what to say to which (format-one numbers, Part 2, clause 6.6).
    """
    os.environ.setdefault("TSS2_LOG", "all+none")  # what went wrong is said by us, in one line
    try:
        from tpm2_pytss import ESAPI, TPM2_SU, TSS2_Exception
    except ImportError as error:
        raise SealingError(
            f"the library for TPMs is not there ({error}): install edgeroot[tpm] and the system's tpm2-tss"
        ) from error
    try:
        with ESAPI(tcti) as tpm:
            tpm.startup(TPM2_SU.CLEAR)
            before = _transient(tpm)
            try:
                yield tpm
            finally:
                for handle in _transient(tpm) - before:
                    tpm.flush_context(tpm.tr_from_tpmpublic(handle))
    except TSS2_Exception as error:
        code = error.rc & _FORMAT_ONE_CODE if error.rc & _FORMAT_ONE else 0
        raise SealingError(advice.get(code, f"the TPM at {tcti} cannot be used: {error}")) from error


def device_of(tcti: str) -> Path | None:
    """The device that a connection by this name opens; None if it goes another way."""
    name, _, path = tcti.partition(":")
    return Path(path or _DEFAULT_DEVICE) if name == "device" else None


def handles(tpm: ESAPI, first: int) -> list[int]:
    """The handles in use, from this one on, of its kind."""
    from tpm2_pytss import TPM2_CAP

    _, found = tpm.get_capability(TPM2_CAP.HANDLES, first, 64)  # which owns the memory that its handles are in
    return [int(handle) for handle in found.data.handles]


def _transient(tpm: ESAPI) -> set[int]:
    return set(handles(tpm, 0x80000000))
