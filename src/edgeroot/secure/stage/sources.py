"""Where images come from: a folder, or a bank of the flash. Each is read once, and that is what is verified."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from edgeroot.abi.firmware import IMAGE_SUFFIX, IMAGE_TYPES
from edgeroot.abi.mcuboot import HEADER_BYTES, ImageError, header_version
from edgeroot.secure.partitions.firmware_update.areas import read_image
from edgeroot.secure.partitions.firmware_update.firmware import LAYOUT
from edgeroot.secure.platform.flash import FileFlash, FlashError


class Source(Protocol):
    """Images by the names of what they are for."""

    def read(self, name: str) -> bytes:
        """The image. ImageError if there is none that can be read."""

    def place(self, name: str) -> str:
        """Where it is, in words."""


class FolderSource:
    """A file for each image."""

    bank: Final = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> bytes:
        try:
            return self._path(name).read_bytes()
        except OSError as error:
            raise ImageError(f"it cannot be read: {error.strerror}") from error

    def place(self, name: str) -> str:
        return str(self._path(name))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{IMAGE_SUFFIX}"


class BankSource:
    """One bank of the flash, whose areas hold an image each."""

    def __init__(self, flash: FileFlash, bank: int) -> None:
        self._flash = flash
        self.bank: Final = bank

    def read(self, name: str) -> bytes:
        area = LAYOUT.find(IMAGE_TYPES[name])
        if area is None:
            raise ImageError("the flash has no area for it")
        try:
            return read_image(self._flash, LAYOUT, area, self.bank)
        except FlashError as error:
            raise ImageError(str(error)) from error

    def begins_with_image(self, name: str) -> bool:
        """Whether there is something, good or not. FlashError."""
        area = LAYOUT.find(IMAGE_TYPES[name])
        if area is None:
            return False
        return header_version(self._flash.read(LAYOUT.offset_of(area, self.bank), HEADER_BYTES)) is not None

    def place(self, name: str) -> str:
        return f"{name} in bank {self.bank}"
