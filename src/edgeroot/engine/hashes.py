"""Hash functions, and the hash objects by which signature schemes name them (PSA Crypto API 1.2, clause 10.2).

MD2 and MD4 are in no maintained library and are not supported.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives import hashes

from edgeroot.engine.errors import invalid_argument, invalid_signature, not_supported
from edgeroot.engine.key import Row
from edgeroot.psa import Algorithm, Hash


class Ripemd160(hashes.HashAlgorithm):
    """pyca/cryptography looks hashes up in OpenSSL by their name, so this one needs no more than a name."""

    name = "ripemd160"
    digest_size = 20
    block_size = 64


HASHES: Final[dict[Hash, hashes.HashAlgorithm]] = {
    Hash.MD5: hashes.MD5(),
    Hash.RIPEMD160: Ripemd160(),
    Hash.SHA_1: hashes.SHA1(),
    Hash.SHA_224: hashes.SHA224(),
    Hash.SHA_256: hashes.SHA256(),
    Hash.SHA_384: hashes.SHA384(),
    Hash.SHA_512: hashes.SHA512(),
    Hash.SHA_512_224: hashes.SHA512_224(),
    Hash.SHA_512_256: hashes.SHA512_256(),
    Hash.SHA3_224: hashes.SHA3_224(),
    Hash.SHA3_256: hashes.SHA3_256(),
    Hash.SHA3_384: hashes.SHA3_384(),
    Hash.SHA3_512: hashes.SHA3_512(),
}


# hashlib costs a third of what pyca/cryptography does on short inputs, but guarantees only these.
_HASHLIB: Final[dict[Hash, Callable[..., hashlib._Hash]]] = {
    Hash.MD5: hashlib.md5,
    Hash.SHA_1: hashlib.sha1,
    Hash.SHA_224: hashlib.sha224,
    Hash.SHA_256: hashlib.sha256,
    Hash.SHA_384: hashlib.sha384,
    Hash.SHA_512: hashlib.sha512,
    Hash.SHA3_224: hashlib.sha3_224,
    Hash.SHA3_256: hashlib.sha3_256,
    Hash.SHA3_384: hashlib.sha3_384,
    Hash.SHA3_512: hashlib.sha3_512,
}


def hash_compute(alg: Hash, data: bytes) -> bytes:
    """The digest of ``data``; NOT_SUPPORTED for MD2 and MD4, INVALID_ARGUMENT for the wildcard."""
    constructor = _HASHLIB.get(alg)
    if constructor is not None:
        return constructor(data, usedforsecurity=False).digest()
    algorithm = HASHES.get(alg)
    if algorithm is None:
        if alg is Hash.ANY:
            raise invalid_argument("a wildcard is not a hash algorithm")
        raise not_supported(f"hash algorithm {alg.name}")
    context = hashes.Hash(algorithm)
    context.update(data)
    return context.finalize()


def hash_compare(alg: Hash, data: bytes, hash_value: bytes) -> None:
    """Returns if ``hash_value`` is the digest of ``data``, raises INVALID_SIGNATURE if not."""
    if not hmac.compare_digest(hash_compute(alg, data), hash_value):
        raise invalid_signature()


def rows() -> tuple[Row, ...]:
    """What this module can do."""
    algorithms = frozenset(Algorithm.from_hash(alg) for alg in HASHES)
    return (Row(("hash_compute", "hash_compare"), algorithms=algorithms),)
