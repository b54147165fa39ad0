"""Random bytes that nobody can foretell.

:class:`SystemEntropy` is the kernel's generator, and as good as what the machine feeds it. It waits until the kernel
has gathered enough after a start. It cannot notice that a virtual machine was copied or set back: both copies may then
get the same. A generator in hardware is another :class:`Entropy`.
"""

from __future__ import annotations

import os
from typing import Protocol


class Entropy(Protocol):
    """A source of random bytes fit for keys and nonces."""

    def random_bytes(self, size_bytes: int) -> bytes: ...


class SystemEntropy:
    """The kernel's generator (getrandom)."""

    __slots__ = ()

    def random_bytes(self, size_bytes: int) -> bytes:
        return os.urandom(size_bytes)
