from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.evidence import (
    DigestAlgorithm,
    Event,
    EvidenceError,
    Measurement,
    read_event_log,
    read_measurements,
    write_event_log,
    write_measurements,
)

# Written by hand after the TCG PC Client Platform Firmware Profile: one SHA-256 bank, one EV_POST_CODE "BL_2".
SPEC_ID = bytes.fromhex(
    "00000000 03000000 0000000000000000000000000000000000000000 21000000"
    "53706563204944204576656e74303300 00000000 00 02 02 02 01000000 0b00 2000 00"
)
BL_2 = bytes.fromhex(f"00000000 01000000 01000000 0b00 {'11' * 32} 05000000 424c5f3200")


def test_known_bytes() -> None:
    assert write_measurements({"BL_2": b"\x11" * 32}) == SPEC_ID + BL_2
    assert read_measurements(SPEC_ID + BL_2) == (Measurement("BL_2", DigestAlgorithm.SHA256, b"\x11" * 32),)


def test_only_post_codes_are_measurements() -> None:
    other = Event(1, 0x80000001, ((DigestAlgorithm.SHA256, bytes(32)),), b"\xff\xff")
    post = Event(2, 1, ((DigestAlgorithm.SHA256, b"\x22" * 32),), b"BL_31\0ignored")
    log = write_event_log([other, post], algorithms=[DigestAlgorithm.SHA256])
    assert read_event_log(log) == (other, post)
    assert [measured.name for measured in read_measurements(log)] == ["BL_31"]


def test_the_first_of_several_banks_is_taken() -> None:
    digests = ((DigestAlgorithm.SHA384, b"\x33" * 48), (DigestAlgorithm.SHA512, b"\x44" * 64))
    log = write_event_log([Event(0, 1, digests, b"BL_33")], algorithms=[DigestAlgorithm.SHA384, DigestAlgorithm.SHA512])
    assert read_measurements(log) == (Measurement("BL_33", DigestAlgorithm.SHA384, b"\x33" * 48),)


def test_sha_1_bank_is_read_but_is_no_measurement() -> None:
    spec_id = SPEC_ID.replace(bytes.fromhex("0b002000"), bytes.fromhex("04001400"))
    log = spec_id + bytes.fromhex(f"00000000 01000000 01000000 0400 {'55' * 20} 01000000 00")
    assert read_event_log(log) == (Event(0, 1, ((4, b"\x55" * 20),), b"\0"),)
    with pytest.raises(EvidenceError, match="not SHA-256"):
        read_measurements(log)


def test_a_cut_log_is_refused_unless_between_records() -> None:
    log = SPEC_ID + BL_2
    for length in range(len(log)):
        if length == len(SPEC_ID):
            assert read_measurements(log[:length]) == ()
            continue
        with pytest.raises(EvidenceError):
            read_measurements(log[:length])


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (SPEC_ID.replace(b"Event03", b"Event02") + BL_2, "crypto-agile"),
        (b"\1" + SPEC_ID[1:] + BL_2, "crypto-agile"),
        (SPEC_ID + BL_2.replace(b"\x0b\0", b"\x0c\0"), "0x000c is not among"),
        (SPEC_ID + bytes.fromhex("00000000 01000000 02000000") + bytes(200), "2 digests"),
        (SPEC_ID + bytes.fromhex("00000000 01000000 00000000 00000000"), "no digest"),
        (SPEC_ID + BL_2[:-5] + b"\xff\xff\xff\xff\0", "not text"),
        (SPEC_ID + BL_2[:-9] + b"\xff\xff\xff\xff" + BL_2[-5:], "cut off"),
        (SPEC_ID.replace(b"\x0b\0\x20\0", b"\x0b\0\x14\0") + BL_2, "cut off"),
        (
            SPEC_ID.replace(b"\x0b\0\x20\0", b"\x0b\0\x14\0")
            + bytes.fromhex(f"00000000 01000000 01000000 0b00 {'55' * 20} 01000000 00"),
            "sha-256 has 20 bytes",
        ),
    ],
)
def test_malformed(log: bytes, says: str) -> None:
    with pytest.raises(EvidenceError, match=says):
        read_measurements(log)


@pytest.mark.parametrize(
    "digests", [(), ((DigestAlgorithm.SHA256, bytes(31)),), ((DigestAlgorithm.SHA384, bytes(48)),)]
)
def test_an_event_must_fit_the_banks(digests: tuple[tuple[int, bytes], ...]) -> None:
    with pytest.raises(EvidenceError, match="each bank"):
        write_event_log([Event(0, 1, digests)], algorithms=[DigestAlgorithm.SHA256])


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(garbage: bytes) -> None:
    for log in (garbage, SPEC_ID + garbage):
        try:
            read_measurements(log)
        except EvidenceError:
            pass
