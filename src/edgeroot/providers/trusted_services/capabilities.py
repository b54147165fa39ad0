"""What the packed-c interface of the crypto partition can carry. The partition itself has no call that tells."""

from __future__ import annotations

from functools import cache, reduce
from operator import or_

from edgeroot import engine
from edgeroot.providers.api import Capabilities, Capability, Function


@cache
def capabilities() -> Capabilities:
    """All of it: the emulated partition runs this package's engine. What a device lacks it answers NOT_SUPPORTED."""
    return Capabilities(generation=0, rows=tuple(_capability(row) for row in engine.rows()))


def _capability(row: engine.Row) -> Capability:
    functions = reduce(or_, (Function[name.upper()] for name in row.functions))
    return Capability(functions, row.key_type, row.key_bits, row.algorithms)
