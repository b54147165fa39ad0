"""The log's format. A log is a header and records; each changes one object, or says that one was damaged.

Header, 64 bytes: magic, log id (16 random bytes), base sequence u64, count u32, MAC (16 bytes), zeros. Records have
consecutive sequences. The first ``count`` of them, which end at the base sequence, are the objects that there were when
the log was begun; every later one is a change.

Record: head (80 bytes), body, mentions (208 bytes), zeros up to a multiple of 64 bytes, and the head again. Head: kind
u8, service u8, create flags u16, source u32, uid u64, sequence u64, capacity u64, body length u32, nonce (12 bytes),
tag (16 bytes), MAC (16 bytes). The body is the object's content under AES-256-GCM; its additional data is what the head
says of the object. The MAC binds the head, and with it the sequence and the content's tag, to this log. Mentions: kind,
service, flags, source and uid (16 bytes) of each of the 12 records before, the newest first, then a MAC (16 bytes).
Little-endian.

Head and mentions are there twice and more so that damage in one place, up to a page of 4 KiB, does not leave in doubt
which objects it has hit: a record that cannot be read is known from its other end or from the records behind it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edgeroot.psa import Secret
from edgeroot.secure.platform.device_secret import derive
from edgeroot.secure.platform.entropy import Entropy

MAGIC: Final = b"ERSTORE2"
HEADER_BYTES: Final = 64
ALIGNMENT_BYTES: Final = 64
SET: Final = 1
REMOVE: Final = 2
LOST: Final = 3  # the object is there, and its content was damaged beyond reading
_KINDS: Final = (b"\x01", b"\x02", b"\x03")
_HEADER: Final = Struct("<8s16sQI")
_FIELDS: Final = Struct("<BBHIQQQI")
_OBJECT: Final = Struct("<BBHIQQI")
_MENTION: Final = Struct("<BBHIQ")
_SEQUENCE: Final = Struct("<Q")
_NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_MAC_BYTES: Final = 16
HEAD_BYTES: Final = _FIELDS.size + _NONCE_BYTES + TAG_BYTES + _MAC_BYTES
_LOG_ID_BYTES: Final = 16
MENTIONS: Final = 12
"""A page of 4 KiB touches at most so many records, the shortest having 384 bytes."""
_MENTIONS_BYTES: Final = MENTIONS * _MENTION.size + _MAC_BYTES


class Mention(NamedTuple):
    """What a later record says of an earlier one."""

    kind: int
    service: int
    flags: int
    source_id: int
    uid: int


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

    def object_fields(self) -> bytes:
        """All but the sequence: a record can be moved to another log, its content as it is."""
        return _OBJECT.pack(
            self.kind, self.service, self.flags, self.source_id, self.uid, self.capacity_bytes, self.size_bytes
        )

    @property
    def mention(self) -> Mention:
        return Mention(self.kind, self.service, self.flags, self.source_id, self.uid)

    @property
    def record_bytes(self) -> int:
        whole = HEAD_BYTES + self.size_bytes + _MENTIONS_BYTES + HEAD_BYTES
        return -(-whole // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


@dataclass(frozen=True, slots=True)
class LogHeader:
    """The beginning of a log."""

    log_id: bytes
    base_sequence: int
    count: int

    @property
    def first_sequence(self) -> int:
        """The first record's."""
        return self.base_sequence - self.count + 1


class Sealer:
    """Writes and reads headers, heads and bodies, under keys derived from the partition's secret.

    Contents have a key for each service and source; nonces are random.
    """

    def __init__(self, secret: Secret, entropy: Entropy) -> None:
        self._secret = secret
        self._entropy = entropy
        self._mac_key = derive(secret, b"storage: log")
        self._aeads: dict[tuple[int, int], AESGCM] = {}

    def new_header(self, *, base_sequence: int, count: int) -> LogHeader:
        return LogHeader(self._entropy.random_bytes(_LOG_ID_BYTES), base_sequence, count)

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

    def seal(self, head: Head, content: bytes) -> tuple[Head, bytes]:
        """The complete head, and the body."""
        nonce = self._entropy.random_bytes(_NONCE_BYTES)
        sealed = self._aead(head).encrypt(nonce, content, head.object_fields())
        return replace(head, nonce=nonce, tag=sealed[len(content) :]), sealed[: len(content)]

    def write_record(self, log_id: bytes, head: Head, body: bytes, before: Iterable[Mention]) -> bytes:
        """The record of a sealed head and its body. ``before``: the records before, the newest first."""
        encoded = head.fields() + head.nonce + head.tag
        encoded += self._mac(log_id, encoded)
        mentions = b"".join([_MENTION.pack(*mention) for mention in before]).ljust(MENTIONS * _MENTION.size, b"\0")
        mentions += self._mentions_mac(log_id, head, mentions)
        front = encoded + body + mentions
        return front.ljust(head.record_bytes - HEAD_BYTES, b"\0") + encoded

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

    def read_mentions(self, log_id: bytes, head: Head, record: bytes) -> list[Mention] | None:
        """Those in the record with this head, the newest first; None if they were changed."""
        start = HEAD_BYTES + head.size_bytes
        end = start + _MENTIONS_BYTES
        encoded, mac = record[start : end - _MAC_BYTES], record[end - _MAC_BYTES : end]
        if not hmac.compare_digest(mac, self._mentions_mac(log_id, head, encoded)):
            return None
        return [Mention(*fields) for fields in _MENTION.iter_unpack(encoded) if fields[0]]

    def read_body(self, head: Head, body: bytes) -> Secret | None:
        """The content; None if it was changed."""
        try:
            return Secret(self._aead(head).decrypt(head.nonce, body + head.tag, head.object_fields()))
        except InvalidTag:
            return None

    def is_whole(self, log_id: bytes, head: Head, record: bytes) -> bool:
        """Whether every part of the record with this head is as it was written."""
        return (
            self.read_head(log_id, record) == head
            and self.read_head(log_id, record[-HEAD_BYTES:]) == head
            and self.read_mentions(log_id, head, record) is not None
            and self.read_body(head, record[HEAD_BYTES : HEAD_BYTES + head.size_bytes]) is not None
        )

    def _mentions_mac(self, log_id: bytes, head: Head, mentions: bytes) -> bytes:
        return self._mac(log_id, b"mentions" + _SEQUENCE.pack(head.sequence) + mentions)

    def _aead(self, head: Head) -> AESGCM:
        owner = (head.service, head.source_id)
        aead = self._aeads.get(owner)
        if aead is None:
            label = b"storage: service %d, source %d" % owner
            aead = self._aeads[owner] = AESGCM(derive(self._secret, label))
        return aead

    def _mac(self, context: bytes, data: bytes) -> bytes:
        return hmac.digest(self._mac_key, context + data, sha256)[:_MAC_BYTES]
