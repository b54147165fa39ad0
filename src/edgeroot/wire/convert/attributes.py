"""Key attributes of the contract (Parsec book, "Operations": psa_key_attributes)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from edgeroot.psa import DhFamily, EccFamily, KeyAttributes, KeyType, UsageFlags
from edgeroot.wire.contract.generated import attributes_pb2 as pb
from edgeroot.wire.convert.algorithms import decode_algorithm, encode_algorithm
from edgeroot.wire.convert.table import Table
from edgeroot.wire.status import ResponseStatus, WireError

_ECC_FAMILIES: Final = {
    pb.ECC_FAMILY_SECP_K1: EccFamily.SECP_K1,
    pb.ECC_FAMILY_SECP_R1: EccFamily.SECP_R1,
    pb.ECC_FAMILY_SECP_R2: EccFamily.SECP_R2,
    pb.ECC_FAMILY_SECT_K1: EccFamily.SECT_K1,
    pb.ECC_FAMILY_SECT_R1: EccFamily.SECT_R1,
    pb.ECC_FAMILY_SECT_R2: EccFamily.SECT_R2,
    pb.ECC_FAMILY_BRAINPOOL_P_R1: EccFamily.BRAINPOOL_P_R1,
    pb.ECC_FAMILY_FRP: EccFamily.FRP,
    pb.ECC_FAMILY_MONTGOMERY: EccFamily.MONTGOMERY,
}
_DH_FAMILIES: Final = {pb.DH_FAMILY_RFC7919: DhFamily.RFC7919}


def _key_types() -> Iterator[tuple[KeyType, pb.KeyType]]:
    kind = pb.KeyType
    yield KeyType.RAW_DATA, kind(raw_data=kind.RawData())
    yield KeyType.HMAC, kind(hmac=kind.Hmac())
    yield KeyType.DERIVE, kind(derive=kind.Derive())
    yield KeyType.AES, kind(aes=kind.Aes())
    yield KeyType.DES, kind(des=kind.Des())
    yield KeyType.CAMELLIA, kind(camellia=kind.Camellia())
    yield KeyType.ARC4, kind(arc4=kind.Arc4())
    yield KeyType.CHACHA20, kind(chacha20=kind.Chacha20())
    yield KeyType.RSA_PUBLIC_KEY, kind(rsa_public_key=kind.RsaPublicKey())
    yield KeyType.RSA_KEY_PAIR, kind(rsa_key_pair=kind.RsaKeyPair())
    for curve, ecc in _ECC_FAMILIES.items():
        yield KeyType.ecc_key_pair(ecc), kind(ecc_key_pair=kind.EccKeyPair(curve_family=curve))
        yield KeyType.ecc_public_key(ecc), kind(ecc_public_key=kind.EccPublicKey(curve_family=curve))
    for group, dh in _DH_FAMILIES.items():
        yield KeyType.dh_key_pair(dh), kind(dh_key_pair=kind.DhKeyPair(group_family=group))
        yield KeyType.dh_public_key(dh), kind(dh_public_key=kind.DhPublicKey(group_family=group))


_KEY_TYPES: Final = Table(_key_types())
_ENCODED_BYTES_MAX: Final = 128
_USAGE: Final = {
    "export": UsageFlags.EXPORT,
    "copy": UsageFlags.COPY,
    "cache": UsageFlags.CACHE,
    "encrypt": UsageFlags.ENCRYPT,
    "decrypt": UsageFlags.DECRYPT,
    "sign_message": UsageFlags.SIGN_MESSAGE,
    "verify_message": UsageFlags.VERIFY_MESSAGE,
    "sign_hash": UsageFlags.SIGN_HASH,
    "verify_hash": UsageFlags.VERIFY_HASH,
    "derive": UsageFlags.DERIVE,
}


def decode_attributes(message: pb.KeyAttributes) -> KeyAttributes:
    """A key's attributes, with the usage that its usage implies.

    WireError INVALID_ENCODING if a part is absent or invalid, PSA_ERROR_INVALID_ARGUMENT as for algorithms.
    """
    encoded = message.SerializeToString()
    # What is longer than any valid attributes holds fields unknown here, and must not fill the memory of a cache.
    return _decode_again(encoded) if len(encoded) <= _ENCODED_BYTES_MAX else _decode(message)


@lru_cache(maxsize=1024)
def _decode_again(encoded: bytes) -> KeyAttributes:
    return _decode(pb.KeyAttributes.FromString(encoded))


def _decode(message: pb.KeyAttributes) -> KeyAttributes:
    policy = message.key_policy
    if not policy.HasField("key_usage_flags"):
        raise WireError(ResponseStatus.INVALID_ENCODING, "no usage flags")
    usage = UsageFlags.NONE
    for field, _ in policy.key_usage_flags.ListFields():
        usage |= _USAGE[field.name]
    return KeyAttributes(
        key_type=_KEY_TYPES.decode(message.key_type),
        key_bits=message.key_bits,
        usage=usage.with_implied(),
        algorithm=decode_algorithm(policy.key_algorithm),
    )


@lru_cache(maxsize=1024)
def encode_attributes(attributes: KeyAttributes) -> pb.KeyAttributes:
    """The reverse of :func:`decode_attributes`; WireError SERIALIZING_BODY_FAILED for what the contract lacks.

    The message is shared: do not change it.
    """
    usage = pb.UsageFlags(**{name: True for name, flag in _USAGE.items() if flag & attributes.usage})
    return pb.KeyAttributes(
        key_type=_KEY_TYPES.encode(attributes.key_type),
        key_bits=attributes.key_bits,
        key_policy=pb.KeyPolicy(key_usage_flags=usage, key_algorithm=encode_algorithm(attributes.algorithm)),
    )
