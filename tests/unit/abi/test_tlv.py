from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.abi.tlv import TlvError, encode_record, encode_records, find_records

RECORDS = st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=20), max_size=6).map(lambda d: sorted(d.items()))


def test_tag_and_length_are_big_endian() -> None:
    assert encode_record(0x0102, b"abc") == bytes.fromhex("0102 0003 616263")
    assert encode_record(1, b"") == bytes.fromhex("0001 0000")


@given(RECORDS)
def test_records_are_found_again(records: list[tuple[int, bytes]]) -> None:
    data = b"fixed" + encode_records(records)
    assert find_records(data, 5, [tag for tag, _ in records]) == [value for _, value in records]


@given(RECORDS, st.integers(0, 0xFFFF))
def test_one_record_is_found_among_others(records: list[tuple[int, bytes]], tag: int) -> None:
    assert find_records(encode_records(records), 0, [tag]) == [dict(records).get(tag)]


def test_a_larger_tag_stops_the_search_and_is_still_found_after_it() -> None:
    data = encode_records([(1, b"a"), (5, b"e")])
    assert find_records(data, 0, [1, 3, 5]) == [b"a", None, b"e"]
    # Out of order: what comes behind a larger tag is not seen.
    assert find_records(encode_record(5, b"e") + encode_record(1, b"a"), 0, [1]) == [None]


def test_the_first_of_equal_tags_counts() -> None:
    data = encode_record(1, b"a") + encode_record(1, b"b") + encode_record(2, b"c")
    assert find_records(data, 0, [1, 2]) == [b"a", b"c"]


def test_what_stands_behind_everything_wanted_is_not_read() -> None:
    assert find_records(encode_record(1, b"a") + b"\0", 0, [1]) == [b"a"]


@pytest.mark.parametrize("data", ["00", "000100", "00010001", "0000000100020003"])
def test_a_record_that_is_cut_off_is_an_error(data: str) -> None:
    with pytest.raises(TlvError):
        find_records(bytes.fromhex(data), 0, [1, 2])


def test_the_longest_value_has_65535_bytes() -> None:
    data = encode_record(1, bytes(65535))
    assert find_records(data, 0, [1]) == [bytes(65535)]
    with pytest.raises(TlvError, match="65536"):
        encode_record(1, bytes(65536))


@pytest.mark.parametrize("tags", [(2, 1), (1, 1)])
def test_tags_that_do_not_ascend_are_not_written(tags: tuple[int, ...]) -> None:
    with pytest.raises(TlvError, match="after record"):
        encode_records([(tag, b"") for tag in tags])


@given(st.binary(max_size=60), st.integers(0, 10))
def test_any_bytes_are_records_or_an_error(data: bytes, offset: int) -> None:
    try:
        found = find_records(data, offset, [1, 2, 300])
    except TlvError:
        return
    assert all(value is None or value in data for value in found)
