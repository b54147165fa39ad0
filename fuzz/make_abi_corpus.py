"""Write the seeds of the secure world's messages: one of each kind.

Run ``python fuzz/make_abi_corpus.py`` from the root with ``src`` on the path; the files are the same each time.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Final, get_type_hints
from uuid import UUID

from edgeroot.abi import attestation, crypto, crypto_protobuf, fwu, storage
from edgeroot.abi.ffa import VERSION_1_0, PartitionInfo
from edgeroot.abi.fwu_objects import BankImage, FwuMetadata, ImageDirectory, ImageEntry, ImageInfo
from edgeroot.abi.key_attributes import AbiKeyAttributes
from edgeroot.abi.layout import AnyLayout
from edgeroot.abi.memory import MemoryRelinquish, RetrieveRequest, Transaction
from fuzz.fuzz_abi import targets

CORPUS: Final = Path(__file__).resolve().parent / "corpus/abi"
GUID: Final = UUID("00112233-4455-6677-8899-aabbccddeeff")
EXAMPLES: Final[dict[Any, Any]] = {
    int: 1,
    bytes: b"bytes",
    UUID: GUID,
    AbiKeyAttributes: AbiKeyAttributes(key_type=0x7112, key_bits=256, lifetime=1, key_id=5, usage=0x3000),
    tuple[UUID, ...]: (GUID,),
    tuple[int, ...]: (0, 16),
}
IMAGE: Final = ImageInfo(
    image_type=GUID, client_permissions=3, max_size_bytes=4096, lowest_accepted_version=1, version=2, accepted=1
)
ENTRY: Final = ImageEntry(image_type=GUID, location=GUID, banks=(BankImage(image=GUID, accepted=1),) * 2)
METADATA: Final = FwuMetadata(
    version=2, active_index=0, previous_active_index=1, images=(ENTRY,), bank_states=(0xFC, 0xFE)
)
SHARE: Final = Transaction.share(sender=0, receiver=0x8001, page_count=2)


def message(layout: AnyLayout) -> bytes:
    """One message of a layout."""
    hints = get_type_hints(layout.value_type)
    value = layout.value_type(**{field.name: EXAMPLES[hints[field.name]] for field in fields(layout.value_type)})
    return layout.encode(value)


def messages() -> list[bytes]:
    """One message for each target, in their order."""
    layouts = dict.fromkeys(
        layout
        for service in (crypto, crypto_protobuf, storage, attestation, fwu)
        for row in service.OPERATIONS.values()
        for layout in (row.request, row.response)
    )
    return [
        *map(message, layouts),
        SHARE.encode(),
        SHARE.encode(VERSION_1_0),
        RetrieveRequest(sender=0, receiver=0x8001, handle=1 << 45).encode(),
        MemoryRelinquish(handle=1 << 45, endpoints=(0x8001,)).encode(),
        PartitionInfo(0x8001, 1, 0x103, GUID).encode(),
        ImageDirectory(correct_boot=1, images=(IMAGE,)).encode(),
        METADATA.encode(),
    ]


def seeds() -> dict[str, bytes]:
    """Every seed by its file name."""
    rows = enumerate(zip(targets(), messages(), strict=True))
    return {name.replace(" ", "-"): bytes([index]) + content for index, ((name, *_), content) in rows}


if __name__ == "__main__":
    CORPUS.mkdir(parents=True, exist_ok=True)
    for file_name, content in seeds().items():
        (CORPUS / file_name).write_bytes(content)
