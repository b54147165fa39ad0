"""Key pairs in a secure element: P-256, generated there, for ECDSA with SHA-256 and for ECDH.

A key's name in the element's list of slots has 16 bytes: the uid of its record (u64, little-endian) and 8 random ones,
so that what is left of an earlier key under the same id never reaches a later one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from struct import Struct
from typing import Final

from edgeroot import engine
from edgeroot.element.element import Element
from edgeroot.element.keys import ElementKeys
from edgeroot.element.slots import ECDSA, PAIR, PUBLIC
from edgeroot.engine import EngineKey
from edgeroot.psa import Algorithm, Hash, KeyAttributes, PsaError, PsaStatus, Secret

_log: Final = logging.getLogger(__name__)
_UID: Final = Struct("<Q")
_RANDOM_BYTES: Final = 8
_KEY_BITS: Final = 256
_ALGORITHMS: Final = frozenset({ECDSA, Algorithm.ECDH, Algorithm.NONE})


class SecureElement:
    """:class:`edgeroot.secure.partitions.crypto.ports.KeyElement` over an ATECC508A or ATECC608."""

    def __init__(self, keys: ElementKeys) -> None:
        self._keys = keys

    def generate(self, uid: int, attributes: KeyAttributes) -> Secret:
        is_pair = attributes.key_type == PAIR and attributes.key_bits == _KEY_BITS
        if not is_pair or attributes.algorithm not in _ALGORITHMS:
            raise PsaError(PsaStatus.NOT_SUPPORTED, "the secure element has P-256 pairs for ECDSA-SHA-256 and ECDH")
        name = Secret(_UID.pack(uid) + os.urandom(_RANDOM_BYTES))
        with _told():
            self._keys.make(name, attributes, None)
        return name

    def destroy(self, name: bytes) -> None:
        with _told():
            self._keys.destroy(name)

    def names(self) -> list[tuple[int, bytes]]:
        with _told():
            return [(_UID.unpack_from(name)[0], name) for name in self._keys.names()]

    def load(self, attributes: KeyAttributes, name: bytes) -> EngineKey:
        return _Pair(attributes, self._keys, name)


@contextmanager
def _told() -> Iterator[None]:
    """The partition's log says what the element refuses; callers get a status only."""
    try:
        yield
    except PsaError as error:
        _log.warning("secure element: %s", error.detail or error)
        raise


class _Pair(EngineKey):
    """A pair whose private key is in the element. What takes the public key only is the engine's to do."""

    __slots__ = ("_keys", "_name")

    def __init__(self, attributes: KeyAttributes, keys: ElementKeys, name: bytes) -> None:
        super().__init__(attributes)
        self._keys = keys
        self._name = name

    @contextmanager
    def _use(self) -> Iterator[tuple[Element, int]]:
        with _told(), self._keys.use(self._name) as used:
            yield used

    def export_public(self) -> bytes:
        with self._use() as (element, slot):
            return b"\x04" + element.public_key(slot)

    def sign_hash(self, alg: Algorithm, hash_value: bytes) -> bytes:
        if alg != ECDSA:
            raise self._mismatch(f"sign with {alg!r}")
        if len(hash_value) != Hash.SHA_256.length_bytes:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, f"a hash of {len(hash_value)} bytes is not one of SHA-256")
        with self._use() as (element, slot):
            return element.sign(slot, hash_value)

    def sign_message(self, alg: Algorithm, message: bytes) -> bytes:
        return self.sign_hash(alg, engine.hash_compute(Hash.SHA_256, message))

    def verify_hash(self, alg: Algorithm, hash_value: bytes, signature: bytes) -> None:
        self._public().verify_hash(alg, hash_value, signature)

    def verify_message(self, alg: Algorithm, message: bytes, signature: bytes) -> None:
        self._public().verify_message(alg, message, signature)

    def raw_key_agreement(self, alg: Algorithm, peer_key: bytes) -> Secret:
        if alg != Algorithm.ECDH:
            raise self._mismatch(f"agree with {alg!r}")
        # A point that is not on the curve is refused here: it is the caller's fault, not the element's.
        _, peer = engine.import_material(replace(self.attributes, key_type=PUBLIC), peer_key)
        with self._use() as (element, slot):
            return element.agree(slot, peer[1:])

    def _public(self) -> EngineKey:
        return engine.load(replace(self.attributes, key_type=PUBLIC), Secret(self.export_public()))
