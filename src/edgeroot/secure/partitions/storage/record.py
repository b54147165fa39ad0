"""The log's format. A log is a header and records; each changes one object.

Header, 64 bytes: magic, log id (16 random bytes), base sequence u64, count u32, MAC (16 bytes), zeros. The log begins
with ``count`` records that have the base sequence, the objects at that time; every later record has the next one.

Record: head (80 bytes), body, zeros up to a multiple of 64 bytes, and the head again, so that a damaged head is found
at the other end. Head: kind u8, service u8, create flags u16, source u32, uid u64, sequence u64, capacity u64, body
length u32, nonce (12 bytes), tag (16 bytes), MAC (16 bytes). The body is the object's content under AES-256-GCM; its
additional data is the head without nonce and tag. The MAC binds the head to this log. Little-endian.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass, replace
from hashlib import sha256
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edgeroot.psa import Secret
from edgeroot.secure.platform.device_secret import derive

MAGIC: Final = b"ERSTORE1"
HEADER_BYTES: Final = 64
ALIGNMENT_BYTES: Final = 64
SET: Final = 1
REMOVE: Final = 2
_KINDS: Final = (b"\x01", b"\x02")
_HEADER: Final = Struct("<8s16sQI")
_FIELDS: Final = Struct("<BBHIQQQI")
_NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_MAC_BYTES: Final = 16
HEAD_BYTES: Final = _FIELDS.size + _NONCE_BYTES + TAG_BYTES + _MAC_BYTES
_LOG_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a record says of itself. ``service`` tells apart the services that share the log."""

    kind: int
    service: int
    flags: int
    source_id: int
    uid: int
    sequence: int
    capacity_bytes: int
    size_bytes: int
    nonce: bytes = b""
    tag: bytes = b""

    def fields(self) -> bytes:
        return _FIELDS.pack(
            self.kind,
            self.service,
            self.flags,
            self.source_id,
            self.uid,
            self.sequence,
            self.capacity_bytes,
            self.size_bytes,
        )

    @property
    def record_bytes(self) -> int:
        return record_bytes(self.size_bytes)


@dataclass(frozen=True, slots=True)
class LogHeader:
    """The beginning of a log."""

    log_id: bytes
    base_sequence: int
    count: int

    @classmethod
    def fresh(cls, *, base_sequence: int, count: int) -> LogHeader:
        return cls(os.urandom(_LOG_ID_BYTES), base_sequence, count)


def record_bytes(size_bytes: int) -> int:
    """How long a record with a body of this size is."""
    whole = HEAD_BYTES + size_bytes + HEAD_BYTES
    return -(-whole // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


class Sealer:
    """Writes and reads headers, heads and bodies, under keys derived from the partition's secret.

    Contents have a key for each service and source; nonces are random.
    """

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._mac_key = derive(secret, b"storage: log")
        self._aeads: dict[tuple[int, int], AESGCM] = {}

    def write_header(self, header: LogHeader) -> bytes:
        encoded = _HEADER.pack(MAGIC, header.log_id, header.base_sequence, header.count)
        return (encoded + self._mac(b"header", encoded)).ljust(HEADER_BYTES, b"\0")

    def read_header(self, data: bytes) -> LogHeader | None:
        """None if this is no header of ours."""
        if len(data) != HEADER_BYTES or data != data[: _HEADER.size + _MAC_BYTES].ljust(HEADER_BYTES, b"\0"):
            return None
        encoded, mac = data[: _HEADER.size], data[_HEADER.size : _HEADER.size + _MAC_BYTES]
        if not hmac.compare_digest(mac, self._mac(b"header", encoded)):
            return None
        _, log_id, base_sequence, count = _HEADER.unpack(encoded)
        return LogHeader(log_id, base_sequence, count)

    def write_record(self, log_id: bytes, head: Head, content: bytes) -> tuple[Head, bytes]:
        """The head as it was written, and the record."""
        fields = head.fields()
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._aead(head).encrypt(nonce, content, fields)
        body, tag = sealed[: len(content)], sealed[len(content) :]
        encoded = fields + nonce + tag
        encoded += self._mac(log_id, encoded)
        front = encoded + body
        return replace(head, nonce=nonce, tag=tag), front.ljust(head.record_bytes - HEAD_BYTES, b"\0") + encoded

    def read_head(self, log_id: bytes, data: bytes) -> Head | None:
        """None if this is no head of this log."""
        if data[:1] not in _KINDS:  # most of what is looked at are zeros, and need no MAC
            return None
        encoded, mac = data[: HEAD_BYTES - _MAC_BYTES], data[HEAD_BYTES - _MAC_BYTES : HEAD_BYTES]
        if len(data) < HEAD_BYTES or not hmac.compare_digest(mac, self._mac(log_id, encoded)):
            return None
        kind, service, flags, source_id, uid, sequence, capacity_bytes, size_bytes = _FIELDS.unpack_from(encoded)
        rest = encoded[_FIELDS.size :]
        return Head(
            kind=kind,
            service=service,
            flags=flags,
            source_id=source_id,
            uid=uid,
            sequence=sequence,
            capacity_bytes=capacity_bytes,
            size_bytes=size_bytes,
            nonce=rest[:_NONCE_BYTES],
            tag=rest[_NONCE_BYTES:],
        )

    def read_body(self, head: Head, body: bytes) -> Secret | None:
        """The content; None if it was changed."""
        try:
            return Secret(self._aead(head).decrypt(head.nonce, body + head.tag, head.fields()))
        except InvalidTag:
            return None

    def _aead(self, head: Head) -> AESGCM:
        owner = (head.service, head.source_id)
        aead = self._aeads.get(owner)
        if aead is None:
            label = b"storage: service %d, source %d" % owner
            aead = self._aeads[owner] = AESGCM(derive(self._secret, label))
        return aead

    def _mac(self, context: bytes, data: bytes) -> bytes:
        return hmac.digest(self._mac_key, context + data, sha256)[:_MAC_BYTES]
