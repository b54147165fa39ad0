"""The crypto partition's entry for its process: how its services are put together, in each context alike."""

from __future__ import annotations

from typing import Final

from edgeroot.abi.services import INTERNAL_TRUSTED_STORAGE
from edgeroot.secure.partitions.crypto import keys
from edgeroot.secure.partitions.crypto.core import CryptoCore
from edgeroot.secure.partitions.crypto.services import PackedCService, ProtobufService
from edgeroot.secure.partitions.crypto.storage_port import RpcKeyStorage
from edgeroot.secure.runtime.api import Service
from edgeroot.secure.runtime.environment import Environment

SHARED_BYTES: Final = keys.SHARED_BYTES
"""How much memory the partition's processes share."""


def create(environment: Environment) -> tuple[Service, ...]:
    """The packed-c service (interface 0) and the protobuf service (interface 1) over one core."""
    storage = RpcKeyStorage(environment.session(INTERNAL_TRUSTED_STORAGE))
    core = CryptoCore(keys.KeyStore(environment.shared, environment.lock, storage))
    return PackedCService(core), ProtobufService(core)
