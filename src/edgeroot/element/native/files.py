"""Files: the list of slots, the lock that lets one process at a time speak to the element, and access keys."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeroot.psa import PsaError, PsaStatus


class SlotFiles:
    """Beside the key store, whose path they begin with. PsaError STORAGE_FAILURE for what does not work."""

    def __init__(self, store_path: Path, way: str) -> None:
        """``way`` tells elements apart that are reached by different ways."""
        self.way = way
        self._store = store_path
        self.lock_path = store_path.with_name(f"{store_path.name}.{way}-lock")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While no other process uses the element, or the list; whoever dies gives it free."""
        try:
            descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _cannot_lock(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """The same, and no file is made: without one no process of a service has used the element so far."""
        try:
            descriptor = os.open(self.lock_path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield
            return
        except OSError as error:
            raise _cannot_lock(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def element(self) -> bytes | None:
        """The serial number of the element that was last found this way, None if there was none so far."""
        try:
            text = self.lock_path.read_text("ascii")
            return bytes.fromhex(text) or None
        except (OSError, ValueError):
            return None

    def remember(self, serial_number: bytes) -> None:
        """That this element was found this way. To be called while the files are locked."""
        try:
            self.lock_path.write_text(serial_number.hex(), "ascii")
        except OSError as error:
            raise _cannot_lock(error) from error

    def path(self, serial_number: bytes) -> Path:
        return self._store.with_name(f"{self._store.name}.{serial_number.hex()}-slots")

    def read(self, serial_number: bytes) -> str | None:
        """The list of this element's slots, None if there is none."""
        try:
            return self.path(serial_number).read_text("ascii")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise PsaError(PsaStatus.STORAGE_FAILURE, f"cannot read the list of slots: {error}") from error

    def write(self, serial_number: bytes, text: str) -> None:
        """Replace it, on the disk when this returns."""
        path = self.path(serial_number)
        new = path.with_name(f"{path.name}-new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            new.replace(path)
            directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise PsaError(PsaStatus.STORAGE_FAILURE, f"cannot write the list of slots: {error}") from error


def _cannot_lock(error: OSError) -> PsaError:
    return PsaError(PsaStatus.STORAGE_FAILURE, f"cannot lock the secure element: {error}")


def read_access_keys(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read access_key_file_name: {error}"
        raise PsaError(PsaStatus.STORAGE_FAILURE, message) from error
