"""What a provider offers over an element that is configured like this."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edgeroot.element.aes import CIPHERS, GCM_TAG_BYTES
from edgeroot.element.slots import ECDSA, PAIR, PUBLIC, Part, Role, Slot
from edgeroot.providers.api import Capabilities, Capability, Function
from edgeroot.psa import Algorithm, Hash, KeyType

HMAC: Final = Algorithm.hmac(Hash.SHA_256)
HMAC_BITS: Final = range(128, 256 + 1, 8)  # a shorter key is followed by zeros, which is what HMAC does with it
AES_BITS: Final = 128
P256_BITS: Final = 256
_NOTHING: Final = Function(0)
_VERIFY: Final = Function.VERIFY_HASH | Function.VERIFY_MESSAGE
_SIGN: Final = Function.SIGN_HASH | Function.SIGN_MESSAGE
_ENCRYPT: Final = Function.CIPHER_ENCRYPT | Function.CIPHER_DECRYPT
_SEAL: Final = Function.AEAD_ENCRYPT | Function.AEAD_DECRYPT
_MAC: Final = Function.MAC_COMPUTE | Function.MAC_VERIFY
UNKNOWN: Final = Capabilities(
    0,
    (
        Capability(
            Function.GENERATE_RANDOM
            | Function.HASH_COMPUTE
            | Function.HASH_COMPARE
            | Function.GENERATE_KEY
            | Function.IMPORT_KEY
            | Function.DESTROY_KEY
            | Function.EXPORT_PUBLIC_KEY
            | Function.RAW_KEY_AGREEMENT
            | _SIGN
            | _VERIFY
            | _ENCRYPT
            | _SEAL
            | _MAC
        ),
    ),
)
"""Before the element was ever seen: every request gets as far as the host, which looks; no key can be promised."""


def capabilities(part: Part) -> Capabilities:
    """They are as large as the configuration lets them be, however many slots are taken."""
    return Capabilities(1, tuple(row for row in _rows(part) if row.functions))


def _rows(part: Part) -> Iterator[Capability]:
    yield Capability(Function.GENERATE_RANDOM)
    digest = frozenset({Algorithm.from_hash(Hash.SHA_256)})
    yield Capability(Function.HASH_COMPUTE | Function.HASH_COMPARE, algorithms=digest)
    by_role = {role: [slot for slot in part.slots if slot.role is role] for role in Role}
    yield from _pairs(by_role[Role.PAIR])
    if by_role[Role.PUBLIC]:
        hold = _made(by_role[Role.PUBLIC]) | Function.DESTROY_KEY | Function.EXPORT_PUBLIC_KEY
        yield Capability(hold, PUBLIC, (P256_BITS,))
        yield Capability(_VERIFY, PUBLIC, (P256_BITS,), frozenset({ECDSA}))
    if by_role[Role.AES]:
        yield Capability(_made(by_role[Role.AES]) | Function.DESTROY_KEY, KeyType.AES, (AES_BITS,))
        yield Capability(_ENCRYPT, KeyType.AES, (AES_BITS,), CIPHERS)
        tags = {Algorithm.GCM.with_tag_length(size) for size in GCM_TAG_BYTES}
        yield Capability(_SEAL, KeyType.AES, (AES_BITS,), frozenset(tags))
        yield Capability(_MAC, KeyType.AES, (AES_BITS,), frozenset({Algorithm.CMAC}))
    if by_role[Role.HMAC]:
        yield Capability(_made(by_role[Role.HMAC]) | Function.DESTROY_KEY, KeyType.HMAC, HMAC_BITS)
        yield Capability(_MAC, KeyType.HMAC, HMAC_BITS, frozenset({HMAC}))


def _pairs(slots: list[Slot]) -> Iterator[Capability]:
    if not slots:
        return
    yield Capability(_made(slots) | Function.DESTROY_KEY | Function.EXPORT_PUBLIC_KEY, PAIR, (P256_BITS,))
    if any(slot.can_sign for slot in slots):
        yield Capability(_SIGN | _VERIFY, PAIR, (P256_BITS,), frozenset({ECDSA}))
    if any(slot.can_agree for slot in slots):
        yield Capability(Function.RAW_KEY_AGREEMENT, PAIR, (P256_BITS,), frozenset({Algorithm.ECDH}))


def _made(slots: list[Slot]) -> Function:
    """The ways in which keys come into slots that are not locked for good."""
    free = [slot for slot in slots if not slot.is_locked]
    generate = Function.GENERATE_KEY if any(slot.can_generate for slot in free) else _NOTHING
    return generate | (Function.IMPORT_KEY if any(slot.can_write for slot in free) else _NOTHING)
