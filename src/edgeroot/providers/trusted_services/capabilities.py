"""What the interfaces of the partitions can carry. The crypto partition has no call that tells."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, reduce
from operator import or_
from typing import Final

from edgeroot import engine
from edgeroot.providers.api import Capabilities, Capability, Function
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyType

_BEYOND_CRYPTO: Final = (
    Function.PS_SET | Function.PS_GET | Function.PS_GET_INFO | Function.PS_REMOVE | Function.INITIAL_ATTEST_GET_TOKEN
)


_PAIR: Final = KeyType.ecc_key_pair(EccFamily.SECP_R1)
_PAIR_BITS: Final = 256
_SIGNATURES: Final = Function.SIGN_HASH | Function.SIGN_MESSAGE | Function.VERIFY_HASH | Function.VERIFY_MESSAGE
_MAKES: Final = Function.GENERATE_KEY | Function.IMPORT_KEY


@cache
def capabilities(*, in_element: bool = False, states_keys: bool = True) -> Capabilities:
    """All of it: the emulated partition runs this package's engine. What a device lacks it answers NOT_SUPPORTED.

    ``states_keys``: there are statements about keys, which no other secure world than ours gives.
    With new keys in the secure element these are P-256 pairs that are generated there; keys of before stay of use.
    """
    rows = tuple(map(_capability, engine.rows()))
    if in_element:
        rows = (*_in_element(), *filter(None, map(_of_before, rows)))
    beyond = _BEYOND_CRYPTO | Function.KEY_STATEMENT if states_keys else _BEYOND_CRYPTO
    return Capabilities(generation=0, rows=(*rows, Capability(beyond)))


def _in_element() -> tuple[Capability, ...]:
    made = Function.GENERATE_KEY | Function.DESTROY_KEY | Function.EXPORT_PUBLIC_KEY
    bits = (_PAIR_BITS,)
    return (
        Capability(made, _PAIR, bits),
        Capability(_SIGNATURES, _PAIR, bits, frozenset({Algorithm.ecdsa(Hash.SHA_256)})),
        Capability(Function.RAW_KEY_AGREEMENT, _PAIR, bits, frozenset({Algorithm.ECDH})),
    )


def _of_before(row: Capability) -> Capability | None:
    """What no new key has is not promised of pairs that a new one could be taken for."""
    functions = row.functions & ~_MAKES
    key_bits = row.key_bits
    if row.key_type == _PAIR:
        key_bits = tuple(bits for bits in key_bits if bits != _PAIR_BITS)
    return replace(row, functions=functions, key_bits=key_bits) if functions else None


def _capability(row: engine.Row) -> Capability:
    functions = reduce(or_, (Function[name.upper()] for name in row.functions))
    return Capability(functions, row.key_type, row.key_bits, row.algorithms)
