"""Statements about keys: one call more of the attestation service whose UUID is our own, and the service behind it.

KEY_STATEMENT asks the attestation partition to say what a key of the caller's is. It does not believe the caller, but
asks the crypto partition with INSPECT_KEY, which only partitions with that right may send. Layouts are as packed-c's: a
little-endian struct, then TLV records.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from edgeroot.abi.key_attributes import AbiKeyAttributes
from edgeroot.abi.layout import Converter, Operation, Tlv, tlv_layout


@dataclass(frozen=True, slots=True)
class KeyStatementRequest:
    """``key_id`` is a key of the caller's in the crypto partition; the challenge has 32, 48 or 64 bytes."""

    key_id: int
    challenge: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyStatementResponse:
    """What :func:`edgeroot.evidence.read_key_statement` reads."""

    statement: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class InspectKeyRequest:
    """Whose key (an FF-A endpoint id), and which."""

    source_id: int
    key_id: int


@dataclass(frozen=True, slots=True)
class InspectKeyResponse:
    """``origin`` is a :class:`edgeroot.psa.KeyOrigin`, ``public_key`` has the format of psa_export_public_key."""

    attributes: AbiKeyAttributes
    origin: int
    public_key: bytes


KEY_STATEMENT: Final = Operation(
    0x1001,
    tlv_layout(KeyStatementRequest, "I", Tlv(1, "challenge")),
    tlv_layout(KeyStatementResponse, "", Tlv(1, "statement"), response=True),
)
INSPECT_KEY: Final = Operation(
    0x1001,
    tlv_layout(InspectKeyRequest, "II"),
    tlv_layout(
        InspectKeyResponse,
        "24sI",
        Tlv(1, "public_key"),
        converters={"attributes": Converter(AbiKeyAttributes.encode, AbiKeyAttributes.decode)},
        response=True,
    ),
)
