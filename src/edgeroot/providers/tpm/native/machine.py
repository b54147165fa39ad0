"""What the provider needs of the machine beside the TPM: a lock, a process to try it in, authorisations in files."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from edgeroot.confinement.apart import ApartError, run_apart
from edgeroot.providers.tpm.errors import TpmError
from edgeroot.psa import PsaError, PsaStatus, Secret

_LOCK_STEP_S: Final = 0.05
_APART_S: Final = 60.0  # in which every TPM makes its primary keys
_FOUND, _REFUSED = b"\0", b"\1"


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


def apart(look: Callable[[], bytes]) -> bytes:
    """What ``look`` returns in a process of its own, so that nothing of a TPM's libraries stays in this one.

    Some ways to a TPM start threads (that to the resource manager tpm2-abrmd does), and are of no use to processes that
    are forked afterwards. Raises the PsaError of ``look``; COMMUNICATION_FAILURE if it takes too long.
    """

    def answer() -> bytes:
        try:
            return _FOUND + look()
        except TpmError as error:
            return _REFUSED + json.dumps((error.command, error.code, error.status, error.detail)).encode()

    try:
        told = run_apart(answer, longest_s=_APART_S)
    except ApartError as error:
        message = "the TPM's library has ended its process"
        if error.timed_out:
            message = f"the TPM did not answer within {_APART_S:.0f} s: another program may have its only connection"
        raise PsaError(PsaStatus.COMMUNICATION_FAILURE, message) from error
    if told[:1] == _FOUND:
        return told[1:]
    command, code, status, detail = json.loads(told[1:])
    raise TpmError(command, code, PsaStatus(status), detail)


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
