"""A secret of 32 bytes in a file that only its owner may read, as it is or sealed to a TPM.

File, version 1: the line ``edgeroot KIND v1``, then the secret, nothing else. Sealed: the line
``edgeroot KIND v1 sealed to a TPM``, then what :mod:`edgeroot.sealing.tpm` gives.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeroot.psa import Secret
from edgeroot.sealing import tpm
from edgeroot.sealing.errors import SealingError
from edgeroot.sealing.tpm import TpmPlace

SECRET_BYTES: Final = 32
KINDS: Final = ("wrapping key", "device secret")
_MAX_BYTES: Final = 4096
_MODE: Final = 0o600
_OTHERS: Final = 0o077


@dataclass(frozen=True, slots=True)
class SecretFile:
    """The file of a secret of this ``kind``. With a ``place`` it has to be sealed to that TPM, or it is refused."""

    path: Path
    kind: str
    place: TpmPlace | None = None

    def open(self, *, create: bool = True, random: Callable[[int], bytes] = os.urandom) -> Secret:
        """The secret; where there is none and ``create`` is true, it is made from ``random`` bytes.

        An existing file is never written to, and of several processes that make it at once all get the same secret.
        Raises SealingError if the file is missing, malformed, readable by others or another user's, or if the TPM does
        not give its secret back.
        """
        try:
            content = self._read()
            if content is None:
                if not create:
                    raise SealingError(
                        f"the {self.kind} {self.path} is missing, and without it nothing that is stored can be read: "
                        "restore the file from a backup"
                    )
                fresh = Secret(random(SECRET_BYTES))
                self._make(self._plain(fresh) if self.place is None else self._sealed(fresh, self.place))
                content = self._read()
        except OSError as error:
            raise SealingError(f"cannot use the {self.kind} {self.path}: {error.strerror}") from error
        if content is None:
            raise SealingError(f"the {self.kind} {self.path} vanished while it was being opened")
        return self._secret_in(content)

    def sealed_blob(self) -> bytes | None:
        """What was sealed to a TPM, None if the secret is plain; SealingError if it is no such file."""
        content = self._content()
        self._require_whole(content)
        return content[len(self._sealed_header) :] if content.startswith(self._sealed_header) else None

    def names_itself(self) -> bool:
        """Whether there is a file that says to be of this kind."""
        return self._content().startswith(f"edgeroot {self.kind} ".encode())

    def seal(self, place: TpmPlace) -> None:
        """Replace the plain secret in the file by one that is sealed to this TPM, in one step."""
        content = self._content()
        if content.startswith(self._sealed_header):
            raise SealingError(f"the {self.kind} {self.path} is sealed already")
        temporary = self._write(self._sealed(self._secret_in(content), place))
        temporary.replace(self.path)
        _sync(self.path.parent)

    def recover(self, target: Path) -> None:
        """Write the plain secret to a new file of the same kind, to be kept elsewhere. SealingError, OSError."""
        copy = SecretFile(target, self.kind)
        copy._make(copy._plain(self._secret_in(self._content())), replace_none=False)

    @property
    def _header(self) -> bytes:
        return f"edgeroot {self.kind} v1\n".encode()

    @property
    def _sealed_header(self) -> bytes:
        return f"edgeroot {self.kind} v1 sealed to a TPM\n".encode()

    def _plain(self, secret: Secret) -> bytes:
        return self._header + secret

    def _sealed(self, secret: Secret, place: TpmPlace) -> bytes:
        return self._sealed_header + tpm.seal(secret, place)

    def _content(self) -> bytes:
        try:
            content = self._read()
        except OSError as error:
            raise SealingError(f"cannot use the {self.kind} {self.path}: {error.strerror}") from error
        if content is None:
            raise SealingError(f"there is no {self.kind} {self.path}")
        return content

    def _secret_in(self, content: bytes) -> Secret:
        self._require_whole(content)
        if content.startswith(self._header):
            if self.place is not None:
                raise SealingError(
                    f"the {self.kind} {self.path} is not sealed, though a TPM is configured for it: seal it with "
                    f"'edgeroot sealing to-tpm {self.path}'"
                )
            return Secret(content[len(self._header) :])
        if self.place is None:
            raise SealingError(f"the {self.kind} {self.path} is sealed to a TPM: say in the configuration to which")
        return tpm.unseal(content[len(self._sealed_header) :], self.place.tcti)

    def _require_whole(self, content: bytes) -> None:
        is_plain = content.startswith(self._header) and len(content) == len(self._header) + SECRET_BYTES
        if not is_plain and not content.startswith(self._sealed_header):
            raise SealingError(f"{self.path} is no {self.kind} of edgeroot, or it is damaged: restore it from a backup")

    def _read(self) -> bytes | None:
        """The file's content, None if there is none; SealingError if others could have read or replaced it."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SealingError(f"the {self.kind} {self.path} is not a regular file")
            if status.st_uid != os.geteuid():
                raise SealingError(
                    f"the {self.kind} {self.path} belongs to user {status.st_uid}, but this process runs as "
                    f"{os.geteuid()}: run as that user, or give it the file with: chown {os.geteuid()} {self.path}"
                )
            if status.st_mode & _OTHERS:
                raise SealingError(
                    f"the {self.kind} {self.path} has mode {stat.S_IMODE(status.st_mode):04o}, which lets other users "
                    f"in: make it private with: chmod 600 {self.path}"
                )
            return os.read(descriptor, _MAX_BYTES)
        finally:
            os.close(descriptor)

    def _make(self, content: bytes, *, replace_none: bool = True) -> None:
        """Put it there in one step: it is complete and on disk before it has its name.

        Whoever comes second finds the name taken, and uses the first one's secret or (not ``replace_none``) fails.
        """
        temporary = self._write(content)
        try:
            os.link(temporary, self.path)
        except FileExistsError:
            if not replace_none:
                raise SealingError(f"{self.path} exists: choose another name") from None
        finally:
            temporary.unlink()
        _sync(self.path.parent)

    def _write(self, content: bytes) -> Path:
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        return temporary


def find(path: Path, place: TpmPlace | None) -> SecretFile:
    """The file, of whichever kind it is; SealingError if it is of none."""
    for kind in KINDS:
        found = SecretFile(path, kind, place)
        if found.names_itself():
            return found
    raise SealingError(f"{path} is neither a {' nor a '.join(KINDS)} of edgeroot")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
