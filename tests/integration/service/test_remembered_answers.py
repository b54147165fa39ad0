"""Answers that never change are given from memory: to whoever asked the same, and to nobody else."""

from __future__ import annotations

import os
import socket
from functools import partial

import pytest

from edgeroot.wire import operations as ops
from edgeroot.wire.codec import decode_result, encode_operation
from edgeroot.wire.framing import Response, decode_response, encode_request, response_length
from edgeroot.wire.header import FLAG_EXTENDED, FLAG_KEEP, HEADER_BYTES
from edgeroot.wire.opcodes import BY_OPERATION, Opcode
from edgeroot.wire.operations import AuthType
from edgeroot.wire.status import ResponseStatus
from tests.support.clients import ALICE, as_user, connect
from tests.support.service import Service, running_service

AGAIN = 5


def frame(operation: ops.Operation, *, auth: bytes | None = None, flags: int = 0, session: int = 0) -> bytes:
    return encode_request(
        opcode=BY_OPERATION[type(operation)].opcode,
        provider=0,
        body=encode_operation(operation),
        auth_type=AuthType.UNIX_PEER_CREDENTIALS,
        auth=os.geteuid().to_bytes(4, "little") if auth is None else auth,
        flags=flags,
        session=session,
    )


def receive(connection: socket.socket) -> Response:
    head = connection.recv(HEADER_BYTES, socket.MSG_WAITALL)
    rest = response_length(head) - HEADER_BYTES
    return decode_response(head + (connection.recv(rest, socket.MSG_WAITALL) if rest else b""))


def ask(service: Service, request: bytes) -> Response:
    with connect(service) as connection:
        connection.sendall(request)
        response = receive(connection)
        assert connection.recv(1) == b""
        return response


def ask_again(service: Service, request: bytes) -> list[Response]:
    return [ask(service, request) for _ in range(AGAIN)]


@pytest.mark.parametrize("operation", [ops.Ping(), ops.ListProviders(), ops.ListAuthenticators()])
def test_the_same_request_has_the_same_answer_and_its_own_session(operation: ops.Operation) -> None:
    with running_service() as service:
        first = ask(service, frame(operation))
        for session in (0, 7, 1 << 63):
            for response in ask_again(service, frame(operation, session=session)):
                assert response == first._replace(session=session)


def test_an_extended_answer_is_given_to_extended_requests_only() -> None:
    with running_service() as service:
        plain, extended = frame(ops.ListProviders()), frame(ops.ListProviders(), flags=FLAG_EXTENDED)
        for _ in range(AGAIN):
            for request, is_extended in ((plain, False), (extended, True)):
                result = decode_result(Opcode.LIST_PROVIDERS, ask(service, request).body)
                assert isinstance(result, ops.ListProvidersResult)
                assert bool(result.providers[-1].edgeroot_version) == is_extended


def test_nobody_gets_an_answer_that_was_for_somebody_else() -> None:
    """Root's bytes, sent by another user: its id is not that user's."""
    with running_service() as service:
        request = frame(ops.Ping())
        assert {response.status for response in ask_again(service, request)} == {ResponseStatus.SUCCESS}
        for response in as_user(ALICE, partial(ask_again, service, request)):
            assert response.status == ResponseStatus.AUTHENTICATION_ERROR


def test_a_refusal_is_made_and_written_down_each_time() -> None:
    with running_service() as service:
        wrong = frame(ops.Ping(), auth=b"\xff\xff\xff\x7f")
        assert {response.status for response in ask_again(service, wrong)} == {ResponseStatus.AUTHENTICATION_ERROR}
        service.stop()
        assert service.log().count("AuthenticationError") >= AGAIN


def test_a_kept_connection_stays_and_ends_as_always() -> None:
    with running_service(listener=f"max_requests_per_connection = {2 * AGAIN}") as service, connect(service) as one:
        for _ in range(2):
            for request in (frame(ops.Ping(), flags=FLAG_KEEP), frame(ops.Ping(), flags=FLAG_KEEP, session=1)):
                for _ in range(AGAIN // 2):
                    one.sendall(request)
                    assert receive(one).status == ResponseStatus.SUCCESS
        one.sendall(frame(ops.Ping(), flags=FLAG_KEEP) * 2)  # what comes in one piece is taken apart
        assert [receive(one).status, receive(one).status] == [ResponseStatus.SUCCESS] * 2
        assert one.recv(1) == b""  # that was the last that this connection may ask
