"""Which services there are: the UUIDs of Trusted Services, and how each is reached.

A Trusted Services partition is found under one FF-A UUID, whatever it offers; its services have UUIDs of their own,
which only TS RPC's SERVICE_INFO knows. Both travel in the octet order of RFC 9562.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from uuid import UUID

TS_RPC_FFA_UUID: Final = UUID("bdcd76d7-825e-4751-963b-86d4f84943ac")
"""The FF-A UUID of every partition that speaks TS RPC."""

CRYPTO: Final = UUID("d9df52d5-16a2-4bb2-9aa4-d26d3b84e8c0")
CRYPTO_PROTOBUF: Final = UUID("6ba9de75-393e-4c7f-aabb-7f71cc6b142e")
INTERNAL_TRUSTED_STORAGE: Final = UUID("dc1eef48-b17a-4ccf-ac8b-dfcff7711b14")
PROTECTED_STORAGE: Final = UUID("751bf801-3dde-4768-a514-0f10aeed1790")
ATTESTATION: Final = UUID("a1baf155-8876-4695-8f7c-54955e8db974")
ATTESTATION_RFC9783: Final = UUID("7a9f9f46-d85c-4eb2-99b6-03c67f6a6b9b")
"""Our own: the messages of ATTESTATION and KEY_STATEMENT, tokens in the profile of RFC 9783. No other implementation
has it.
"""
KEY_INSPECTION: Final = UUID("d0695226-7419-4f57-871b-97263301f2b7")
"""Our own, of the crypto partition: what a key of whatever source is, for partitions that may ask. See
:mod:`edgeroot.abi.key_statement`.
"""
FIRMWARE_UPDATE: Final = UUID("6823a838-1b06-470e-9774-0cce8bfb53fd")
BLOCK_STORAGE: Final = UUID("63646e80-eb52-462f-ac4f-8cdf3987519c")
LOGGING: Final = UUID("da9dffbd-d590-40ed-975f-19c65a3d52d3")
RPMB: Final = UUID("19ef70bf-2fbc-4309-bdd3-c290e993f650")
TEST_RUNNER: Final = UUID("33c75baf-ac6a-4fe4-8ac7-e9909bee2d17")
SMM_VARIABLE: Final = UUID("ed32d533-99e6-4209-9cc0-2d72cdd998a7")
FTPM: Final = UUID("17b862a4-1806-4faf-86b3-089a58353861")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceInfo:
    """One service. ``is_offered`` False: its UUID is known, and whoever asks is told that it is not there.

    ``speaks_ts_rpc`` False: ``uuid`` is a partition's FF-A UUID, and its messages are of another kind.
    """

    name: str
    uuid: UUID
    is_offered: bool
    speaks_ts_rpc: bool = True


SERVICES: Final[Mapping[UUID, ServiceInfo]] = MappingProxyType(
    {
        service.uuid: service
        for service in (
            ServiceInfo(name="crypto", uuid=CRYPTO, is_offered=True),
            ServiceInfo(name="crypto-protobuf", uuid=CRYPTO_PROTOBUF, is_offered=True),
            ServiceInfo(name="key-inspection", uuid=KEY_INSPECTION, is_offered=True),
            ServiceInfo(name="internal-trusted-storage", uuid=INTERNAL_TRUSTED_STORAGE, is_offered=True),
            ServiceInfo(name="protected-storage", uuid=PROTECTED_STORAGE, is_offered=True),
            ServiceInfo(name="attestation", uuid=ATTESTATION, is_offered=True),
            ServiceInfo(name="attestation-rfc9783", uuid=ATTESTATION_RFC9783, is_offered=True),
            ServiceInfo(name="fwu", uuid=FIRMWARE_UPDATE, is_offered=True),
            ServiceInfo(name="block-storage", uuid=BLOCK_STORAGE, is_offered=False),
            ServiceInfo(name="logging", uuid=LOGGING, is_offered=False),
            ServiceInfo(name="rpmb", uuid=RPMB, is_offered=False),
            ServiceInfo(name="test-runner", uuid=TEST_RUNNER, is_offered=False),
            ServiceInfo(name="smm-variable", uuid=SMM_VARIABLE, is_offered=False, speaks_ts_rpc=False),
            ServiceInfo(name="ftpm", uuid=FTPM, is_offered=False, speaks_ts_rpc=False),
        )
    }
)
"""By UUID. Names are those of upstream's locator (``sn:trustedfirmware.org:<name>:0``), except our own services'."""
