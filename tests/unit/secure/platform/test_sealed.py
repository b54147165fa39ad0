from __future__ import annotations

import fcntl
import mmap
import os
from threading import Timer

import pytest

from edgeroot.secure.platform import sealed


def test_what_is_sealed_stays() -> None:
    descriptor = sealed.seal(b"content")
    try:
        assert os.read(descriptor, 100) == b"content"
        for change in (lambda: os.write(descriptor, b"x"), lambda: os.ftruncate(descriptor, 1)):
            with pytest.raises(PermissionError):
                change()
    finally:
        os.close(descriptor)


def test_a_page_that_is_in_use_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapping that may be written to has the kernel answer as a page does that it has in use itself (EBUSY)."""
    make = os.memfd_create

    def make_and_map(name: str, flags: int) -> int:
        descriptor = make(name, flags)
        os.ftruncate(descriptor, mmap.PAGESIZE)
        mapped = mmap.mmap(descriptor, mmap.PAGESIZE)
        Timer(0.1, mapped.close).start()
        return descriptor

    monkeypatch.setattr(os, "memfd_create", make_and_map)
    descriptor = sealed.seal(b"content")
    try:
        assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
    finally:
        os.close(descriptor)
