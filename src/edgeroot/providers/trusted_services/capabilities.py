"""What the interfaces of the partitions can carry. The crypto partition has no call that tells."""

from __future__ import annotations

from functools import cache, reduce
from operator import or_
from typing import Final

from edgeroot import engine
from edgeroot.providers.api import Capabilities, Capability, Function

_BEYOND_CRYPTO: Final = (
    Function.PS_SET | Function.PS_GET | Function.PS_GET_INFO | Function.PS_REMOVE | Function.INITIAL_ATTEST_GET_TOKEN
)


@cache
def capabilities() -> Capabilities:
    """All of it: the emulated partition runs this package's engine. What a device lacks it answers NOT_SUPPORTED."""
    return Capabilities(generation=0, rows=(*map(_capability, engine.rows()), Capability(_BEYOND_CRYPTO)))


def _capability(row: engine.Row) -> Capability:
    functions = reduce(or_, (Function[name.upper()] for name in row.functions))
    return Capability(functions, row.key_type, row.key_bits, row.algorithms)
