"""A key's place as the service records it: not a slot, but a name under which the list of slots has one.

A reference, version 1, has 17 bytes: version u8 (1) and 16 random ones. A slot gets its next key under another name, so
what is left of an earlier key (a record that was restored, a creation that nobody finished) never reaches it.
"""

from __future__ import annotations

import os
from typing import Final

from edgeroot.element.ledger import NAME_BYTES
from edgeroot.psa import PsaError, PsaStatus

_VERSION: Final = b"\x01"


def new_reference() -> bytes:
    return _VERSION + os.urandom(NAME_BYTES)


def name_in(reference: bytes) -> bytes:
    """PsaError DATA_INVALID for anything that this provider did not make."""
    if len(reference) != 1 + NAME_BYTES or reference[:1] != _VERSION:
        raise PsaError(PsaStatus.DATA_INVALID, "the key's reference is not this provider's")
    return reference[1:]
