from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeroot.wire.framing import (
    Request,
    bytes_needed,
    check_request,
    decode_response,
    encode_early_error,
    encode_request,
    encode_response,
    next_request,
    response_length,
)
from edgeroot.wire.header import FLAG_EXTENDED, FLAG_KEEP
from edgeroot.wire.status import ResponseStatus, WireError

# Parsec book, "Wire Protocol": a Ping without body and authentication, and its answer.
PING_REQUEST = bytes.fromhex("10A7C05E 1E00 01 00 0000 00 0000000000000000 00 00 00 00000000 0000 01000000 0000 00 00")
PING_RESPONSE = bytes.fromhex(
    "10A7C05E 1E00 01 00 0000 00 0000000000000000 00 00 00 02000000 0000 01000000 0000 00 00 0801"
)
LIMIT = 1000


def request_bytes(**changes: int) -> bytes:
    """A valid request for PsaSignHash, changed in named fields of its header."""
    header: dict[str, int] = {
        "magic": 0x5EC0A710,
        "header_size": 30,
        "version_maj": 1,
        "version_min": 0,
        "flags": 0,
        "provider": 1,
        "session": 0,
        "content_type": 0,
        "accept_type": 0,
        "auth_type": 1,
        "body_length": 4,
        "auth_length": 3,
        "opcode": 4,
        "status": 0,
        "reserved1": 0,
        "reserved2": 0,
    }
    header |= changes
    return struct.pack("<IHBBHBQBBBIHIHBB", *header.values()) + b"body" + b"app"


def parse(message: bytes) -> Request:
    request = next_request(message, body_len_limit=LIMIT)
    assert request is not None
    return request


def refusal(message: bytes, *, body_len_limit: int = LIMIT) -> ResponseStatus:
    with pytest.raises(WireError) as caught:
        next_request(message, body_len_limit=body_len_limit)
    return caught.value.status


def test_the_reference_ping_is_encoded_and_parsed() -> None:
    assert encode_request(opcode=1, provider=0, body=b"", auth_type=0, auth=b"") == PING_REQUEST
    assert parse(PING_REQUEST) == Request(0, 0, 0, 0, 0, 0, 1, b"", b"", 36)


def test_the_reference_pong_is_encoded_and_parsed() -> None:
    assert encode_response(provider=0, session=0, opcode=1, status=0, body=b"\x08\x01") == PING_RESPONSE
    assert response_length(PING_RESPONSE[:36]) == 38
    response = decode_response(PING_RESPONSE)
    assert response == (0, 0, 1, ResponseStatus.SUCCESS, b"\x08\x01")


def test_every_field_of_a_request_comes_out() -> None:
    message = request_bytes(flags=0x8003, session=2**64 - 1, content_type=7, accept_type=8, auth_type=9, opcode=2**31)
    assert parse(message) == Request(0x8003, 1, 2**64 - 1, 7, 8, 9, 2**31, b"body", b"app", 43)


def test_a_request_ends_where_its_lengths_say() -> None:
    request = parse(request_bytes() + PING_REQUEST)
    assert (request.body, request.auth, request.size_bytes) == (b"body", b"app", 43)


@pytest.mark.parametrize("buffer_type", [bytes, bytearray])
def test_a_request_keeps_its_bytes_when_the_buffer_is_reused(buffer_type: type[bytes] | type[bytearray]) -> None:
    buffer = buffer_type(request_bytes())
    request = next_request(buffer, body_len_limit=LIMIT)
    assert request is not None
    if isinstance(buffer, bytearray):
        buffer[:] = bytes(len(buffer))
        buffer.clear()
    assert (type(request.body), request.body, type(request.auth), request.auth) == (bytes, b"body", bytes, b"app")


def test_flags_session_and_status_of_a_request_mean_nothing() -> None:
    assert parse(request_bytes(status=17, session=5, flags=0xFFFC)).opcode == 4


def test_a_request_does_not_print_what_it_carries() -> None:
    assert "body of" not in repr(parse(request_bytes()))
    assert "app" not in repr(parse(request_bytes()))
    assert "x01" not in repr(decode_response(PING_RESPONSE))


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"magic": 0x5EC0A711}, 17),
        ({"header_size": 29}, 17),
        ({"header_size": 0}, 17),
        ({"version_maj": 2}, 4),
        ({"version_min": 1}, 4),
        ({"reserved1": 1}, 17),
        ({"reserved2": 1}, 17),
        ({"body_length": LIMIT + 1}, 20),
        # The earlier fault wins.
        ({"magic": 0, "version_maj": 2}, 17),
        ({"header_size": 20, "version_maj": 2}, 17),
        ({"version_maj": 2, "reserved1": 1}, 4),
        ({"reserved2": 1, "body_length": LIMIT + 1}, 17),
        ({"body_length": LIMIT + 1, "content_type": 1}, 20),
    ],
)
def test_a_malformed_header_is_refused_in_order(changes: dict[str, int], status: int) -> None:
    assert refusal(request_bytes(**changes)[:36]) == status


def test_a_wrong_magic_number_is_refused_with_its_fourth_byte() -> None:
    assert next_request(b"HTT", body_len_limit=LIMIT) is None
    assert refusal(b"HTTP") == ResponseStatus.INVALID_HEADER


@pytest.mark.parametrize("announced", [0, 10, 29, 31, 300, 0xFFFF])
def test_as_much_header_as_is_announced_is_read_before_it_is_refused(announced: int) -> None:
    message = request_bytes(header_size=announced)[:6] + bytes(announced)
    if announced:
        assert next_request(message[:-1], body_len_limit=LIMIT) is None
        assert bytes_needed(message[:-1]) == len(message)
    assert refusal(message) == ResponseStatus.INVALID_HEADER


def test_nothing_after_the_header_size_is_judged_before_the_header_is_complete() -> None:
    assert next_request(request_bytes(version_maj=2)[:35], body_len_limit=LIMIT) is None


def test_the_body_limit_is_inclusive() -> None:
    assert next_request(request_bytes(body_length=4)[:36], body_len_limit=4) is None
    assert refusal(request_bytes(body_length=5)[:36], body_len_limit=4) == ResponseStatus.BODY_SIZE_EXCEEDS_LIMIT


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"content_type": 1}, 2),
        ({"accept_type": 1}, 3),
        ({"auth_type": 5}, 12),
        ({"opcode": 0}, 9),
        ({"opcode": 0x1D}, 9),
        ({"opcode": 0x21}, 9),
        ({"opcode": 0x1000}, 9),
        ({"opcode": 2**32 - 1, "flags": FLAG_EXTENDED}, 9),
        ({"provider": 6}, 6),
        ({"provider": 255, "flags": FLAG_KEEP}, 6),
        # The earlier fault wins.
        ({"content_type": 1, "accept_type": 1}, 2),
        ({"accept_type": 1, "auth_type": 5}, 3),
        ({"auth_type": 5, "opcode": 0}, 12),
        ({"opcode": 0, "provider": 6}, 9),
    ],
)
def test_a_request_for_what_does_not_exist_is_refused_in_order(changes: dict[str, int], status: int) -> None:
    request = parse(request_bytes(**changes))
    with pytest.raises(WireError) as caught:
        check_request(request)
    assert caught.value.status == status


@pytest.mark.parametrize(
    "changes",
    [
        *({"auth_type": auth_type} for auth_type in range(5)),
        *({"provider": provider} for provider in range(6)),
        *({"provider": provider, "flags": FLAG_EXTENDED} for provider in (6, 16, 255)),
        {"opcode": 0x16},
        {"opcode": 0x20},
    ],
)
def test_a_request_for_what_exists_passes(changes: dict[str, int]) -> None:
    check_request(parse(request_bytes(**changes)))


def test_an_early_error_looks_like_the_answer_to_a_ping() -> None:
    message = encode_early_error(ResponseStatus.CONNECTION_ERROR)
    assert message == PING_REQUEST[:32] + b"\x0f\x00\x00\x00"


def test_credentials_that_do_not_fit_are_an_error_of_the_caller() -> None:
    assert len(encode_request(opcode=1, provider=0, body=b"", auth_type=1, auth=bytes(0xFFFF))) == 36 + 0xFFFF
    with pytest.raises(ValueError, match="65536"):
        encode_request(opcode=1, provider=0, body=b"", auth_type=1, auth=bytes(0x10000))


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"magic": 1}, 17),
        ({"header_size": 29}, 17),
        ({"header_size": 31}, 17),
        ({"version_min": 1}, 4),
        ({"reserved1": 1}, 17),
        ({"content_type": 1}, 2),
        ({"status": 1144}, 16),
        ({"status": 23}, 16),
        ({"body_length": 5}, 16),
        ({"body_length": 8}, 16),
    ],
)
def test_a_malformed_response_is_refused(changes: dict[str, int], status: int) -> None:
    with pytest.raises(WireError) as caught:
        decode_response(request_bytes(**{"auth_length": 0, "body_length": 7} | changes))
    assert caught.value.status == status


def test_a_response_shorter_than_a_header_is_refused() -> None:
    with pytest.raises(WireError) as caught:
        decode_response(PING_RESPONSE[:35])
    assert caught.value.status == ResponseStatus.INVALID_ENCODING
    with pytest.raises(ValueError, match="36 bytes"):
        response_length(PING_RESPONSE[:35])


@pytest.mark.parametrize("status", ResponseStatus)
def test_every_status_travels(status: ResponseStatus) -> None:
    message = encode_response(provider=2, session=3, opcode=4, status=status)
    assert decode_response(message) == (2, 3, 4, status, b"")


def outcome(buffer: bytes | bytearray) -> Request | ResponseStatus | None:
    try:
        return next_request(buffer, body_len_limit=LIMIT)
    except WireError as error:
        return error.status


mutated_requests = st.builds(
    lambda message, patches: bytes(byte ^ patches.get(position, 0) for position, byte in enumerate(message)),
    st.sampled_from([request_bytes(), PING_REQUEST, request_bytes(body_length=900) + bytes(900)]),
    st.dictionaries(st.integers(0, 40), st.integers(1, 255), max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(message=mutated_requests | st.binary(max_size=80), step=st.integers(1, 50))
def test_chunks_of_any_size_lead_to_the_same_outcome(message: bytes, step: int) -> None:
    whole = outcome(message)
    received = bytearray()
    for start in range(0, len(message), step):
        received += message[start : start + step]
        result = outcome(received)
        if result is not None:
            break
        assert bytes_needed(received) > len(received)
    else:
        result = outcome(received)
    assert result == whole


@settings(max_examples=200, deadline=None)
@given(message=mutated_requests)
def test_reading_no_more_than_is_needed_reaches_the_same_outcome(message: bytes) -> None:
    message += bytes(0x10800)  # more than any header within the limit can ask for
    received = b""
    while (result := outcome(received)) is None:
        needed = bytes_needed(received)
        assert needed > len(received)
        received = message[:needed]
        assert len(received) == needed
    assert result == outcome(message)
