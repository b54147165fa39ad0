"""What a TPM 2.0 says under its signature: TPMS_ATTEST of a quote or a certified key, TPMT_SIGNATURE, PCR values.

TPM 2.0 Library, Part 2, clauses 10.12 and 11.3. Numbers are big-endian; a TPM2B is its 16-bit size and that many
bytes. Only what the verification here understands is read: MalformedError for all else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from edgeroot.evidence.errors import EvidenceError
from edgeroot.evidence.event_log import EV_NO_ACTION, Event
from edgeroot.evidence.tpm_structures import HASH_NAMES, Alg, MalformedError, Reader, sized

GENERATED: Final = 0xFF544347
"""TPM_GENERATED_VALUE (Part 2, clause 6.2): a restricted key signs nothing from outside that begins with it."""
_CERTIFY: Final = 0x8017  # TPM_ST_ATTEST_CERTIFY
_QUOTE: Final = 0x8018  # TPM_ST_ATTEST_QUOTE
_HEAD: Final = Struct(">IH")
_CLOCK: Final = Struct(">QIIB")
_FIRMWARE: Final = Struct(">Q")
_COUNT: Final = Struct(">I")
_U16: Final = Struct(">H")
_SELECT_BYTES: Final = 3  # of a PC Client's 24 PCRs
_MAX_SELECT_BYTES: Final = 4  # PCR_SELECT_MAX of the TPMs that there are
_FROM_D_RTM: Final = range(17, 23)
_LOCALITY: Final = b"StartupLocality\0"


class NotGeneratedError(EvidenceError):
    """The signed bytes do not begin with TPM_GENERATED_VALUE: no TPM has made them."""


@dataclass(frozen=True, slots=True)
class PcrSelection:
    """``TPMS_PCR_SELECTION`` (Part 2, clause 10.6.2): PCRs of one bank, bit n of the mask for PCR n."""

    bank: int
    mask: bytes

    @classmethod
    def of(cls, bank: int, indices: Iterable[int]) -> PcrSelection:
        return cls(bank, sum({1 << index for index in indices}).to_bytes(_SELECT_BYTES, "little"))

    @property
    def indices(self) -> tuple[int, ...]:
        """In ascending order, which is that of their values under a quote's digest."""
        bits = int.from_bytes(self.mask, "little")
        return tuple(index for index in range(8 * len(self.mask)) if bits >> index & 1)

    def __bytes__(self) -> bytes:
        return _U16.pack(self.bank) + bytes((len(self.mask),)) + self.mask


@dataclass(frozen=True, slots=True)
class Quoted:
    """``TPMS_QUOTE_INFO`` (Part 2, clause 10.12) over PCRs of one bank."""

    selection: PcrSelection
    pcr_digest: bytes

    def __bytes__(self) -> bytes:
        return _COUNT.pack(1) + bytes(self.selection) + sized(self.pcr_digest)


@dataclass(frozen=True, slots=True)
class Certified:
    """``TPMS_CERTIFY_INFO`` (Part 2, clause 10.12): the key's name, and that with all its parents'."""

    name: bytes
    qualified_name: bytes

    def __bytes__(self) -> bytes:
        return sized(self.name) + sized(self.qualified_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """``TPMS_CLOCK_INFO`` (Part 2, clause 10.11.1): milliseconds that the TPM was on, and how often it was reset or
    resumed. Of a key outside of the endorsement and platform hierarchies the TPM obfuscates the counts.
    """

    clock_ms: int
    reset_count: int
    restart_count: int
    safe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Attest:
    """``TPMS_ATTEST``: ``extra_data`` is the qualifying data that the caller gave."""

    signer: bytes
    extra_data: bytes
    clock: Clock
    firmware_version: int
    attested: Quoted | Certified

    def __bytes__(self) -> bytes:
        kind = _QUOTE if isinstance(self.attested, Quoted) else _CERTIFY
        clock = self.clock
        return b"".join(
            (
                _HEAD.pack(GENERATED, kind),
                sized(self.signer),
                sized(self.extra_data),
                _CLOCK.pack(clock.clock_ms, clock.reset_count, clock.restart_count, clock.safe),
                _FIRMWARE.pack(self.firmware_version),
                bytes(self.attested),
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Attest:
        """NotGeneratedError for what is no TPM's, MalformedError for what is neither a quote nor a certified key."""
        reader = Reader(data)
        if reader.u32() != GENERATED:
            raise NotGeneratedError("the signed bytes do not begin with TPM_GENERATED_VALUE")
        kind = reader.u16()
        if kind not in (_QUOTE, _CERTIFY):
            raise MalformedError(f"attestations of type {kind:#06x} are not used here")
        signer, extra_data = reader.sized(), reader.sized()
        clock = Clock(clock_ms=reader.u64(), reset_count=reader.u32(), restart_count=reader.u32(), safe=_yes_no(reader))
        firmware_version = reader.u64()
        attested = _quoted(reader) if kind == _QUOTE else Certified(reader.sized(), reader.sized())
        reader.end()
        return cls(
            signer=signer, extra_data=extra_data, clock=clock, firmware_version=firmware_version, attested=attested
        )


def _yes_no(reader: Reader) -> bool:
    value = reader.u8()
    if value not in (0, 1):
        raise MalformedError("a TPMI_YES_NO is neither")
    return bool(value)


def _quoted(reader: Reader) -> Quoted:
    banks = reader.u32()
    if banks != 1:
        raise MalformedError(f"a quote over {banks} banks of PCRs is not used here")
    bank, size_bytes = reader.u16(), reader.u8()
    if not 0 < size_bytes <= _MAX_SELECT_BYTES:
        raise MalformedError(f"a selection of PCRs has {size_bytes} bytes")
    return Quoted(PcrSelection(bank, reader.take(size_bytes)), reader.sized())


@dataclass(frozen=True, slots=True)
class EcdsaSignature:
    """``TPMS_SIGNATURE_ECDSA`` (Part 2, clause 11.3.2) in its TPMT_SIGNATURE; numbers may lack leading zeros."""

    hash_algorithm: int
    r: bytes
    s: bytes

    def __bytes__(self) -> bytes:
        return _U16.pack(Alg.ECDSA) + _U16.pack(self.hash_algorithm) + sized(self.r) + sized(self.s)

    @classmethod
    def from_bytes(cls, data: bytes) -> EcdsaSignature:
        """MalformedError for any other signature."""
        reader = Reader(data)
        if reader.u16() != Alg.ECDSA:
            raise MalformedError("signatures by anything but ECDSA are not used here")
        signature = cls(reader.u16(), reader.sized(), reader.sized())
        reader.end()
        return signature


def pcr_digest(values: Sequence[bytes], hash_algorithm: int) -> bytes:
    """What a quote says of these values (Part 3, clause 18.4): their digest by the hash of the signing key's scheme."""
    return hashlib.new(_hash_name(hash_algorithm), b"".join(values)).digest()


def digest_bytes(hash_algorithm: int) -> int:
    """How wide the PCRs of this bank are."""
    return hashlib.new(_hash_name(hash_algorithm)).digest_size


def replay(events: Iterable[Event], bank: int) -> Mapping[int, bytes]:
    """The values that these events give to the PCRs of a bank; PCRs without an event are left out.

    TCG PC Client Platform Firmware Profile, clauses 3 and 10: a PCR begins with zeros, those of a dynamic root of
    trust with ones, PCR 0 with the locality of the start-up if the log names it. EV_NO_ACTION extends nothing.
    MalformedError if the log has no digest of this bank for an event.
    """
    name, width = _hash_name(bank), digest_bytes(bank)
    values: dict[int, bytes] = {}
    for event in events:
        index = event.pcr_index
        if event.event_type == EV_NO_ACTION:
            if index == 0 and event.event.startswith(_LOCALITY):
                values[0] = event.event[len(_LOCALITY) :][:1].rjust(width, b"\0")
            continue
        digest = dict(event.digests).get(bank)
        if digest is None or len(digest) != width:
            raise MalformedError(f"an event of PCR {index} has no digest by {name}")
        first = (b"\xff" if index in _FROM_D_RTM else b"\0") * width
        values[index] = hashlib.new(name, values.get(index, first) + digest).digest()
    return values


def _hash_name(algorithm: int) -> str:
    name = HASH_NAMES.get(algorithm)
    if name is None:
        raise MalformedError(f"the hash algorithm {algorithm:#06x} is not used here")
    return name
