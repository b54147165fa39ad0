from __future__ import annotations

from binascii import crc32
from struct import pack
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.abi.fwu_objects import (
    BankImage,
    BankState,
    ClientPermissions,
    FwuMetadata,
    FwuObjectError,
    ImageDirectory,
    ImageEntry,
    ImageInfo,
)
from tests.unit.abi.layouts import U8, U32, damaged

GUID = UUID("00112233-4455-6677-8899-aabbccddeeff")
OCTETS = bytes.fromhex("33221100 5544 7766 8899 aabbccddeeff")
ENTRY = ImageEntry(
    image_type=GUID, location=UUID(int=1), banks=(BankImage(image=GUID, accepted=1), BankImage(image=GUID, accepted=0))
)
ENTRY_BYTES = OCTETS + UUID(int=1).bytes_le + OCTETS + pack("<II", 1, 0) + OCTETS + pack("<II", 0, 0)

BANKS = st.builds(BankImage, image=st.uuids(), accepted=U32)
DIRECTORIES = st.builds(
    ImageDirectory,
    correct_boot=U32,
    images=st.lists(
        st.builds(
            ImageInfo,
            image_type=st.uuids(),
            client_permissions=U32,
            max_size_bytes=U32,
            lowest_accepted_version=U32,
            version=U32,
            accepted=U32,
        ),
        max_size=3,
    ).map(tuple),
)


@st.composite
def metadata(draw: st.DrawFn) -> FwuMetadata:
    version = draw(st.sampled_from([1, 2]))
    bank_count = draw(st.integers(1, 4)) if version == 2 else 2
    banks = st.lists(BANKS, min_size=bank_count, max_size=bank_count).map(tuple)
    entries = st.builds(ImageEntry, image_type=st.uuids(), location=st.uuids(), banks=banks)
    return FwuMetadata(
        version=version,
        active_index=draw(U32),
        previous_active_index=draw(U32),
        images=tuple(draw(st.lists(entries, max_size=3))),
        bank_states=tuple(draw(st.lists(U8, min_size=bank_count, max_size=bank_count))) if version == 2 else (),
    )


def with_crc(body: bytes) -> bytes:
    return pack("<I", crc32(body)) + body


def metadata_2(
    *, size: int = 120, offset: int = 32, banks: int = 2, images: int = 1, entry: int = 80, bank: int = 24
) -> bytes:
    states = bytes([BankState.ACCEPTED, BankState.VALID, BankState.INVALID, BankState.INVALID])
    head = pack("<IIIIHH4sI", 2, 0, 1, size, offset, 0, states, 0)
    return with_crc(head + pack("<BBHHH", banks, 0, images, entry, bank) + ENTRY_BYTES)


def test_a_directory_is_a_header_and_40_bytes_for_each_image() -> None:
    image = ImageInfo(
        image_type=GUID,
        client_permissions=ClientPermissions.READ | ClientPermissions.WRITE,
        max_size_bytes=4096,
        lowest_accepted_version=1,
        version=2,
        accepted=1,
    )
    encoded = pack("<6I", 2, 24, 1, 1, 40, 0) + OCTETS + pack("<6I", 3, 4096, 1, 2, 1, 0)
    directory = ImageDirectory(correct_boot=1, images=(image,))
    assert directory.encode() == encoded
    assert ImageDirectory.decode(encoded) == directory


@pytest.mark.parametrize(
    "header",
    [
        pack("<6I", 1, 24, 0, 1, 40, 0),
        pack("<6I", 2, 20, 0, 1, 40, 0),
        pack("<6I", 2, 24, 1, 1, 40, 0),
        pack("<6I", 2, 24, 0, 1, 36, 0),
        pack("<6I", 2, 24, 0xFFFFFFFF, 1, 0, 0),
        bytes(23),
    ],
)
def test_a_directory_that_lies_is_refused(header: bytes) -> None:
    with pytest.raises(FwuObjectError):
        ImageDirectory.decode(header + bytes(39))


def test_metadata_of_version_1_is_a_head_and_80_bytes_for_each_image() -> None:
    value = FwuMetadata(version=1, active_index=1, previous_active_index=0, images=(ENTRY,))
    encoded = with_crc(pack("<III", 1, 1, 0) + ENTRY_BYTES)
    assert len(encoded) == 96
    assert value.encode() == encoded
    assert FwuMetadata.decode(encoded) == value


def test_metadata_of_version_2_says_its_size_and_the_states_of_its_banks() -> None:
    value = FwuMetadata(
        version=2,
        active_index=0,
        previous_active_index=1,
        images=(ENTRY,),
        bank_states=(BankState.ACCEPTED, BankState.VALID),
    )
    encoded = metadata_2()
    assert len(encoded) == 120
    assert value.encode() == encoded
    assert FwuMetadata.decode(encoded) == value
    assert FwuMetadata.decode(encoded + b"\xff" * 100) == value  # what else is on the page of the flash


@pytest.mark.parametrize(
    "data",
    [
        metadata_2(size=121),
        metadata_2(size=119),
        metadata_2(size=0),
        metadata_2(offset=31),
        metadata_2(offset=0xFFFF),
        metadata_2(banks=0),
        metadata_2(banks=5, entry=152),
        metadata_2(banks=1),
        metadata_2(images=2),
        metadata_2(entry=40),
        metadata_2(bank=16),
        with_crc(pack("<III", 3, 0, 0)),
        with_crc(pack("<III", 1, 0, 0) + bytes(79)),
        with_crc(pack("<II", 1, 0)),
        b"",
    ],
)
def test_metadata_that_lies_is_refused(data: bytes) -> None:
    with pytest.raises(FwuObjectError):
        FwuMetadata.decode(data)


@pytest.mark.parametrize("at", range(120))
def test_no_byte_of_metadata_can_change_unnoticed(at: int) -> None:
    damaged_bytes = bytearray(metadata_2())
    damaged_bytes[at] ^= 0x10
    with pytest.raises(FwuObjectError):
        FwuMetadata.decode(bytes(damaged_bytes))


@pytest.mark.parametrize(
    ("version", "states"), [(1, (0xFE, 0xFE)), (2, ()), (2, (0xFE,) * 5), (2, (0xFE,)), (3, (0xFE, 0xFE))]
)
def test_banks_that_do_not_fit_the_version_are_not_written(version: int, states: tuple[int, ...]) -> None:
    value = FwuMetadata(version=version, active_index=0, previous_active_index=0, images=(ENTRY,), bank_states=states)
    with pytest.raises(FwuObjectError):
        value.encode()


@given(DIRECTORIES)
def test_directories_round_trip(directory: ImageDirectory) -> None:
    assert ImageDirectory.decode(directory.encode()) == directory


@given(metadata())
def test_metadata_round_trips(value: FwuMetadata) -> None:
    assert FwuMetadata.decode(value.encode()) == value


@given(st.one_of(st.binary(max_size=200), damaged(DIRECTORIES.map(ImageDirectory.encode)), st.binary().map(with_crc)))
def test_other_bytes_are_refused_by_one_error(data: bytes) -> None:
    for decode in (ImageDirectory.decode, FwuMetadata.decode):
        try:
            decode(data)
        except FwuObjectError:
            pass
