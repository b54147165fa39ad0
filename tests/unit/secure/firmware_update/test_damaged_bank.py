"""The bank that runs is damaged while it runs: the agent says what is missing, and takes an update that brings it."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import pytest

from edgeroot.abi.fwu import FwuStatus
from edgeroot.abi.fwu_objects import FwuState
from edgeroot.abi.mcuboot import HEADER, HEADER_BYTES, HEADER_MAGIC
from edgeroot.secure.partitions.firmware_update.agent import BootInfo, FwuError, UpdateAgent
from edgeroot.secure.partitions.firmware_update.judge import UnfitError
from edgeroot.secure.partitions.firmware_update.layout import BLOCK_BYTES
from tests.support.powered_device import FIRST, LAYOUT, SECOND, Device


class Judge:
    """Wants every image to be there."""

    def judge(self, image_type: UUID, data: bytes) -> None:
        pass

    def judge_together(self, images: Mapping[UUID, bytes]) -> None:
        if not all(images.values()):
            raise UnfitError(FwuStatus.NOT_AVAILABLE, "an image is missing")


def whole(body_bytes: int) -> bytes:
    """An image as far as its length goes: header, body, and no TLVs."""
    header = HEADER.pack(HEADER_MAGIC, 0, HEADER_BYTES, 0, body_bytes, 0, 1, 0, 0, 0, 0)
    return header + bytes(min(body_bytes, 100)) + b"\x07\x69\x04\0"


@pytest.mark.parametrize("body_bytes", [BLOCK_BYTES - HEADER_BYTES - 2, BLOCK_BYTES, 1 << 20, 0xFFFFFFFF])
def test_an_image_that_claims_to_be_longer_than_its_area_is_none(body_bytes: int) -> None:
    device = Device.from_factory()
    device.bank = 0
    for kind, data in ((FIRST, whole(body_bytes)), (SECOND, whole(100))):
        area = LAYOUT.find(kind)
        assert area is not None
        device.flash.erase(LAYOUT.offset_of(area, 0), BLOCK_BYTES)
        device.flash.write(LAYOUT.offset_of(area, 0), data)
    device.agent = UpdateAgent(device.flash, LAYOUT, BootInfo(bytes(32), 0), judge=Judge())
    device.agent.begin_staging()
    device.install(2, SECOND)
    with pytest.raises(FwuError, match="an image is missing") as caught:
        device.agent.end_staging()
    assert caught.value.status is FwuStatus.NOT_AVAILABLE
    assert device.outcome().state is FwuState.STAGING

    handle = device.agent.open(1, FIRST)
    device.agent.write_stream(1, handle, whole(50))
    device.agent.commit(1, handle, accepted=False)
    handle = device.agent.open(1, SECOND)
    device.agent.write_stream(1, handle, whole(50))
    device.agent.commit(1, handle, accepted=False)
    device.agent.end_staging()
    assert device.outcome().state is FwuState.TRIAL_PENDING
