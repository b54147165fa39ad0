"""The crypto partition's entry for its process: how its services are put together, in each context alike."""

from __future__ import annotations

from typing import Final

from edgeroot.abi.services import INTERNAL_TRUSTED_STORAGE
from edgeroot.element.keys import ElementKeys
from edgeroot.element.native.files import SlotFiles
from edgeroot.element.native.library import LibraryElement, i2c
from edgeroot.element.settings import parse_slots
from edgeroot.secure.partitions.crypto import keys
from edgeroot.secure.partitions.crypto.core import CryptoCore
from edgeroot.secure.partitions.crypto.key_inspection import KeyInspection
from edgeroot.secure.partitions.crypto.secure_element import SecureElement
from edgeroot.secure.partitions.crypto.services import KeyInspectionService, PackedCService, ProtobufService
from edgeroot.secure.partitions.crypto.storage_port import RpcKeyStorage
from edgeroot.secure.runtime.api import Service
from edgeroot.secure.runtime.environment import ElementPlace, Environment

SHARED_BYTES: Final = keys.SHARED_BYTES
"""How much memory the partition's processes share."""


def create(environment: Environment) -> tuple[Service, ...]:
    """The packed-c service (interface 0), the protobuf service (1) and the inspection of keys (2) over one core."""
    storage = RpcKeyStorage(environment.session(INTERNAL_TRUSTED_STORAGE))
    element = None if environment.element is None else _element(environment.element)
    store = keys.KeyStore(environment.shared, environment.lock, storage, element=element)
    core = CryptoCore(store)
    inspection = KeyInspection(store, environment.inspectors)
    return PackedCService(core), ProtobufService(core), KeyInspectionService(core, inspection)


def _element(place: ElementPlace) -> SecureElement:
    """Microchip's library is loaded before the process is confined; the element is spoken to when it is needed."""
    settings = place.settings
    element = LibraryElement(i2c(settings))
    files = SlotFiles(place.folder / "keys", f"i2c-{settings.bus}-{settings.slave_address:02x}")
    allowed = parse_slots(settings.slots)
    return SecureElement(ElementKeys(lambda: element, files, device=settings.device, allowed=allowed))
