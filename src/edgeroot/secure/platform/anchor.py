"""Tying a counter that is a file to one in hardware, so that to put back the whole disk is noticed as well.

Hardware counts slowly and wears out, so it does not count each change. Every now and then the file's value is written
down together with the hardware's next one, and then the hardware counts. At start what is written has to name the
hardware's value, and the file must not be behind what stands there. What can be put back unnoticed is no more than what
changed since the last time.

File, 56 bytes: magic ``ERANCH01``, the hardware's value u64, the counter's value u64, then HMAC-SHA256 over all that.
Little-endian.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import Final, Protocol

from edgeroot.psa import Secret
from edgeroot.secure.platform.files import replace_file

_FIELDS: Final = Struct("<8sQQ")
_MAGIC: Final = b"ERANCH01"
_MAC_BYTES: Final = 32
_WHAT_TO_DO: Final = (
    "if you have put a backup in place yourself, start once with --accept-older-state; otherwise do not trust this "
    "device's memory"
)


class AnchorError(Exception):
    """The state is not the one that the hardware knows of, or nobody can tell; the message says what to do."""


class HardwareCounter(Protocol):
    """A counter that nobody can set back."""

    def read(self) -> int | None:
        """The value, None if there is no counter yet."""

    def increment(self) -> int:
        """Make the counter if need be, and count one up; the new value."""


class Anchor:
    """The file at ``path``. ``key`` is known to this device alone."""

    def __init__(self, path: Path, hardware: HardwareCounter, key: Secret) -> None:
        self._path = path
        self._hardware = hardware
        self._key = key
        self._written: int | None = None

    def check(self, value: int) -> None:
        """Whether the counter may stand at this value. AnchorError if anything was put back."""
        hardware = self._hardware.read()
        content = self._read()
        if content is None:
            if hardware is None or value == 0:
                return  # nothing was ever written here that could be missed
            raise AnchorError(f"{self._path} is missing, and the hardware has counted: {_WHAT_TO_DO}")
        said, before = self._decode(content)
        # It is written before the hardware counts: it may be one ahead, if the power failed in between.
        if hardware is None or said not in (hardware, hardware + 1):
            raise AnchorError(
                f"the stored state knows the hardware's counter at {said}, and that stands at {hardware}: one of them "
                f"was put back. {_WHAT_TO_DO}"
            )
        if value < before:
            raise AnchorError(
                f"the stored objects are those of change {value}, and there have been {before}: they were put back. "
                f"{_WHAT_TO_DO}"
            )

    def advance(self, value: int) -> None:
        """Write the value down and count; nothing, if it has not changed since the last time. AnchorError."""
        if value == self._written:
            return
        current = self._hardware.read()
        if current is None:
            current = self._hardware.increment()
        body = _FIELDS.pack(_MAGIC, current + 1, value)
        try:
            replace_file(self._path, body + self._mac(body), mode=0o600)
        except OSError as error:
            raise AnchorError(f"cannot write {self._path}: {error.strerror}") from error
        counted = self._hardware.increment()
        if counted != current + 1:
            raise AnchorError(
                f"somebody else counts with the hardware's counter, which went from {current} to {counted}"
            )
        self._written = value

    def _read(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AnchorError(f"cannot read {self._path}: {error.strerror}") from error

    def _decode(self, content: bytes) -> tuple[int, int]:
        body, mac = content[:-_MAC_BYTES], content[-_MAC_BYTES:]
        if len(body) != _FIELDS.size or not hmac.compare_digest(mac, self._mac(body)):
            raise AnchorError(f"{self._path} was changed, or is another device's. {_WHAT_TO_DO}")
        _, hardware, value = _FIELDS.unpack(body)
        return hardware, value

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, sha256)
