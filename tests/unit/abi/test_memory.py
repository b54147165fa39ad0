from __future__ import annotations

from struct import pack

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgeroot.abi.ffa import VERSION_1_0, VERSION_1_1
from edgeroot.abi.memory import (
    DescriptorError,
    MemoryAccess,
    MemoryRange,
    MemoryRelinquish,
    RetrieveRequest,
    Transaction,
    TransactionType,
)
from tests.unit.abi.layouts import U8, U16, U32, U64, damaged

VERSIONS = (VERSION_1_0, VERSION_1_1)
RANGES = st.builds(
    MemoryRange, address=st.integers(0, (1 << 52) - 1).map(lambda page: page << 12), page_count=st.integers(1, 1 << 28)
)
ACCESSES = st.builds(MemoryAccess, receiver=U16, permissions=U8, flags=U8)
TRANSACTIONS = st.builds(
    Transaction,
    sender=U16,
    accesses=st.lists(ACCESSES, min_size=1, max_size=4, unique_by=lambda one: one.receiver).map(tuple),
    ranges=st.lists(RANGES, min_size=1, max_size=4).map(tuple),
    attributes=U8,
    flags=U32,
    handle=U64,
    tag=U64,
)
RETRIEVALS = st.builds(
    RetrieveRequest,
    sender=U16,
    receiver=U16,
    handle=U64,
    tag=U64,
    transaction_type=st.sampled_from(TransactionType),
    permissions=U8,
)
RELINQUISHES = st.builds(
    MemoryRelinquish, handle=U64, endpoints=st.lists(U16, min_size=1, max_size=5).map(tuple), flags=U32
)
SHARE = Transaction.share(sender=0, receiver=0x8001, page_count=2, address=0x5000)


def access(receiver: int = 0x8001, *, permissions: int = 2, offset: int = 64) -> bytes:
    return pack("<HBBIQ", receiver, permissions, 0, offset, 0)


def header(*, access_bytes: int = 16, count: int = 1, offset: int = 48) -> bytes:
    return pack("<HHIQQIIIIII", 0, 0x2F, 0, 0, 0, access_bytes, count, offset, 0, 0, 0)


def composite(*ranges: tuple[int, int], pages: int | None = None, count: int | None = None) -> bytes:
    total = sum(one[1] for one in ranges) if pages is None else pages
    head = pack("<IIQ", total, len(ranges) if count is None else count, 0)
    return head + b"".join(pack("<QII", address, page_count, 0) for address, page_count in ranges)


def test_what_linux_shares_is_96_bytes() -> None:
    # One receiver that reads and writes, normal memory, tag and flags 0.
    encoded = header() + access() + composite((0x5000, 2))
    assert len(encoded) == 96
    assert SHARE.encode() == encoded
    assert Transaction.decode(encoded) == SHARE
    assert (SHARE.receivers, SHARE.page_count) == ((0x8001,), 2)


def test_the_header_of_version_1_0_has_32_bytes() -> None:
    head = pack("<HBBIQQII", 0, 0x2F, 0, 0, 0, 0, 0, 1)
    encoded = head + access(offset=48) + composite((0x5000, 2))
    assert SHARE.encode(VERSION_1_0) == encoded
    assert Transaction.decode(encoded, VERSION_1_0) == SHARE


def test_a_retrieval_names_sender_receiver_and_handle() -> None:
    handle = 1 << 45 | 7
    encoded = pack("<HHIQQIIIIII", 0, 0x2F, 1 << 3, handle, 0, 16, 1, 48, 0, 0, 0) + access(offset=0)
    request = RetrieveRequest(sender=0, receiver=0x8001, handle=handle)
    assert request.encode() == encoded
    assert RetrieveRequest.decode(encoded) == request


def test_a_relinquishment_names_the_handle_and_who_gives_back() -> None:
    encoded = pack("<QIIHH", 9, 0, 2, 0x8001, 0x8002)
    relinquish = MemoryRelinquish(handle=9, endpoints=(0x8001, 0x8002))
    assert relinquish.encode() == encoded
    assert MemoryRelinquish.decode(encoded) == relinquish


def test_the_type_is_in_the_flags() -> None:
    answer = Transaction(sender=0, accesses=SHARE.accesses, ranges=SHARE.ranges, flags=2 << 3 | 1)
    assert answer.transaction_type is TransactionType.LEND


@given(TRANSACTIONS, st.sampled_from(VERSIONS))
def test_transactions_round_trip(transaction: Transaction, version: int) -> None:
    assume(transaction.page_count <= 0xFFFFFFFF)
    assert Transaction.decode(transaction.encode(version), version) == transaction


@given(RETRIEVALS, st.sampled_from(VERSIONS))
def test_retrievals_round_trip(request: RetrieveRequest, version: int) -> None:
    assert RetrieveRequest.decode(request.encode(version), version) == request


@given(RELINQUISHES)
def test_relinquishments_round_trip(relinquish: MemoryRelinquish) -> None:
    assert MemoryRelinquish.decode(relinquish.encode()) == relinquish


@given(
    st.one_of(
        st.binary(max_size=200),
        damaged(TRANSACTIONS.map(Transaction.encode)),
        damaged(RETRIEVALS.map(RetrieveRequest.encode)),
        damaged(RELINQUISHES.map(MemoryRelinquish.encode)),
    ),
    st.sampled_from(VERSIONS),
)
def test_other_bytes_are_a_descriptor_error(data: bytes, version: int) -> None:
    for read in (
        lambda: Transaction.decode(data, version),
        lambda: RetrieveRequest.decode(data, version),
        lambda: MemoryRelinquish.decode(data),
    ):
        try:
            read()
        except DescriptorError:
            pass


@pytest.mark.parametrize("version", VERSIONS)
def test_no_beginning_of_a_descriptor_is_one(version: int) -> None:
    encoded = SHARE.encode(version)
    for length in range(len(encoded)):
        with pytest.raises(DescriptorError):
            Transaction.decode(encoded[:length], version)


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        (header(access_bytes=32) + access() + composite((0, 1)), "32 bytes"),
        (header(access_bytes=0) + access() + composite((0, 1)), "0 bytes"),
        (header(offset=40) + access() + composite((0, 1)), "begin at 40"),
        (header(offset=52) + access() + composite((0, 1)), "begin at 52"),
        (header(offset=0xFFFFFFF0) + access() + composite((0, 1)), "1 receivers"),
        (header(count=0) + access() + composite((0, 1)), "0 receivers"),
        (header(count=0xFFFFFFFF) + access() + composite((0, 1)), "4294967295 receivers"),
        (header(count=2) + 2 * access(offset=80) + composite((0, 1)), "named twice"),
        (header(count=2) + access(offset=80) + access(1, offset=96) + composite((0, 1)), "different regions"),
        (header() + access(offset=0), "no composite region"),
        (header() + access(offset=48) + composite((0, 1)), "begin at 48"),
        (header() + access(offset=96) + composite((0, 1)), "outside"),
        (header() + access(offset=0xFFFFFFFF) + composite((0, 1)), "outside"),
        (header() + access() + composite(), "0 ranges"),
        (header() + access() + composite((0, 1), count=2), "2 ranges"),
        (header() + access() + composite((0, 1), count=0xFFFFFFFF), "4294967295 ranges"),
        (header() + access() + composite((0, 1), pages=2), "add up to 2"),
        (header() + access() + composite((0, 1), (0x1000, 0xFFFFFFFF), pages=0), "add up to 0"),
        (header() + access() + composite((0, 1), (0x1000, 0)), "empty"),
        (header() + access() + composite((0x800, 1)), "begin at a page"),
    ],
)
def test_what_a_transaction_lies_about_is_said(encoded: bytes, why: str) -> None:
    with pytest.raises(DescriptorError, match=why):
        Transaction.decode(encoded)


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        (header(count=2) + access(1, offset=0) + access(2, offset=0), "2 receivers"),
        (header() + access() + composite((0, 1)), "addresses"),
    ],
)
def test_a_retrieval_is_for_one_receiver_and_names_no_address(encoded: bytes, why: str) -> None:
    with pytest.raises(DescriptorError, match=why):
        RetrieveRequest.decode(encoded)


@pytest.mark.parametrize(
    "encoded", [bytes(15), pack("<QII", 1, 0, 0), pack("<QIIH", 1, 0, 2, 5), pack("<QII", 1, 0, 0xFFFFFFFF)]
)
def test_a_relinquishment_that_lies_is_refused(encoded: bytes) -> None:
    with pytest.raises(DescriptorError):
        MemoryRelinquish.decode(encoded)
