"""Key attributes as upstream's key info managers write them: the struct ``Attributes`` of psa-crypto, by bincode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edgeroot.migration.bincode import Reader
from edgeroot.migration.errors import MigrationError
from edgeroot.psa import Algorithm, DhFamily, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags

_ECC_FAMILIES: Final = (
    EccFamily.SECP_K1,
    EccFamily.SECP_R1,
    EccFamily.SECP_R2,
    EccFamily.SECT_K1,
    EccFamily.SECT_R1,
    EccFamily.SECT_R2,
    EccFamily.BRAINPOOL_P_R1,
    EccFamily.FRP,
    EccFamily.MONTGOMERY,
)
_HASHES: Final = tuple(one for one in Hash if one is not Hash.ANY)
# In the order of psa-crypto's struct UsageFlags.
_USAGE: Final = (
    UsageFlags.EXPORT,
    UsageFlags.COPY,
    UsageFlags.CACHE,
    UsageFlags.ENCRYPT,
    UsageFlags.DECRYPT,
    UsageFlags.SIGN_MESSAGE,
    UsageFlags.VERIFY_MESSAGE,
    UsageFlags.SIGN_HASH,
    UsageFlags.VERIFY_HASH,
    UsageFlags.DERIVE,
)
_CIPHERS: Final = (
    Algorithm.STREAM_CIPHER,
    Algorithm.CTR,
    Algorithm.CFB,
    Algorithm.OFB,
    Algorithm.XTS,
    Algorithm.ECB_NO_PADDING,
    Algorithm.CBC_NO_PADDING,
    Algorithm.CBC_PKCS7,
)
_AEADS: Final = (Algorithm.CCM, Algorithm.GCM, Algorithm.CHACHA20_POLY1305)
_AGREEMENTS: Final = (Algorithm.FFDH, Algorithm.ECDH)
_Part = Callable[[Reader], Algorithm]


def decode_attributes(data: bytes) -> KeyAttributes:
    """MigrationError if they are not upstream's. Bytes behind them are passed over, as upstream does."""
    try:
        return _attributes(Reader(data))
    except ValueError as error:  # a length of a tag or MAC that no algorithm has
        raise MigrationError(f"the record's algorithm is none: {error}") from error


def _attributes(reader: Reader) -> KeyAttributes:
    """The lifetime is not kept: every key of Parsec's is persistent."""
    if reader.variant((False, False, True)):
        reader.integer(4)
    key_type = reader.variant(_KEY_TYPES)(reader)
    key_bits = reader.integer(8)
    usage = UsageFlags.NONE
    for flag in _USAGE:
        if reader.boolean():
            usage |= flag
    return KeyAttributes(key_type, key_bits, usage, reader.variant(_ALGORITHMS)(reader))


def _always(key_type: KeyType) -> Callable[[Reader], KeyType]:
    return lambda _reader: key_type


def _dh_family(reader: Reader) -> DhFamily:
    return reader.variant((DhFamily.RFC7919,))


_KEY_TYPES: Final[tuple[Callable[[Reader], KeyType], ...]] = (
    *map(
        _always,
        (
            KeyType.RAW_DATA,
            KeyType.HMAC,
            KeyType.DERIVE,
            KeyType.AES,
            KeyType.DES,
            KeyType.CAMELLIA,
            KeyType.ARC4,
            KeyType.CHACHA20,
            KeyType.RSA_PUBLIC_KEY,
            KeyType.RSA_KEY_PAIR,
        ),
    ),
    lambda reader: KeyType.ecc_key_pair(reader.variant(_ECC_FAMILIES)),
    lambda reader: KeyType.ecc_public_key(reader.variant(_ECC_FAMILIES)),
    lambda reader: KeyType.dh_key_pair(_dh_family(reader)),
    lambda reader: KeyType.dh_public_key(_dh_family(reader)),
)


def _hash(reader: Reader) -> Hash:
    return reader.variant(_HASHES)


def _sign_hash(reader: Reader) -> Hash:
    """A hash of its own, or any: in this order, which the protocol's own message has the other way round."""
    return _hash(reader) if reader.variant((True, False)) else Hash.ANY


def _full_length_mac(reader: Reader) -> Algorithm:
    part: _Part = reader.variant(
        (lambda inner: Algorithm.hmac(_hash(inner)), lambda _: Algorithm.CBC_MAC, lambda _: Algorithm.CMAC)
    )
    return part(reader)


def _mac(reader: Reader) -> Algorithm:
    is_truncated = reader.variant((False, True))
    mac = _full_length_mac(reader)
    return mac.truncated_mac(reader.integer(8)) if is_truncated else mac


def _aead(reader: Reader) -> Algorithm:
    is_shortened = reader.variant((False, True))
    aead = reader.variant(_AEADS)
    return aead.with_tag_length(reader.integer(8)) if is_shortened else aead


def _signature(reader: Reader) -> Algorithm:
    part: _Part = reader.variant(
        (
            lambda inner: Algorithm.rsa_pkcs1v15_sign(_sign_hash(inner)),
            lambda _: Algorithm.RSA_PKCS1V15_SIGN_RAW,
            lambda inner: Algorithm.rsa_pss(_sign_hash(inner)),
            lambda inner: Algorithm.ecdsa(_sign_hash(inner)),
            lambda _: Algorithm.ECDSA_ANY,
            lambda inner: Algorithm.deterministic_ecdsa(_sign_hash(inner)),
        )
    )
    return part(reader)


def _encryption(reader: Reader) -> Algorithm:
    is_oaep = reader.variant((False, True))
    return Algorithm.rsa_oaep(_hash(reader)) if is_oaep else Algorithm.RSA_PKCS1V15_CRYPT


def _derivation(reader: Reader) -> Algorithm:
    return reader.variant((Algorithm.hkdf, Algorithm.tls12_prf, Algorithm.tls12_psk_to_ms))(_hash(reader))


def _agreement(reader: Reader) -> Algorithm:
    derives = reader.variant((False, True))
    raw = reader.variant(_AGREEMENTS)
    return Algorithm.key_agreement(raw, _derivation(reader)) if derives else raw


_ALGORITHMS: Final[tuple[_Part, ...]] = (
    lambda _: Algorithm.NONE,
    lambda reader: Algorithm.from_hash(_hash(reader)),
    _mac,
    lambda reader: reader.variant(_CIPHERS),
    _aead,
    _signature,
    _encryption,
    _agreement,
    _derivation,
)
