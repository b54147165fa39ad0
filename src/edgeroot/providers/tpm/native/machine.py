"""What the provider needs of the machine beside the TPM: a lock, and authorisations that lie in files."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from edgeroot.psa import PsaError, PsaStatus, Secret

_LOCK_STEP_S: Final = 0.05


class DeviceLock:
    """Held by the one process of a service that has a TPM's only connection: without it the next would hang."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self, wait_s: float) -> None:
        """PsaError CONNECTION_BUSY if another process still has it then."""
        if self._descriptor >= 0:
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until_s = monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if monotonic() > until_s:
                    os.close(descriptor)
                    message = "another process of the service has the TPM's only connection: restart the service"
                    raise PsaError(PsaStatus.CONNECTION_BUSY, message) from None
                sleep(_LOCK_STEP_S)
            else:
                self._descriptor = descriptor
                return

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_authorisation(file: str, credential: str) -> Secret:
    """The content of a file or of a systemd credential, without the end of its line; PsaError STORAGE_FAILURE."""
    if credential:
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if directory is None:
            message = f"there is no credential {credential}: systemd gives them with LoadCredential= in the unit"
            raise PsaError(PsaStatus.STORAGE_FAILURE, message)
        path = Path(directory, credential)
    else:
        path = Path(file)
    try:
        return Secret(path.read_bytes().removesuffix(b"\n"))
    except OSError as error:
        raise PsaError(PsaStatus.STORAGE_FAILURE, f"cannot read the authorisation: {error}") from error
