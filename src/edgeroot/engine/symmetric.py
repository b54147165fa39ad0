"""Keys that are plain bytes: raw data, derivation secrets, HMAC keys and the keys of ciphers (PSA Crypto API 1.2,
clause 9.3.2). Their format is the bytes themselves.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Final

from edgeroot.engine.cipher import ARC4_BITS, CipherKey
from edgeroot.engine.cipher import rows as cipher_rows
from edgeroot.engine.errors import invalid_argument
from edgeroot.engine.key import EngineKey, Row
from edgeroot.engine.mac import HmacKey
from edgeroot.engine.mac import rows as mac_rows
from edgeroot.psa import KeyAttributes, KeyType, Secret

# PSA_MAX_KEY_BITS of the reference implementation.
_ANY_BITS: Final = range(8, 0xFFF8 + 1, 8)
_KEY_BITS: Final[dict[KeyType, Collection[int]]] = {
    KeyType.RAW_DATA: _ANY_BITS,
    KeyType.DERIVE: _ANY_BITS,
    KeyType.HMAC: _ANY_BITS,
    # 512 bits are for XTS alone, which takes a key of double length; 256 bits under XTS are XTS-AES-128.
    KeyType.AES: (128, 192, 256, 512),
    KeyType.CAMELLIA: (128, 192, 256),
    KeyType.DES: (64, 128, 192),
    KeyType.ARC4: ARC4_BITS,
    KeyType.CHACHA20: (256,),
}
KEY_TYPES: Final = frozenset(_KEY_BITS)


def _check_bits(key_type: KeyType, key_bits: int) -> None:
    if key_bits not in _KEY_BITS[key_type]:
        raise invalid_argument(f"there is no key of type {key_type!r} with {key_bits} bits")


def generate(attributes: KeyAttributes) -> Secret:
    """Random bytes; a DES key gets the parity bits that its format asks for."""
    _check_bits(attributes.key_type, attributes.key_bits)
    material = os.urandom(attributes.key_bits // 8)
    return with_parity(material) if attributes.key_type == KeyType.DES else Secret(material)


def with_parity(material: bytes) -> Secret:
    """A DES key with its parity bits right."""
    return Secret(bytes(byte & 0xFE | 1 - (byte >> 1).bit_count() % 2 for byte in material))


def import_material(attributes: KeyAttributes, data: bytes) -> tuple[int, Secret]:
    """The key's size, which is the data's, and the material."""
    key_bits = 8 * len(data)
    _check_bits(attributes.key_type, key_bits)
    return key_bits, Secret(data)


def load(attributes: KeyAttributes, material: Secret) -> EngineKey:
    """The key in this material."""
    _check_bits(attributes.key_type, 8 * len(material))
    if attributes.key_type == KeyType.HMAC:
        return HmacKey(attributes, material)
    if attributes.key_type.block_size_bytes:
        return CipherKey(attributes, material)
    return EngineKey(attributes)


def rows() -> tuple[Row, ...]:
    """What this module and the ciphers and MACs can do."""
    holding = tuple(
        Row(("generate_key", "import_key", "destroy_key", "export_key"), key_type, key_bits)
        for key_type, key_bits in _KEY_BITS.items()
    )
    return holding + mac_rows(_ANY_BITS) + cipher_rows()
