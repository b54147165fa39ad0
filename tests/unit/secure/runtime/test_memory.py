"""Shared memory: only what keeps its size is mapped, it is read once, and after its end nothing is written."""

from __future__ import annotations

import fcntl
import os

import pytest

from edgeroot.secure.runtime.memory import MappedMemory, MemoryRefusedError, sealed_size_bytes
from tests.support.partition_context import SIZE_SEALS, memory_file


@pytest.mark.parametrize("size", [1, 4096, 3 * 4096 + 5])
def test_size_of_a_sealed_file(size: int) -> None:
    descriptor = memory_file(size)
    assert sealed_size_bytes(descriptor) == size
    os.close(descriptor)


@pytest.mark.parametrize(
    ("seals", "message"),
    [
        (0, "not sealed"),
        (SIZE_SEALS & ~fcntl.F_SEAL_SHRINK, "not sealed"),
        (SIZE_SEALS & ~fcntl.F_SEAL_GROW, "not sealed"),
        (SIZE_SEALS & ~fcntl.F_SEAL_SEAL, "not sealed"),
        (SIZE_SEALS | fcntl.F_SEAL_WRITE, "cannot be written"),
    ],
)
def test_other_seals_are_refused(seals: int, message: str) -> None:
    descriptor = memory_file(4096, seals=seals)
    with pytest.raises(MemoryRefusedError, match=message):
        sealed_size_bytes(descriptor)
    os.close(descriptor)


@pytest.mark.parametrize("path", ["/dev/zero", __file__])
def test_what_is_no_memory_file_is_refused(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    with pytest.raises(MemoryRefusedError, match="no memory file"):
        sealed_size_bytes(descriptor)
    os.close(descriptor)


def test_what_was_read_stays_what_it_was() -> None:
    descriptor = memory_file(4096)
    memory = MappedMemory(descriptor, 4096)
    os.pwrite(descriptor, b"before", 0)
    seen = memory.read(6)
    os.pwrite(descriptor, b"after!", 0)
    assert seen == b"before"
    assert memory.read(6) == b"after!"
    memory.write(b"mine")
    assert os.pread(descriptor, 6, 0) == b"miner!"
    memory.close()
    memory.close()
    memory.write(b"late")
    assert os.pread(descriptor, 6, 0) == b"miner!"
    os.close(descriptor)
