from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from struct import pack
from uuid import UUID

import pytest

from edgeroot.psa import Secret
from edgeroot.secure.partitions.firmware_update.firmware import LAYOUT
from edgeroot.secure.partitions.firmware_update.partition import create
from edgeroot.secure.runtime.api import Caller, Reply, Service
from edgeroot.secure.runtime.environment import Environment, PeerSession

BEGIN, END, OPEN, WRITE, COMMIT, ACCEPT, PREVIOUS = 16, 17, 19, 20, 22, 23, 24
IMAGE = LAYOUT.images[0].image_type.bytes_le


def start(flash_folder: Path | None, boot_seed: bytes) -> Service:
    def no_session(service: UUID) -> PeerSession:
        raise AssertionError(f"the partition calls {service}")

    environment = Environment(
        name="firmware-update",
        id=0x8004,
        secret=Secret(b""),
        shared=memoryview(bytearray()),
        lock=nullcontext(),
        session=no_session,
        boot_seed=boot_seed,
        flash_folder=flash_folder,
    )
    (service,) = create(environment)
    return service


def call(service: Service, function: int, payload: bytes = b"") -> tuple[int, bytes]:
    reply = service.call(Caller(1, 1), 0, pack("<I", function) + payload, capacity_bytes=4096)
    assert isinstance(reply, Reply)
    return reply.status, reply.payload[4:]


def test_an_update_outlives_the_partition_and_starts_with_the_next_boot(tmp_path: Path) -> None:
    service = start(tmp_path, b"first boot")
    assert call(service, BEGIN, bytes(12))[0] == 0
    handle = call(service, OPEN, IMAGE + b"\1")[1]
    assert call(service, WRITE, handle + pack("<I", 8) + b"firmware")[0] == 0
    assert call(service, COMMIT, handle + pack("<II", 1, 0))[0] == 0
    assert call(service, END)[0] == 0

    service = start(tmp_path, b"first boot")  # the partition was killed
    assert call(service, ACCEPT, bytes(4) + IMAGE)[0] == -6
    service = start(tmp_path, b"second boot")
    assert call(service, ACCEPT, bytes(4) + IMAGE)[0] == 0
    assert call(service, PREVIOUS)[0] == -6
    with (tmp_path / "flash").open("rb") as flash:
        flash.seek(LAYOUT.offset_of(LAYOUT.images[0], 1))
        assert flash.read(16) == b"firmware" + bytes(8)


def test_without_a_flash_there_is_no_agent() -> None:
    with pytest.raises(ValueError, match="no flash"):
        start(None, b"boot")
