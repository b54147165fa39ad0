"""Finite-field Diffie-Hellman in the groups of RFC 7919 (PSA Crypto API 1.2, clauses 9.3.6 and 10.9.1).

Formats: public key, private key and shared secret are big-endian and as long as the group's prime.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Final

from cryptography.utils import CryptographyDeprecationWarning

from edgeroot.engine.errors import invalid_argument
from edgeroot.engine.key import EngineKey, Row
from edgeroot.psa import Algorithm, DhFamily, KeyAttributes, KeyType, Secret

with warnings.catch_warnings():
    # The library advises against FFDH, as anybody would; PSA has it, and the key's policy decides.
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)
    from cryptography.hazmat.primitives.asymmetric.dh import (
        DHParameterNumbers,
        DHPrivateKey,
        DHPrivateNumbers,
        DHPublicNumbers,
    )

_PAIR: Final = KeyType.dh_key_pair(DhFamily.RFC7919)
_PUBLIC: Final = KeyType.dh_public_key(DhFamily.RFC7919)
KEY_TYPES: Final = frozenset((_PAIR, _PUBLIC))
_GENERATOR: Final = 2
# RFC 7919, appendix A: the smallest X for which p = 2^b - 2^(b-64) + ([2^(b-130) e] + X) 2^64 - 1 is a safe prime.
_X: Final = {2048: 560316, 3072: 2625351, 4096: 5736041, 6144: 15705020, 8192: 10965728}
_GUARD_BITS: Final = 64


def _scaled_e(bits: int) -> int:
    """[2^bits e] as the sum of 1 / k!, with spare bits for the rounding of its terms."""
    total, term, k = 0, 1 << bits + _GUARD_BITS, 0
    while term:
        total += term
        k += 1
        term //= k
    return total >> _GUARD_BITS


@cache
def group(key_bits: int) -> DHParameterNumbers:
    """Prime and generator of a group; INVALID_ARGUMENT if RFC 7919 has none of this size."""
    if key_bits not in _X:
        raise invalid_argument(f"RFC 7919 has no group of {key_bits} bits")
    middle = _scaled_e(key_bits - 130) + _X[key_bits] << 64
    return DHParameterNumbers((1 << key_bits) - (1 << key_bits - 64) + middle - 1, _GENERATOR)


def generate(attributes: KeyAttributes) -> Secret:
    """A new private exponent."""
    private = group(attributes.key_bits).parameters().generate_private_key()
    return Secret(private.private_numbers().x.to_bytes(attributes.key_bits // 8, "big"))


def import_material(attributes: KeyAttributes, data: bytes) -> tuple[int, Secret]:
    """The key's size, which is the data's, and the material."""
    key_bits = 8 * len(data)
    _number(key_bits, data)
    return key_bits, Secret(data)


def load(attributes: KeyAttributes, material: Secret) -> EngineKey:
    """The key in this material."""
    return DhKey(attributes, _number(attributes.key_bits, material))


def _number(key_bits: int, data: bytes) -> int:
    """A public or private number; both lie strictly between 1 and p - 1 (RFC 7919, clause 5.1)."""
    prime = group(key_bits).p
    if 8 * len(data) != key_bits:
        raise invalid_argument(f"a key of this group has {key_bits // 8} bytes, not {len(data)}")
    number = int.from_bytes(data, "big")
    if not 1 < number < prime - 1:
        raise invalid_argument("the number lies outside the group's range")
    return number


class DhKey(EngineKey):
    """A key pair, or a public key alone."""

    __slots__ = ("_number", "_private")

    def __init__(self, attributes: KeyAttributes, number: int) -> None:
        super().__init__(attributes)
        self._number = number
        self._private: DHPrivateKey | None = None
        if attributes.key_type == _PAIR:
            # An agreement does not need the public number, which takes as long to compute: the generator stands in.
            stand_in = DHPublicNumbers(_GENERATOR, group(attributes.key_bits))
            self._private = DHPrivateNumbers(number, stand_in).private_key()

    def export_public(self) -> bytes:
        if self._private is None:
            return self._number.to_bytes(self.attributes.key_bits // 8, "big")
        # g^x, the key's own public number, is what it shares with a peer whose public number is g.
        return self._agree(_GENERATOR)

    def raw_key_agreement(self, alg: Algorithm, peer_key: bytes) -> Secret:
        if self._private is None or alg != Algorithm.FFDH:
            raise self._mismatch(f"agree with {alg!r}")
        return Secret(self._agree(_number(self.attributes.key_bits, peer_key)))

    def _agree(self, peer: int) -> bytes:
        assert self._private is not None
        try:
            return self._private.exchange(DHPublicNumbers(peer, group(self.attributes.key_bits)).public_key())
        except ValueError as error:
            raise invalid_argument("the peer's key is unusable") from error


def rows() -> tuple[Row, ...]:
    """What this module can do."""
    key_bits = tuple(_X)
    return (
        Row(("generate_key", "import_key", "destroy_key", "export_key", "export_public_key"), _PAIR, key_bits),
        Row(("import_key", "destroy_key", "export_key", "export_public_key"), _PUBLIC, key_bits),
        Row(("raw_key_agreement",), _PAIR, key_bits, frozenset((Algorithm.FFDH,))),
    )
