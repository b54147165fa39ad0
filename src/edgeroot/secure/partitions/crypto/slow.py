"""Work that may take longer than 2 ms, as self-contained tasks for another process of the partition.

A task is: function u8, location u8, attributes (14 bytes), algorithm u32, and three times a length u32 and as many
bytes: the key's material (its name, if it is in the secure element) or the data to import, and the function's two
inputs. Integers are little-endian. Both ends are this partition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum, auto
from struct import Struct
from typing import Final, TypeAlias

from edgeroot import engine
from edgeroot.abi.key_attributes import LOCATION_LOCAL_STORAGE
from edgeroot.engine import EngineKey
from edgeroot.psa import Algorithm, EccFamily, KeyAttributes, KeyType, Secret

# Measured on one core of 2.5 GHz: whatever is not named here stays below 2 ms.
_SLOW_RSA_BITS: Final = 3072
_SLOW_BRAINPOOL_BITS: Final = 384
_BRAINPOOL: Final = KeyType.ecc_public_key(EccFamily.BRAINPOOL_P_R1)
_HEAD: Final = Struct("<BB14sIIII")
_BITS: Final = Struct("<I")

Load: TypeAlias = Callable[[KeyAttributes, Secret, int], EngineKey]
"""Makes a key ready for use: its attributes, its material or name, its location."""


class Function(IntEnum):
    """What can be done elsewhere."""

    GENERATE = auto()
    IMPORT = auto()
    EXPORT_PUBLIC = auto()
    SIGN_HASH = auto()
    VERIFY_HASH = auto()
    SIGN_MESSAGE = auto()
    VERIFY_MESSAGE = auto()
    ENCRYPT = auto()
    DECRYPT = auto()
    AGREE = auto()


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work. The result of IMPORT is the key's size in bits (u32) and its material."""

    function: Function
    attributes: KeyAttributes
    algorithm: Algorithm = Algorithm.NONE
    material: Secret = field(default=Secret(), repr=False)
    first: bytes = field(default=b"", repr=False)
    second: bytes = field(default=b"", repr=False)
    location: int = LOCATION_LOCAL_STORAGE

    def encode(self) -> bytes:
        parts = self.material, self.first, self.second
        head = _HEAD.pack(self.function, self.location, bytes(self.attributes), self.algorithm, *map(len, parts))
        return head + b"".join(parts)

    @classmethod
    def decode(cls, task: bytes) -> Task:
        function, location, attributes, algorithm, *lengths = _HEAD.unpack_from(task)
        parts = []
        start = _HEAD.size
        for length in lengths:
            parts.append(task[start : start + length])
            start += length
        return cls(
            Function(function),
            KeyAttributes.from_bytes(attributes),
            Algorithm(algorithm),
            Secret(parts[0]),
            parts[1],
            parts[2],
            location,
        )


def _verified(verify: Callable[[EngineKey, Task], None]) -> Callable[[EngineKey, Task], bytes]:
    def run(key: EngineKey, task: Task) -> bytes:
        verify(key, task)
        return b""

    return run


_WITH_KEY: Final[dict[Function, Callable[[EngineKey, Task], bytes]]] = {
    Function.EXPORT_PUBLIC: lambda key, _task: key.export_public(),
    Function.SIGN_HASH: lambda key, task: key.sign_hash(task.algorithm, task.first),
    Function.VERIFY_HASH: _verified(lambda key, task: key.verify_hash(task.algorithm, task.first, task.second)),
    Function.SIGN_MESSAGE: lambda key, task: key.sign_message(task.algorithm, task.first),
    Function.VERIFY_MESSAGE: _verified(lambda key, task: key.verify_message(task.algorithm, task.first, task.second)),
    Function.ENCRYPT: lambda key, task: key.asymmetric_encrypt(task.algorithm, task.first, task.second),
    Function.DECRYPT: lambda key, task: key.asymmetric_decrypt(task.algorithm, task.first, task.second),
    Function.AGREE: lambda key, task: key.raw_key_agreement(task.algorithm, task.first),
}


def work(encoded: bytes, load: Load) -> bytes:
    """Do a task and give its result; PsaError as the engine, or the secure element, raises it."""
    task = Task.decode(encoded)
    if task.function is Function.GENERATE:
        return engine.generate(task.attributes)
    if task.function is Function.IMPORT:
        attributes, material = engine.import_material(task.attributes, task.material)
        return Secret(_BITS.pack(attributes.key_bits) + material)
    return run(load(task.attributes, task.material, task.location), task)


def run(key: EngineKey, task: Task) -> bytes:
    """The part of a task that needs a loaded key."""
    return _WITH_KEY[task.function](key, task)


def imported(result: bytes) -> tuple[int, Secret]:
    """Size in bits and material from the result of IMPORT."""
    return _BITS.unpack_from(result)[0], Secret(result[_BITS.size :])


def makes_slowly(attributes: KeyAttributes, *, imports: bool) -> bool:
    """Whether generating or importing such a key is slow; to import an RSA key pair is to prove its primes."""
    key_type = attributes.key_type
    if key_type.is_dh:
        return key_type.is_key_pair and not imports
    return key_type == KeyType.RSA_KEY_PAIR or _is_slow_brainpool(attributes)


def exports_public_slowly(attributes: KeyAttributes) -> bool:
    return (attributes.key_type.is_dh and attributes.key_type.is_key_pair) or _is_slow_brainpool(attributes)


def uses_private_slowly(attributes: KeyAttributes) -> bool:
    """Whether signing, decrypting and agreeing with this key are slow."""
    if attributes.key_type == KeyType.RSA_KEY_PAIR:
        return attributes.key_bits > _SLOW_RSA_BITS
    return exports_public_slowly(attributes)


def uses_public_slowly(attributes: KeyAttributes) -> bool:
    """Whether verifying and encrypting with this key are slow."""
    return _is_slow_brainpool(attributes)


def _is_slow_brainpool(attributes: KeyAttributes) -> bool:
    # An import may leave the size open.
    return attributes.key_type.public_of_pair == _BRAINPOOL and not 0 < attributes.key_bits < _SLOW_BRAINPOOL_BITS
