"""What goes beyond upstream's protocol shows to whoever asks for it by a flag of the request, and to nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from edgeroot.client import templates
from edgeroot.psa import Algorithm, Hash
from edgeroot.wire import operations as ops
from edgeroot.wire.framing import decode_response
from edgeroot.wire.header import FLAG_EXTENDED, FLAG_KEEP
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.status import ResponseStatus as Status
from peers import PeersRoot, run_parsec_tool
from tests.interop.raw_socket import (
    PING,
    answer,
    ask,
    connect,
    exchange,
    header,
    read_response,
    read_to_end,
    request,
)
from tests.support.service import Service, running_service

SECOND = '[[provider]]\nprovider_type = "MbedCrypto"\nname = "second"\nkey_info_manager = "kim"\n'
P256 = templates.ecdsa_p256()
ES256 = Algorithm.ecdsa(Hash.SHA_256)
UPSTREAM_OPCODES = frozenset(range(1, 0x21)) - {0x16, 0x17, 0x1D}
LIMITS = "max_requests_per_connection = 5\nkept_connection_idle_timeout = 300"


@pytest.fixture(scope="module")
def two() -> Iterator[Service]:
    """A service with a second instance of the software provider."""
    with running_service(extra=SECOND) as service:
        yield service


@pytest.fixture(scope="module")
def limited() -> Iterator[Service]:
    """A service that ends kept connections soon."""
    with running_service(listener=LIMITS, timeout_ms=300) as service:
        yield service


def providers(service: Service, flags: int) -> list[tuple[int, str]]:
    _, listed = ask(service.socket_path, ops.ListProviders(), flags=flags, anonymous=True)
    assert isinstance(listed, ops.ListProvidersResult)
    return [(provider.id, provider.name) for provider in listed.providers]


def opcodes(service: Service, provider: int, flags: int) -> set[int]:
    _, listed = ask(service.socket_path, ops.ListOpcodes(provider), flags=flags, anonymous=True)
    assert isinstance(listed, ops.ListOpcodesResult)
    assert len(listed.opcodes) == len(set(listed.opcodes))
    return set(listed.opcodes)


def keys(service: Service, flags: int) -> set[tuple[int, str]]:
    _, listed = ask(service.socket_path, ops.ListKeys(), flags=flags)
    assert isinstance(listed, ops.ListKeysResult)
    return {(key.provider_id, key.name) for key in listed.keys}


@pytest.mark.parametrize("flags", [0, 0xFFFC])
def test_lists_hold_what_upstreams_clients_know(two: Service, flags: int) -> None:
    assert providers(two, flags) == [(1, ""), (0, "")]
    assert opcodes(two, 0, flags) == {1, 8, 9, 14, 26}
    assert opcodes(two, 1, flags) <= UPSTREAM_OPCODES
    assert {Opcode.PSA_SIGN_HASH, Opcode.PSA_CIPHER_ENCRYPT, Opcode.PSA_SIGN_MESSAGE} < opcodes(two, 1, flags)


def test_extended_lists_hold_everything(two: Service) -> None:
    assert providers(two, FLAG_EXTENDED) == [(1, "mbed-crypto-provider"), (16, "second"), (0, "core-provider")]
    assert opcodes(two, 0, FLAG_EXTENDED) == {1, 8, 9, 14, 26, 27, 28, Opcode.STORAGE_LIST}
    assert opcodes(two, 1, FLAG_EXTENDED) - opcodes(two, 1, 0) == {Opcode.PSA_MAC_COMPUTE, Opcode.PSA_MAC_VERIFY}
    assert opcodes(two, 16, FLAG_EXTENDED) == opcodes(two, 1, FLAG_EXTENDED)


def test_second_instance_answers_extended_requests_only(two: Service) -> None:
    path = two.socket_path
    assert ask(path, ops.PsaGenerateKey("name", P256), provider=16)[0] is Status.PROVIDER_DOES_NOT_EXIST
    assert ask(path, ops.ListOpcodes(16))[0] is Status.PROVIDER_DOES_NOT_EXIST
    refused = answer(path, request(ops.PsaGenerateKey("name", P256), provider=16))
    assert (refused.provider, refused.opcode) == (0, Opcode.PING)

    assert ask(path, ops.PsaGenerateKey("name", P256), provider=16, flags=FLAG_EXTENDED)[0] is Status.SUCCESS
    # The name is free in the first instance, and the key is not there.
    assert ask(path, ops.PsaSignHash("name", ES256, bytes(32)))[0] is Status.PSA_ERROR_DOES_NOT_EXIST
    assert ask(path, ops.PsaGenerateKey("name", P256))[0] is Status.SUCCESS
    one, other = (
        ask(path, ops.PsaExportPublicKey("name"), provider=provider, flags=FLAG_EXTENDED) for provider in (1, 16)
    )
    assert one[0] is other[0] is Status.SUCCESS
    assert one[1] != other[1]
    assert keys(two, 0) == {(1, "name")}
    assert keys(two, FLAG_EXTENDED) == {(1, "name"), (16, "name")}
    assert ask(path, ops.PsaDestroyKey("name"), provider=16)[0] is Status.PROVIDER_DOES_NOT_EXIST
    assert ask(path, ops.PsaDestroyKey("name"), provider=16, flags=FLAG_EXTENDED)[0] is Status.SUCCESS
    assert ask(path, ops.PsaDestroyKey("name"))[0] is Status.SUCCESS


def test_unknown_numbers_in_extended_requests(two: Service) -> None:
    path = two.socket_path
    assert ask(path, ops.ListOpcodes(17), flags=FLAG_EXTENDED)[0] is Status.PROVIDER_NOT_REGISTERED
    assert ask(path, ops.PsaDestroyKey("x"), provider=255, flags=FLAG_EXTENDED)[0] is Status.PROVIDER_NOT_REGISTERED
    assert answer(path, header(opcode=0x1000, flags=FLAG_EXTENDED)).status is Status.OPCODE_DOES_NOT_EXIST


def test_genuine_tool_reads_every_list(two: Service, peers_root: PeersRoot) -> None:
    assert ask(two.socket_path, ops.PsaGenerateKey("hidden", P256), provider=16, flags=FLAG_EXTENDED)[0] == 0
    for arguments in (["list-providers"], ["list-keys"], ["list-opcodes"], ["-p", "1", "list-opcodes"]):
        result = run_parsec_tool(two.socket_path, *arguments)
        assert result.returncode == 0, result.stderr
        assert "hidden" not in result.stdout + result.stderr
    assert ask(two.socket_path, ops.PsaDestroyKey("hidden"), provider=16, flags=FLAG_EXTENDED)[0] == 0


# Kept connections

KEPT_PING = request(ops.Ping(), flags=FLAG_KEEP)


def kept(operation: ops.Operation) -> bytes:
    return request(operation, flags=FLAG_KEEP)


def statuses(sock: socket.socket, count: int) -> list[Status]:
    """The next answers; their flags, like all that is no echo, are zero."""
    found = []
    for _ in range(count):
        response = read_response(sock)
        assert response[8:10] == b"\0\0"
        found.append(decode_response(response).status)
    return found


def test_many_requests_on_one_connection(service: Service) -> None:
    with connect(service.socket_path) as sock:
        for _ in range(200):
            sock.sendall(KEPT_PING)
            assert statuses(sock, 1) == [Status.SUCCESS]


def test_answers_come_in_the_order_of_requests(service: Service) -> None:
    """Whether worker, helper or writer answers them."""
    operations: list[tuple[ops.Operation, Status]] = [
        (ops.PsaGenerateKey("slow", templates.rsa_signing()), Status.SUCCESS),
        (ops.Ping(), Status.SUCCESS),
        (ops.PsaGenerateKey("quick", P256), Status.SUCCESS),
        (ops.PsaSignHash("quick", ES256, bytes(32)), Status.SUCCESS),
        (ops.PsaGenerateKey("quick", P256), Status.PSA_ERROR_ALREADY_EXISTS),
        (ops.PsaDestroyKey("slow"), Status.SUCCESS),
        (ops.PsaDestroyKey("quick"), Status.SUCCESS),
        (ops.PsaSignHash("quick", ES256, bytes(32)), Status.PSA_ERROR_DOES_NOT_EXIST),
        (ops.ListKeys(), Status.SUCCESS),
    ]
    with connect(service.socket_path) as sock:
        sock.sendall(b"".join(kept(operation) for operation, _ in operations))
        assert statuses(sock, len(operations)) == [status for _, status in operations]


def test_pipelined_requests_are_all_answered_even_if_the_client_says_no_more(service: Service) -> None:
    with connect(service.socket_path) as sock:
        sock.sendall(KEPT_PING * 100)
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock) == exchange(service.socket_path, PING) * 100


def test_connection_ends_after_the_request_that_does_not_ask_to_keep_it(service: Service) -> None:
    with connect(service.socket_path) as sock:
        sock.sendall(KEPT_PING * 2 + PING + KEPT_PING)
        assert read_to_end(sock) == exchange(service.socket_path, PING) * 3


@pytest.mark.parametrize("flags", [0, FLAG_EXTENDED, 0xFFFC])
def test_one_answer_and_the_end_without_the_flag(service: Service, flags: int) -> None:
    with connect(service.socket_path) as sock:
        sock.sendall(request(ops.Ping(), flags=flags))
        response = read_to_end(sock)
    assert response == exchange(service.socket_path, PING)


def test_refused_requests_keep_the_connection_too(service: Service) -> None:
    with connect(service.socket_path) as sock:
        sock.sendall(kept(ops.PsaDestroyKey("nothing")))
        sock.sendall(header(opcode=0x9999, flags=FLAG_KEEP))
        sock.sendall(header(auth_type=1, flags=FLAG_KEEP))
        sock.sendall(PING)
        assert statuses(sock, 4) == [
            Status.PSA_ERROR_DOES_NOT_EXIST,
            Status.OPCODE_DOES_NOT_EXIST,
            Status.AUTHENTICATOR_NOT_REGISTERED,
            Status.SUCCESS,
        ]
        assert sock.recv(1) == b""


def test_what_is_no_request_ends_a_kept_connection(service: Service) -> None:
    with connect(service.socket_path) as sock:
        sock.sendall(KEPT_PING + b"rubbish" + KEPT_PING)
        assert statuses(sock, 2) == [Status.SUCCESS, Status.INVALID_HEADER]
        assert read_to_end(sock) == b""


def test_half_a_request_on_a_kept_connection_is_a_connection_error(limited: Service) -> None:
    with connect(limited.socket_path) as sock:
        sock.sendall(KEPT_PING + KEPT_PING[:20])
        assert statuses(sock, 2) == [Status.SUCCESS, Status.CONNECTION_ERROR]
        assert sock.recv(1) == b""


def test_connection_ends_after_so_many_requests(limited: Service) -> None:
    with connect(limited.socket_path) as sock:
        sock.sendall(KEPT_PING * 9)
        assert read_to_end(sock) == exchange(limited.socket_path, PING) * 5


def test_idle_connection_ends_without_a_word(limited: Service) -> None:
    with connect(limited.socket_path) as sock:
        sock.sendall(KEPT_PING)
        assert statuses(sock, 1) == [Status.SUCCESS]
        assert sock.recv(1) == b""
