"""CBOR (RFC 8949) as evidence uses it: definite lengths, no duplicate keys, nothing after the end.

Integers and lengths need not be in their shortest form (RFC 9783, clause 5.2). A tag stays a tag: what it stands for is
nobody's business here, and to act on some (shared references, regular expressions) would let whoever wrote the evidence
choose how much work reading it is.
"""

from __future__ import annotations

from functools import partial
from io import BytesIO
from typing import Final

import cbor2

from edgeroot.evidence.errors import EvidenceError

_MAX_DEPTH: Final = 16
# Every tag that the library would turn into an object of its own.
_TAGS: Final = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)


def _keep(tag: int, value: object, _immutable: bool) -> cbor2.CBORTag:
    return cbor2.CBORTag(tag, value)


_KEEP: Final = {tag: partial(_keep, tag) for tag in _TAGS}


def encode(value: object) -> bytes:
    """The value's encoding: shortest forms, map entries in the order of the dict."""
    return cbor2.dumps(value)


def decode(data: bytes, what: str) -> object:
    """The one value that ``data`` is; EvidenceError, which calls it ``what``, if it is none."""
    stream = BytesIO(data)
    decoder = cbor2.CBORDecoder(
        stream,
        semantic_decoders=_KEEP,
        max_depth=_MAX_DEPTH,
        allow_indefinite=False,
        allow_duplicate_keys=False,
    )
    try:
        value: object = decoder.decode()
    except cbor2.CBORDecodeError as error:
        raise EvidenceError(f"{what} is not valid CBOR: {error}") from error
    if stream.tell() != len(data):
        raise EvidenceError(f"{what} ends after {stream.tell()} of {len(data)} bytes")
    return value
