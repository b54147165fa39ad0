"""Initial attestation (``protocols/service/attestation/packed-c``). IAK is the initial attestation key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final

from edgeroot.abi.layout import Layout, Operation, Tlv, tlv_layout
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.psa import CHALLENGE_SIZES_BYTES


class AttestationOpcode(IntEnum):
    """Service opcodes."""

    GET_TOKEN = 0x101
    GET_TOKEN_SIZE = 0x102
    EXPORT_IAK_PUBLIC_KEY = 0x103
    IMPORT_IAK = 0x104
    IAK_EXISTS = 0x105


_CHALLENGE_MAX_BYTES: Final = max(CHALLENGE_SIZES_BYTES)  # longer than that is a malformed request


@dataclass(frozen=True, slots=True)
class GetTokenRequest:
    challenge: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class GetTokenSizeRequest:
    challenge_size_bytes: int


@dataclass(frozen=True, slots=True)
class ExportIakRequest:
    """No fields."""


@dataclass(frozen=True, slots=True)
class ImportIakRequest:
    """``key_pair`` is the private scalar of a P-256 key."""

    key_pair: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class IakExistsRequest:
    """No fields."""


@dataclass(frozen=True, slots=True)
class TokenResponse:
    token: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenSizeResponse:
    token_size_bytes: int


@dataclass(frozen=True, slots=True)
class IakPublicKeyResponse:
    """An uncompressed point, 65 bytes."""

    public_key: bytes


@dataclass(frozen=True, slots=True)
class EmptyResponse:
    """No fields: the service's status says all."""


_any_challenge = tlv_layout(GetTokenRequest, "", Tlv(1, "challenge"))
_nothing = tlv_layout(EmptyResponse, "", response=True)


def _decode_get_token(data: bytes) -> GetTokenRequest:
    request = _any_challenge.decode(data)
    if len(request.challenge) > _CHALLENGE_MAX_BYTES:
        raise RpcError(RpcStatus.INVALID_REQUEST_BODY, f"a challenge of {len(request.challenge)} bytes")
    return request


_ROWS: Final[tuple[tuple[AttestationOpcode, Any, Any], ...]] = (
    (
        AttestationOpcode.GET_TOKEN,
        Layout(GetTokenRequest, _any_challenge.encode, _decode_get_token),
        tlv_layout(TokenResponse, "", Tlv(1, "token"), response=True),
    ),
    (
        AttestationOpcode.GET_TOKEN_SIZE,
        tlv_layout(GetTokenSizeRequest, "I"),
        tlv_layout(TokenSizeResponse, "I", response=True),
    ),
    (
        AttestationOpcode.EXPORT_IAK_PUBLIC_KEY,
        tlv_layout(ExportIakRequest, ""),
        tlv_layout(IakPublicKeyResponse, "", Tlv(1, "public_key"), response=True),
    ),
    (AttestationOpcode.IMPORT_IAK, tlv_layout(ImportIakRequest, "", Tlv(1, "key_pair")), _nothing),
    (AttestationOpcode.IAK_EXISTS, tlv_layout(IakExistsRequest, ""), _nothing),
)
OPERATIONS: Final[Mapping[int, Operation]] = MappingProxyType({int(row[0]): Operation(*row) for row in _ROWS})
"""By opcode."""
