"""What the kits say of calls that must be refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgeroot.psa import PsaError, PsaStatus


@contextmanager
def refused(*statuses: PsaStatus) -> Iterator[None]:
    """Asserts that the block ends with one of these statuses and with no other exception."""
    seen = PsaStatus.SUCCESS
    try:
        yield
    except PsaError as error:
        seen = error.status
    assert seen in statuses, f"{seen.name} instead of {' or '.join(status.name for status in statuses)}"
