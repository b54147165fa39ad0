"""Evidence in a conceptual message wrapper (CMW, draft-ietf-rats-msg-wrap, clause 3), opened.

Three forms: JSON ``[media type, value in base64url, indicator?]``; CBOR ``[media type or CoAP content format, bytes,
indicator?]``; a CBOR tag, made of the content format, on bytes. Whoever wraps may say what is inside (the indicator),
and that must then be evidence. Collections and tunnels are refused: a session takes one piece of evidence.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from typing import Final

import cbor2

from edgeroot.evidence import EvidenceError
from edgeroot.evidence.cbor import decode
from edgeroot.verifier.errors import VerifierError

_EVIDENCE: Final = 1 << 2
_CONTENT_FORMATS: Final[Mapping[int, str]] = {
    10003: 'application/eat+cwt; eat_profile="tag:psacertified.org,2023:psa#tfm"',
    10004: 'application/eat+cwt; eat_profile="tag:psacertified.org,2019:psa#legacy"',
}
"""RFC 9783, clause 10.3."""
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def tag_of(content_format: int) -> int:
    """The CBOR tag for a CoAP content format (RFC 9277, appendix B)."""
    return 0x63740101 + content_format // 255 * 256 + content_format % 255


_TAGS: Final = {tag_of(number): media_type for number, media_type in _CONTENT_FORMATS.items()}


def unwrap_json(data: bytes) -> tuple[str, bytes]:
    """The media type of what is inside, and that itself. VerifierError for anything else than a record of evidence."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise VerifierError("the wrapper is not JSON") from error
    kind, value = _members(record)
    if not isinstance(value, str) or not _BASE64URL.fullmatch(value):
        raise VerifierError("a wrapper in JSON has its content in base64url without padding")
    try:
        return _media_type(kind), urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except ValueError as error:
        raise VerifierError("the wrapper's content is not base64url") from error


def unwrap_cbor(data: bytes) -> tuple[str, bytes]:
    """As :func:`unwrap_json`."""
    try:
        record = decode(data, "the wrapper")
    except EvidenceError as error:
        raise VerifierError(str(error)) from error
    kind, value = (_TAGS.get(record.tag), record.value) if isinstance(record, cbor2.CBORTag) else _members(record)
    if isinstance(kind, int):
        kind = _CONTENT_FORMATS.get(kind)
    if not isinstance(value, bytes):
        raise VerifierError("the wrapper's content is not a byte string")
    return _media_type(kind), value


def _media_type(kind: object) -> str:
    if not isinstance(kind, str) or not kind.isascii() or not kind.isprintable():
        raise VerifierError("the wrapper names no media type, and no content format of evidence that is taken here")
    return kind


def _members(record: object) -> tuple[object, object]:
    """Type and value; neither is checked."""
    if not isinstance(record, list | tuple) or len(record) not in (2, 3):
        raise VerifierError("a wrapper here is one record: its type, its content and, if it is said, what that is")
    indicator = record[2] if len(record) == 3 else _EVIDENCE
    if indicator != _EVIDENCE or not isinstance(indicator, int):
        raise VerifierError("the wrapper says of its content that it is not evidence, or more than evidence")
    return record[0], record[1]


UNWRAP: Final[Mapping[str, Callable[[bytes], tuple[str, bytes]]]] = {
    "application/cmw+json": unwrap_json,
    "application/cmw+cbor": unwrap_cbor,
    "application/vnd.veraison.cmw+json": unwrap_json,
    "application/vnd.veraison.cmw+cbor": unwrap_cbor,
}
"""By the wrapper's media type."""
