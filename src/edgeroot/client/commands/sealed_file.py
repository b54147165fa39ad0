"""Files encrypted under an AEAD key of the service, chunk by chunk. Without IO: bytes in, bytes out.

A file is a header and at least one chunk::

    header   8 bytes   "EDGEROOT"
             1 byte    version, 1
             4 bytes   PSA algorithm, big-endian
             4 bytes   plaintext bytes in each chunk but the last, big-endian
             9 bytes   nonce prefix, random for each file
             2 bytes   length of the key's name, big-endian
             n bytes   the key's name in UTF-8
    chunks   ciphertext with the tag at its end; all but the last have the full length

This is the STREAM construction (Hoang, Reyhanitabar, Rogaway and Vizar, "Online Authenticated-Encryption and its
Nonce-Reuse Misuse-Resistance", CRYPTO 2015): a chunk's nonce is the prefix and three bytes that hold the chunk's number
times two, plus one in the last chunk. Every chunk has the whole header as additional data. So chunks that are changed,
left out, repeated, moved, or taken from another file do not decrypt, and neither does a file that was cut off.

Only an empty file has an empty last chunk. After 2**32 files under one key, the chance that two of them have the same
prefix is 2**-9: change keys long before.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from edgeroot.psa import Algorithm

MAGIC: Final = b"EDGEROOT"
VERSION: Final = 1
PREFIX_BYTES: Final = 9
TAG_BYTES: Final = 16
CHUNK_BYTES: Final = 512 << 10
"""Fits into a request of a service with upstream's default body_len_limit of 1 MiB."""
CHUNK_MAX_BYTES: Final = 64 << 20
"""A reader refuses more, for it keeps two chunks in memory."""
CHUNKS_MAX: Final = 1 << 23
_FIXED: Final = struct.Struct(f">8sBII{PREFIX_BYTES}sH")
FIXED_BYTES: Final = _FIXED.size


class NotSealedError(ValueError):
    """The bytes are not the beginning of a file of this format, or of a version that is understood."""


@dataclass(frozen=True, slots=True)
class Header:
    """Everything that a reader needs besides the key."""

    algorithm: Algorithm
    chunk_bytes: int
    nonce_prefix: bytes
    key_name: str

    def __bytes__(self) -> bytes:
        name = self.key_name.encode()
        return _FIXED.pack(MAGIC, VERSION, self.algorithm, self.chunk_bytes, self.nonce_prefix, len(name)) + name

    def nonce(self, number: int, *, last: bool) -> bytes:
        """The nonce of chunk ``number``, counted from 0; OverflowError if a file has no so many."""
        if number >= CHUNKS_MAX:
            raise OverflowError(f"a file has at most {CHUNKS_MAX} chunks")
        return self.nonce_prefix + (number << 1 | last).to_bytes(3)


def name_length(fixed: bytes) -> int:
    """How many bytes of the key's name follow the header's fixed part; NotSealedError if this is no such header."""
    if len(fixed) != FIXED_BYTES or not fixed.startswith(MAGIC):
        raise NotSealedError("this is no file that encrypt-file has made")
    if fixed[len(MAGIC)] != VERSION:
        raise NotSealedError(
            f"the file has version {fixed[len(MAGIC)]} of the format, and only {VERSION} is known here"
        )
    length: int = _FIXED.unpack(fixed)[-1]
    return length


def parse_header(encoded: bytes) -> Header:
    """The header from all of its bytes; NotSealedError."""
    length = name_length(encoded[:FIXED_BYTES])
    _, _, algorithm, chunk_bytes, prefix, _ = _FIXED.unpack(encoded[:FIXED_BYTES])
    if len(encoded) != FIXED_BYTES + length:
        raise NotSealedError("the file ends within its header")
    if not 0 < chunk_bytes <= CHUNK_MAX_BYTES:
        raise NotSealedError(f"the file has chunks of {chunk_bytes} bytes, and at most {CHUNK_MAX_BYTES} are read")
    try:
        name = encoded[FIXED_BYTES:].decode()
    except UnicodeDecodeError as error:
        raise NotSealedError("the file's header holds no name of a key") from error
    return Header(Algorithm(algorithm), chunk_bytes, prefix, name)
