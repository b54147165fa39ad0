"""A key's place as the service records it: not a slot, but a name under which the list of slots has one.

A reference, version 1, has 17 bytes: version u8 (1) and 16 random ones. A slot gets its next key under another name, so
what is left of an earlier key (a record that was restored, a creation that nobody finished) never reaches it. The name
of a key that upstream's provider made tells its slot instead: 15 fixed bytes and the number.
"""

from __future__ import annotations

import os
from typing import Final

from edgeroot.element.ledger import NAME_BYTES
from edgeroot.psa import PsaError, PsaStatus

_VERSION: Final = b"\x01"
_OF_UPSTREAM: Final = b"upstream's slot"
_SLOTS: Final = 16


def new_reference() -> bytes:
    return _VERSION + os.urandom(NAME_BYTES)


def name_in(reference: bytes) -> bytes:
    """PsaError DATA_INVALID for anything that this provider did not make."""
    if len(reference) != 1 + NAME_BYTES or reference[:1] != _VERSION:
        raise PsaError(PsaStatus.DATA_INVALID, "the key's reference is not this provider's")
    return reference[1:]


def reference_of_upstream(key_id: bytes) -> bytes:
    """For a key that upstream's provider has made, which it knows by its slot (u8).

    PsaError DATA_INVALID for what is no such number.
    """
    if not key_id or key_id[0] >= _SLOTS:
        raise PsaError(PsaStatus.DATA_INVALID, "the record names no slot of an element")
    return _VERSION + _OF_UPSTREAM + key_id[:1]


def slot_of_upstream(reference: bytes) -> int:
    """The slot in what :func:`reference_of_upstream` made; DATA_INVALID for anything else."""
    name = name_in(reference)
    if name[:-1] != _OF_UPSTREAM:
        raise PsaError(PsaStatus.DATA_INVALID, "the key was not made by upstream's provider")
    return name[-1]
