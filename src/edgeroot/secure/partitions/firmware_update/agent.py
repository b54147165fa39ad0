"""The update agent of DEN0118, with the states and answers of Trusted Services 1.2.

::

    REGULAR        begin -> STAGING
    STAGING        begin -> STAGING (anew), cancel -> REGULAR, end -> TRIAL_PENDING
    TRIAL_PENDING  reboot -> TRIAL, select previous -> REGULAR
    TRIAL          every image accepted -> REGULAR, select previous -> REGULAR (and the other bank at the next boot)

Whatever else is asked is denied. Each arrow is one change of the metadata, so a crash leaves the state before it or
after it; a crash during staging leaves REGULAR, with nothing in the other bank.

It is stricter than the reference where that would lose firmware: an image whose stream was recycled counts as
uncommitted, and after a trial was rejected nothing is staged before the next boot, because the bank that is then
active is the one that staging would overwrite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from edgeroot.abi.firmware import pack_version
from edgeroot.abi.fwu import FWU_METADATA, IMAGE_DIRECTORY, FwuStatus
from edgeroot.abi.fwu_objects import ClientPermissions, FwuMetadata, FwuState, ImageDirectory, ImageInfo
from edgeroot.abi.mcuboot import HEADER_BYTES, ImageError, header_version
from edgeroot.secure.partitions.firmware_update import banks
from edgeroot.secure.partitions.firmware_update.areas import read_image
from edgeroot.secure.partitions.firmware_update.judge import Judge, UnfitError
from edgeroot.secure.partitions.firmware_update.layout import FirmwareImage, FlashLayout
from edgeroot.secure.partitions.firmware_update.metadata_store import BOOT_ID_BYTES, BootRecord, MetadataStore
from edgeroot.secure.partitions.firmware_update.ports import Flash
from edgeroot.secure.partitions.firmware_update.streams import InstallStream, ReadStream, Stream, Streams

_COPY_BYTES: Final = 1 << 20


class FwuError(Exception):
    """A function was not carried out."""

    def __init__(self, status: FwuStatus, detail: str) -> None:
        super().__init__(f"{status.name}: {detail}")
        self.status = status


@dataclass(frozen=True, slots=True)
class BootInfo:
    """What the boot stage says: 32 bytes that are other ones in each boot, and the bank that was booted."""

    boot_id: bytes
    bank: int

    def __post_init__(self) -> None:
        if len(self.boot_id) != BOOT_ID_BYTES:
            raise ValueError(f"a boot is named by {BOOT_ID_BYTES} bytes, not {len(self.boot_id)}")


@dataclass(slots=True)
class _Staging:
    """``allowed``: what may be installed. ``committed``: what has been, and whether it needs no trial."""

    allowed: frozenset[UUID]
    uncommitted: set[UUID] = field(default_factory=set)
    committed: dict[UUID, bool] = field(default_factory=dict)


class UpdateAgent:
    """Two banks of one flash. Every method but ``state`` raises FwuError."""

    def __init__(
        self,
        flash: Flash,
        layout: FlashLayout,
        boot: BootInfo,
        *,
        judge: Judge | None = None,
        when_accepted: Callable[[], None] | None = None,
    ) -> None:
        """``judge`` decides what may be installed; without one that is left to the boot stages.

        ``when_accepted`` is called once every image on trial was accepted.
        """
        self._judge = judge
        self._when_accepted = when_accepted
        self._versions: dict[UUID, int] = {}
        self._flash = flash
        self._layout = layout
        self._boot = boot
        self._store = MetadataStore(flash)
        self._start()

    def _start(self) -> None:
        """Find out where we are, and repair what a crash has left: when the agent is made, and after a fault."""
        self._state = FwuState.INITIALIZING
        self._staging: _Staging | None = None
        self._streams = Streams()
        booted = self._boot.bank
        stored = self._store.load()
        if stored is not None and banks.fits(stored.metadata, self._layout):
            metadata, record = stored.metadata, stored.boot
        else:
            metadata, record = banks.fresh(self._layout, booted), None
        if record is None or record.boot_id != self._boot.boot_id:
            record = BootRecord(boot_id=self._boot.boot_id, bank=booted, was_active=booted == metadata.active_index)
            if not record.was_active:
                metadata = banks.fall_back(metadata, booted)
            self._store.save(metadata, record)
        self._metadata: FwuMetadata = metadata
        self._record: BootRecord = record
        self._state = banks.state_of(metadata, booted)

    @property
    def state(self) -> FwuState:
        return self._state

    def recover(self) -> None:
        """After the flash has failed in the middle of a function: what is in memory may not be what is stored."""
        if self._state is FwuState.INITIALIZING:
            self._start()

    # Staging

    def begin_staging(self, partial_update: tuple[UUID, ...] = ()) -> None:
        """Only the images of ``partial_update`` may be installed; all if it is empty."""
        if any(self._layout.find(image_type) is None for image_type in partial_update):
            raise FwuError(FwuStatus.UNKNOWN, "there is no image of a type in the list")
        if self._state is FwuState.STAGING:
            self.cancel_staging()
        self._need(FwuState.REGULAR)
        if self._metadata.active_index != self._boot.bank:
            raise FwuError(FwuStatus.DENIED, "a rejected trial is still running: reboot first")
        self._change(banks.begin(self._metadata, self._boot.bank), FwuState.STAGING)
        everything = (image.image_type for image in self._layout.images)
        self._staging = _Staging(frozenset(partial_update or everything))

    def cancel_staging(self) -> None:
        self._need(FwuState.STAGING)
        self._leave_staging()
        self._state = FwuState.REGULAR

    def end_staging(self) -> None:
        """Images that were not installed are copied from the bank that runs, with their acceptance."""
        staging = self._need_staging()
        if staging.uncommitted:
            raise FwuError(FwuStatus.BUSY, f"{len(staging.uncommitted)} images are not committed")
        if not staging.committed:
            raise FwuError(FwuStatus.NOT_AVAILABLE, "no image was installed")
        accepted = dict(staging.committed)
        self._judge_together(frozenset(accepted))
        self._state = FwuState.INITIALIZING
        for image, entry in zip(self._layout.images, self._metadata.images, strict=True):
            if image.image_type not in accepted:
                self._copy(image)
                accepted[image.image_type] = bool(entry.banks[self._boot.bank].accepted)
        self._flash.sync()
        self._change(banks.finish(self._metadata, self._boot.bank, accepted), FwuState.TRIAL_PENDING)
        self._leave_staging()

    # Trial

    def accept_image(self, image_type: UUID) -> None:
        self._need(FwuState.TRIAL)
        if self._layout.find(image_type) is None:
            raise FwuError(FwuStatus.UNKNOWN, "there is no image of this type")
        metadata = banks.accept(self._metadata, self._boot.bank, image_type)
        self._change(metadata, banks.state_of(metadata, self._boot.bank))
        if self._state is FwuState.REGULAR and self._when_accepted is not None:
            self._when_accepted()

    def select_previous(self) -> None:
        self._need(FwuState.TRIAL_PENDING, FwuState.TRIAL)
        booted = self._boot.bank
        previous = booted if self._state is FwuState.TRIAL_PENDING else self._metadata.previous_active_index
        if self._state is FwuState.TRIAL and previous == booted:
            raise FwuError(FwuStatus.DENIED, "there is no previous bank")
        self._change(banks.select(self._metadata, previous), FwuState.REGULAR)

    # Streams

    def open(self, source_id: int, image_type: UUID) -> int:
        """The handle of a stream: for the directory and the metadata to read, for an image to write."""
        if image_type == IMAGE_DIRECTORY:
            return self._streams.open(source_id, ReadStream(self._directory().encode()))
        if image_type == FWU_METADATA:
            return self._streams.open(source_id, ReadStream(self._metadata.encode()))
        image = self._layout.find(image_type)
        if image is None:
            raise FwuError(FwuStatus.UNKNOWN, "there is no image of this type")
        staging = self._need_staging()
        if image_type not in staging.allowed:
            raise FwuError(FwuStatus.DENIED, "the partial update does not list this image")
        self._streams.drop(lambda stream: isinstance(stream, InstallStream) and stream.image is image)
        staging.committed.pop(image_type, None)
        staging.uncommitted.add(image_type)
        self._flash.erase(self._update_offset(image), image.max_size_bytes)
        return self._streams.open(source_id, InstallStream(image))

    def write_stream(self, source_id: int, handle: int, data: bytes) -> None:
        """All of ``data`` or nothing."""
        stream = self._find(source_id, handle)
        if not isinstance(stream, InstallStream):
            raise FwuError(FwuStatus.UNKNOWN, "the stream is not for writing")
        if len(data) > stream.image.max_size_bytes - stream.position:
            raise FwuError(FwuStatus.OUT_OF_BOUNDS, "the image is larger than its area")
        self._flash.write(self._update_offset(stream.image) + stream.position, data)
        stream.position += len(data)

    def read_stream(self, source_id: int, handle: int, max_bytes: int) -> tuple[bytes, int]:
        """The next bytes, none at the end, and how many there are in all."""
        stream = self._find(source_id, handle)
        if not isinstance(stream, ReadStream):
            raise FwuError(FwuStatus.DENIED, "images are not for reading")
        data = stream.data[stream.position : stream.position + max_bytes]
        stream.position += len(data)
        return data, len(stream.data)

    def commit(self, source_id: int, handle: int, *, accepted: bool) -> None:
        """Close a stream. An image is complete with that; ``accepted``: it needs no trial.

        One that the judge refuses stays uncommitted: it has to be written again, or the update to be cancelled.
        """
        stream = self._find(source_id, handle)
        self._streams.close(source_id, handle)
        if isinstance(stream, InstallStream):
            staging = self._need_staging()
            self._judge_one(stream)
            staging.uncommitted.discard(stream.image.image_type)
            staging.committed[stream.image.image_type] = accepted

    # Inside

    def _judge_one(self, stream: InstallStream) -> None:
        if self._judge is None:
            return
        data = self._flash.read(self._update_offset(stream.image), stream.position)
        try:
            self._judge.judge(stream.image.image_type, data)
        except UnfitError as error:
            raise FwuError(error.status, str(error)) from error

    def _judge_together(self, installed: frozenset[UUID]) -> None:
        """The images as they will be: those that were installed, and of the others those that run."""
        if self._judge is None:
            return
        images = {}
        for image in self._layout.images:
            bank = banks.other(self._boot.bank) if image.image_type in installed else self._boot.bank
            images[image.image_type] = self._image(image, bank)
        try:
            self._judge.judge_together(images)
        except UnfitError as error:
            raise FwuError(error.status, str(error)) from error

    def _image(self, image: FirmwareImage, bank: int) -> bytes:
        """What lies in an area, without the erased flash behind it; nothing if it is no image."""
        try:
            return read_image(self._flash, self._layout, image, bank)
        except ImageError:
            return b""

    def _version(self, image: FirmwareImage) -> int:
        """Of the image that runs, which stays the same as long as it does."""
        if image.image_type not in self._versions:
            header = self._flash.read(self._layout.offset_of(image, self._boot.bank), HEADER_BYTES)
            version = header_version(header)
            self._versions[image.image_type] = 0 if version is None else pack_version(version)
        return self._versions[image.image_type]

    def _need(self, *states: FwuState) -> None:
        if self._state not in states:
            raise FwuError(FwuStatus.DENIED, f"not while {self._state.value}")

    def _need_staging(self) -> _Staging:
        self._need(FwuState.STAGING)
        assert self._staging is not None
        return self._staging

    def _leave_staging(self) -> None:
        self._staging = None
        self._streams.drop(lambda stream: isinstance(stream, InstallStream))

    def _change(self, metadata: FwuMetadata, state: FwuState) -> None:
        """One arrow. If the flash fails on the way, the state is INITIALIZING until :meth:`recover`."""
        self._state = FwuState.INITIALIZING
        self._store.save(metadata, self._record)
        self._metadata = metadata
        self._state = state

    def _find(self, source_id: int, handle: int) -> Stream:
        stream = self._streams.find(source_id, handle)
        if stream is None:
            raise FwuError(FwuStatus.UNKNOWN, "there is no such stream")
        return stream

    def _update_offset(self, image: FirmwareImage) -> int:
        return self._layout.offset_of(image, banks.other(self._boot.bank))

    def _copy(self, image: FirmwareImage) -> None:
        source = self._layout.offset_of(image, self._boot.bank)
        target = self._update_offset(image)
        self._flash.erase(target, image.max_size_bytes)
        for start in range(0, image.max_size_bytes, _COPY_BYTES):
            size_bytes = min(_COPY_BYTES, image.max_size_bytes - start)
            data = self._flash.read(source + start, size_bytes)
            if data != self._flash.read(target + start, size_bytes):  # most of an area is erased
                self._flash.write(target + start, data)

    def _directory(self) -> ImageDirectory:
        """What is no image of MCUboot's has version 0."""
        return ImageDirectory(
            correct_boot=int(self._record.was_active),
            images=tuple(
                ImageInfo(
                    image_type=image.image_type,
                    client_permissions=ClientPermissions.WRITE,
                    max_size_bytes=image.max_size_bytes,
                    lowest_accepted_version=0,
                    version=self._version(image),
                    accepted=entry.banks[self._boot.bank].accepted,
                )
                for image, entry in zip(self._layout.images, self._metadata.images, strict=True)
            ),
        )
