"""What an ATECC forgets: TempKey, the message digest buffer and a hash under way (data sheet: static RAM)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(slots=True)
class TempKey:
    """The register and its flags. ``gendig_slot`` is the slot that GenDig mixed in."""

    value: bytes
    is_random: bool
    gendig_slot: int | None = None


class Hashing:
    """A SHA-256 or HMAC under way."""

    def __init__(self, key: bytes | None) -> None:
        self.is_hmac = key is not None
        self._outer = hashlib.sha256()
        self._inner = hashlib.sha256()
        if key is not None:
            block = key.ljust(64, b"\0")
            self._inner.update(bytes(byte ^ 0x36 for byte in block))
            self._outer.update(bytes(byte ^ 0x5C for byte in block))

    def update(self, data: bytes) -> None:
        self._inner.update(data)

    def digest(self) -> bytes:
        if not self.is_hmac:
            return self._inner.digest()
        self._outer.update(self._inner.digest())
        return self._outer.digest()


@dataclass(slots=True)
class Volatile:
    """Gone with every sleep."""

    temp_key: TempKey | None = None
    message: bytes | None = None  # the message digest buffer
    hashing: Hashing | None = field(default=None, repr=False)
