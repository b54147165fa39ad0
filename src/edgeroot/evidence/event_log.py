"""The event log of a measured boot, in the crypto-agile format (TCG PC Client Platform Firmware Profile, clause 10).

All integers are little-endian. The first record is a TCG_PCR_EVENT: u32 PCR index 0, u32 EV_NO_ACTION, 20 zero bytes,
u32 length, and as its event TCG_EfiSpecIDEvent: "Spec ID Event03" NUL, u32 platform class, u8 minor version, u8 major
version, u8 errata, u8 size of UINTN in units of 4 bytes, u32 count of algorithms, for each u16 algorithm and u16 digest
size, u8 length of vendor information, vendor information. Every further record is a TCG_PCR_EVENT2: u32 PCR index, u32
event type, u32 count of digests, for each u16 algorithm and the digest, u32 length, event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import Any, Final

from edgeroot.evidence.errors import EvidenceError

EV_POST_CODE: Final = 1
EV_NO_ACTION: Final = 3
EV_S_CRTM_CONTENTS: Final = 7

_SIGNATURE: Final = b"Spec ID Event03\0"
_FIRST: Final = Struct("<II20sI")
_SPEC_ID: Final = Struct("<16sIBBBBI")
_ALGORITHM: Final = Struct("<HH")
_EVENT: Final = Struct("<III")
_U8: Final = Struct("<B")
_U16: Final = Struct("<H")
_U32: Final = Struct("<I")


class DigestAlgorithm(IntEnum):
    """``TPMI_ALG_HASH`` (TPM 2.0 Library, part 2, table 9): those that a token's measurement may have."""

    SHA256 = 0x000B
    SHA384 = 0x000C
    SHA512 = 0x000D

    @property
    def digest_bytes(self) -> int:
        return {self.SHA256: 32, self.SHA384: 48, self.SHA512: 64}[self]

    @property
    def textual_name(self) -> str:
        """The name in IANA's registry of hash functions."""
        return f"sha-{8 * self.digest_bytes}"


@dataclass(frozen=True, slots=True)
class Event:
    """One record. ``digests`` are (algorithm's number, digest), one for each bank."""

    pcr_index: int
    event_type: int
    digests: tuple[tuple[int, bytes], ...]
    event: bytes = field(default=b"")


@dataclass(frozen=True, slots=True)
class Measurement:
    """A component that the boot measured: its name, its digest and, if the log says it, its version.

    ``is_verified``: its signature was verified. What the first stage itself stands on was measured only.
    """

    name: str
    algorithm: DigestAlgorithm
    digest: bytes
    version: str = ""
    is_verified: bool = True


def write_event_log(events: Iterable[Event], *, algorithms: Sequence[DigestAlgorithm]) -> bytes:
    """The log of these events; ``algorithms`` are the banks that every event has a digest for, in this order."""
    listed = b"".join(_ALGORITHM.pack(algorithm, algorithm.digest_bytes) for algorithm in algorithms)
    # Platform class 0 (client), version 2.0, errata 2, UINTN of 8 bytes; no vendor information.
    spec_id = _SPEC_ID.pack(_SIGNATURE, 0, 0, 2, 2, 2, len(algorithms)) + listed + _U8.pack(0)
    records = [_FIRST.pack(0, EV_NO_ACTION, bytes(20), len(spec_id)) + spec_id]
    expected = [(algorithm, algorithm.digest_bytes) for algorithm in algorithms]
    for event in events:
        if [(algorithm, len(digest)) for algorithm, digest in event.digests] != expected:
            raise EvidenceError("an event has not exactly one digest of each bank")
        records.append(_EVENT.pack(event.pcr_index, event.event_type, len(event.digests)))
        records += (_U16.pack(algorithm) + digest for algorithm, digest in event.digests)
        records.append(_U32.pack(len(event.event)) + event.event)
    return b"".join(records)


def write_measurements(
    components: Mapping[str, bytes], *, algorithm: DigestAlgorithm = DigestAlgorithm.SHA256, pcr_index: int = 0
) -> bytes:
    """The log of a boot that measured these components (name to digest): EV_POST_CODE, the name and NUL, as of TF-A."""
    events = (
        Event(pcr_index, EV_POST_CODE, ((algorithm, digest),), name.encode() + b"\0")
        for name, digest in components.items()
    )
    return write_event_log(events, algorithms=(algorithm,))


def extend_measurements(log: bytes, measurements: Iterable[Measurement], *, pcr_index: int = 0) -> bytes:
    """The log (empty: a new one) with what the next stage has measured, all of it by SHA-256.

    What was verified is an EV_POST_CODE, the rest EV_S_CRTM_CONTENTS: the name and NUL, and if there is a version that
    and NUL. EvidenceError if there is a log and it is malformed.
    """
    events = list(read_event_log(log)) if log else []
    for one in measurements:
        kind = EV_POST_CODE if one.is_verified else EV_S_CRTM_CONTENTS
        text = f"{one.name}\0{one.version}\0" if one.version else f"{one.name}\0"
        events.append(Event(pcr_index, kind, ((one.algorithm, one.digest),), text.encode()))
    return write_event_log(events, algorithms=(DigestAlgorithm.SHA256,))


def read_event_log(log: bytes) -> tuple[Event, ...]:
    """Every event after the first record; EvidenceError if the log is cut off or not in this format."""
    reader = _Reader(log)
    sizes = _read_spec_id(reader)
    events = []
    while reader.left:
        pcr_index, event_type, count = reader.unpack(_EVENT)
        if count > len(sizes):
            raise EvidenceError(f"an event has {count} digests, the log {len(sizes)} banks")
        digests = []
        for _ in range(count):
            (algorithm,) = reader.unpack(_U16)
            if algorithm not in sizes:
                raise EvidenceError(f"algorithm {algorithm:#06x} is not among the log's banks")
            digests.append((algorithm, reader.take(sizes[algorithm])))
        (length,) = reader.unpack(_U32)
        events.append(Event(pcr_index, event_type, tuple(digests), reader.take(length)))
    return tuple(events)


def read_measurements(log: bytes) -> tuple[Measurement, ...]:
    """What the boot measured, in order: of each EV_POST_CODE the first digest, as Trusted Services does.

    And of each EV_S_CRTM_CONTENTS, which Trusted Services passes over.
    """
    measured = (EV_POST_CODE, EV_S_CRTM_CONTENTS)
    return tuple(_measurement(event) for event in read_event_log(log) if event.event_type in measured)


def _measurement(event: Event) -> Measurement:
    if not event.digests:
        raise EvidenceError("a measurement has no digest")
    number, digest = event.digests[0]
    try:
        algorithm = DigestAlgorithm(number)
        name, _, rest = event.event.decode().partition("\0")
    except ValueError as error:
        raise EvidenceError("a measurement's digest is not SHA-256, 384 or 512, or its name is not text") from error
    if len(digest) != algorithm.digest_bytes:
        raise EvidenceError(f"a digest with {algorithm.textual_name} has {len(digest)} bytes")
    return Measurement(
        name, algorithm, digest, version=rest.partition("\0")[0], is_verified=event.event_type == EV_POST_CODE
    )


def _read_spec_id(reader: _Reader) -> dict[int, int]:
    """The digest size of each of the log's banks."""
    pcr_index, event_type, _, length = reader.unpack(_FIRST)
    event = _Reader(reader.take(length))
    signature, _, _, _, _, _, count = event.unpack(_SPEC_ID)
    if (pcr_index, event_type, signature) != (0, EV_NO_ACTION, _SIGNATURE):
        raise EvidenceError("the event log does not begin with the record of the crypto-agile format")
    sizes: dict[int, int] = {}
    for _ in range(count):
        algorithm, size_bytes = event.unpack(_ALGORITHM)
        sizes[algorithm] = size_bytes
    (vendor_bytes,) = event.unpack(_U8)
    event.take(vendor_bytes)
    return sizes


class _Reader:
    """Takes bytes from the front; EvidenceError when there are not enough."""

    __slots__ = ("_data", "_at")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size_bytes: int) -> bytes:
        if size_bytes > self.left:
            raise EvidenceError(f"the event log is cut off: {size_bytes} bytes wanted, {self.left} left")
        self._at += size_bytes
        return self._data[self._at - size_bytes : self._at]

    def unpack(self, layout: Struct) -> tuple[Any, ...]:
        return layout.unpack(self.take(layout.size))
