"""What the provider needs of the machine beside the TPM: a lock, a process to try it in, authorisations in files."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Final, NoReturn

from edgeroot.providers.tpm.errors import TpmError
from edgeroot.psa import PsaError, PsaStatus, Secret

_LOCK_STEP_S: Final = 0.05
_APART_S: Final = 60.0  # in which every TPM makes its primary keys
_CHUNK_BYTES: Final = 65536


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
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _tell(look, writing)
    os.close(writing)
    try:
        told = _all_of(reading)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not told:
        message = f"the TPM did not answer within {_APART_S:.0f} s: another program may have its only connection"
        raise PsaError(PsaStatus.COMMUNICATION_FAILURE, message)
    answer = json.loads(told)
    if "found" in answer:
        return bytes.fromhex(answer["found"])
    status = PsaStatus(answer["status"])
    if answer["command"] is None:
        raise PsaError(status, answer["detail"])
    raise TpmError(answer["command"], answer["code"], status, answer["detail"])


def _tell(look: Callable[[], bytes], writing: int) -> NoReturn:
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        answer: dict[str, object]
        try:
            answer = {"found": look().hex()}
        except TpmError as error:
            answer = {
                "command": error.command,
                "code": error.code,
                "status": error.status,
                "detail": error.detail,
            }
        except PsaError as error:
            answer = {"command": None, "status": error.status, "detail": error.detail}
        with os.fdopen(writing, "w") as file:
            json.dump(answer, file)
    finally:
        os._exit(0)  # without the parent's clean-up, which is the parent's to do


def _all_of(reading: int) -> bytes:
    told = b""
    end_s = monotonic() + _APART_S
    while select.select([reading], [], [], max(0.0, end_s - monotonic()))[0]:
        part = os.read(reading, _CHUNK_BYTES)
        if not part:
            return told
        told += part
    return b""


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
