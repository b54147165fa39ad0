"""What may be installed, before it is: the same checks that the boot stages make.

A refusal here spares the device a boot that could not succeed; what is not refused here is looked at again at every
boot, by those who do not depend on this partition. Of an encrypted image, which it cannot read, this partition sees who
has signed it and how old it is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, Protocol
from uuid import UUID

from edgeroot.abi.firmware import IMAGE_TYPES
from edgeroot.abi.fwu import FwuStatus
from edgeroot.abi.mcuboot import ImageError, OldImageError, UntrustedImageError, decode_image
from edgeroot.secure.boot.archive import decode_archive
from edgeroot.secure.boot.root_keys import RootKeys
from edgeroot.secure.boot.together import check_together
from edgeroot.secure.boot.verify import verify_image, verify_unread

_log: Final = logging.getLogger(__name__)
_NAMES: Final = {image_type: name for name, image_type in IMAGE_TYPES.items()}


class UnfitError(Exception):
    """An image is not to be installed, or not with the others."""

    def __init__(self, status: FwuStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Judge(Protocol):
    """Decides on images by their types."""

    def judge(self, image_type: UUID, data: bytes) -> None:
        """UnfitError for an image that this device would not boot."""

    def judge_together(self, images: Mapping[UUID, bytes]) -> None:
        """UnfitError NOT_AVAILABLE if one of them needs another version of another one."""


class RootKeyJudge:
    """Images of this device's maker. ``least_counter`` is the device's security counter."""

    def __init__(self, root_keys: RootKeys, *, least_counter: int) -> None:
        self._root_keys = root_keys
        self.least_counter = least_counter

    def judge(self, image_type: UUID, data: bytes) -> None:
        name = _NAMES[image_type]
        try:
            self._verify(name, data)
        except ImageError as error:
            # The answer is a number, and the same for several reasons.
            _log.warning("the image %s is refused: %s", name, error)
            raise UnfitError(_status(error), str(error)) from error

    def judge_together(self, images: Mapping[UUID, bytes]) -> None:
        described, archives = {}, {}
        try:
            for image_type, data in images.items():
                name = _NAMES[image_type]
                image = decode_image(data)
                described[name] = image.described()
                if not image.encryption_key_bytes:
                    archives[name] = decode_archive(image.body, partition=name)
            check_together(described, archives)
        except ImageError as error:
            raise UnfitError(FwuStatus.NOT_AVAILABLE, str(error)) from error

    def _verify(self, name: str, data: bytes) -> None:
        if decode_image(data).encryption_key_bytes:  # the partition has no key to read it
            verify_unread(data, root_keys=self._root_keys, least_security_counter=self.least_counter)
            return
        verified = verify_image(data, root_keys=self._root_keys, least_security_counter=self.least_counter)
        decode_archive(verified.image.body, partition=name)


def _status(error: ImageError) -> FwuStatus:
    match error:
        case UntrustedImageError():
            return FwuStatus.AUTH_FAIL
        case OldImageError():
            return FwuStatus.NO_PERMISSION
    return FwuStatus.UNKNOWN
