"""Calls from one partition to another, over a real manager: what fails is told, and nothing is left behind."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from uuid import UUID

import pytest

from edgeroot.abi.emulation import CHANNEL_OPEN, FRAME
from edgeroot.abi.ffa import FunctionId
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.abi.ts_rpc import Call, call_outcome, call_request
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.runtime import peers
from edgeroot.secure.runtime.api import Reply
from edgeroot.secure.runtime.context import Context
from edgeroot.secure.runtime.endpoint import Endpoint
from edgeroot.secure.runtime.lanes import Lanes
from edgeroot.secure.runtime.manager import ManagerConnection, ManagerGoneError
from edgeroot.secure.runtime.peers import Session
from edgeroot.secure.spm import manager as spm
from edgeroot.secure.spm.manifest import NORMAL_WORLD, Manifest
from tests.support.partition_context import Scripted
from tests.support.partition_manager import ManagerWorld, Played, played_world

OTHER = UUID(int=5)
STORAGE = Manifest(
    name="storage", id=0x8001, module="m", services=(), boot_order=1, callers=frozenset({"crypto", "attestation"}),
    memory_slots=4,
)  # fmt: skip
CRYPTO = Manifest(
    name="crypto", id=0x8002, module="m", services=(), boot_order=2, callers=frozenset({NORMAL_WORLD, "attestation"}),
    memory_slots=4,
)  # fmt: skip
ATTESTATION = replace(CRYPTO, name="attestation", id=0x8003, boot_order=3, callers=frozenset({NORMAL_WORLD}))
ALL = (STORAGE, CRYPTO, ATTESTATION)


class Other(Scripted):
    uuid = OTHER


def connection(played: Played) -> ManagerConnection:
    [line] = played.contexts
    line.socket.settimeout(None)
    return ManagerConnection(line.socket, next(one.id for one in ALL if one.name == played.name))


@contextmanager
def session_of(
    manager: ManagerConnection, service: UUID = Scripted.uuid, *, own_id: int = CRYPTO.id
) -> Iterator[Session]:
    session = Session(manager, own_id, service)
    yield session
    if session._line is not None:
        session._line.close()


def serve(played: Played, manager: ManagerConnection, *services: Scripted) -> Thread:
    """Run the partition's execution context until the manager ends."""
    identity = next(one.id for one in ALL if one.name == played.name)
    context = Context(manager, Endpoint(services, manager, memory_slots=4), Lanes([]), own_id=identity, queue_depth=4)

    def run() -> None:
        try:
            context.run()
        except (ManagerGoneError, OSError):
            pass
        finally:
            for channel in context._channels.values():
                channel.socket.close()
            context._poll.close()

    thread = Thread(target=run, daemon=True)
    thread.start()
    return thread


def with_storage(tmp_path: Path, service: Scripted, play: Callable[[ManagerWorld, ManagerConnection], None]) -> None:
    """A storage partition that serves, and a crypto partition that calls it."""

    def run(world: ManagerWorld) -> None:
        storage, crypto = world.stage.started(), world.stage.started()
        serve(storage, connection(storage), service)
        manager = connection(crypto)
        manager.ready()
        play(world, manager)

    played_world(tmp_path, [STORAGE, CRYPTO], run)


def test_request_and_response_go_through_and_the_service_learns_who_calls(tmp_path: Path) -> None:
    service = Scripted(lambda request: Reply(-140, request[::-1]))

    def play(_world: ManagerWorld, manager: ManagerConnection) -> None:
        with session_of(manager) as session:
            assert session.call(0x101, b"ask") == (-140, b"ksa")
            longest = bytes(session.capacity_bytes - 1) + b"!"
            assert session.call(0x101, longest) == (-140, longest[::-1])
            with pytest.raises(RpcError, match="INVALID_VALUE"):
                session.call(0x101, longest + b"!")

    with_storage(tmp_path, service, play)
    assert [(caller.source_id, opcode) for caller, opcode, *_ in service.calls] == [(CRYPTO.id, 0x101)] * 2


def test_a_refusal_is_told_and_the_session_goes_on(tmp_path: Path) -> None:
    service = Scripted()

    def refuse(_request: bytes) -> Reply:
        raise RpcError(RpcStatus.INVALID_REQUEST_BODY)

    def deny(_request: bytes) -> Reply:
        raise PsaError(PsaStatus.NOT_PERMITTED)

    def play(_world: ManagerWorld, manager: ManagerConnection) -> None:
        with session_of(manager) as session:
            service.reply = refuse
            with pytest.raises(RpcError, match="INVALID_REQUEST_BODY"):
                session.call(1, b"")
            service.reply = deny
            assert session.call(1, b"") == (PsaStatus.NOT_PERMITTED, b"")

    with_storage(tmp_path, service, play)
    assert len({caller.channel for caller, *_ in service.calls}) == 1


def test_a_service_that_nobody_has_is_not_reached_and_takes_no_memory(tmp_path: Path) -> None:
    def play(world: ManagerWorld, manager: ManagerConnection) -> None:
        with session_of(manager, OTHER) as nobody, session_of(manager) as session:
            for _ in range(10):  # more than there are slots
                with pytest.raises(RpcError, match=f"no partition offers the service {OTHER}"):
                    nobody.call(1, b"")
            assert session.call(1, b"") == (0, b"")
        assert world.connect().status()["storage"]["shared_regions"] <= 2

    with_storage(tmp_path, Scripted(), play)


def test_a_session_connects_anew_to_a_partition_that_has_died_as_often_as_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spm, "_LONGEST_DELAY_S", 0.01)
    service = Scripted()

    def play(world: ManagerWorld) -> None:
        storage, crypto = world.stage.started(), world.stage.started()
        manager = connection(crypto)
        manager.ready()
        with session_of(manager) as session:
            for _ in range(6):  # more than there are slots
                serving = serve(storage, connection(storage), service)
                assert session.call(1, b"") == (0, b"")
                storage.contexts[0].socket.shutdown(socket.SHUT_RDWR)
                storage.end()
                serving.join(20)
                with pytest.raises(RpcError, match="TRANSPORT_LAYER"):
                    session.call(1, b"")
                storage = world.stage.started()
            serve(storage, connection(storage), service)
            assert session.call(1, b"") == (0, b"")
        assert world.connect().status()["storage"]["shared_regions"] == 1

    played_world(tmp_path, [STORAGE, CRYPTO], play)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0",
        bytes(FRAME.size - 1),
        bytes(FRAME.size),
        FRAME.pack(FunctionId.ERROR, 0, 0xFFFFFFFC, 0, 0, 0, 0, 0, 1),
        FRAME.pack(FunctionId.MSG_SEND_DIRECT_RESP_32, 0, 0, 0, 0, 0, 0, 0, 99),
    ],
)
def test_what_is_no_answer_to_the_request_is_an_error_of_the_transport(tmp_path: Path, answer: bytes) -> None:
    def play(world: ManagerWorld) -> None:
        storage, crypto = world.stage.started(), world.stage.started()
        storage.ready()
        manager = connection(crypto)
        manager.ready()

        def lie() -> None:
            _, _, channel = storage.contexts[0].take_channel()
            with channel:
                while channel.recv(FRAME.size):  # whatever is asked
                    channel.send(answer)

        liar = Thread(target=lie, daemon=True)
        liar.start()
        with session_of(manager) as session, pytest.raises(RpcError, match="TRANSPORT_LAYER"):
            session.call(1, b"")
        liar.join(20)

    played_world(tmp_path, [STORAGE, CRYPTO], play)


def test_a_partition_that_does_not_answer_holds_up_its_caller_for_a_while_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_ANSWER_S", 0.05)

    def play(world: ManagerWorld) -> None:
        storage, crypto = world.stage.started(), world.stage.started()
        storage.ready()
        manager = connection(crypto)
        manager.ready()
        with session_of(manager) as session, pytest.raises(RpcError, match="TRANSPORT_LAYER"):
            session.call(1, b"")
        storage.contexts[0].take_channel()[2].close()

    played_world(tmp_path, [STORAGE, CRYPTO], play)


def test_partitions_in_a_chain_call_each_other_under_load_and_none_waits_for_ever(tmp_path: Path) -> None:
    """Attestation calls crypto and storage, crypto calls storage; a user calls both, from several channels at once."""

    def play(world: ManagerWorld) -> None:
        with ExitStack() as stack:
            run(world, stack)

    def run(world: ManagerWorld, stack: ExitStack) -> None:
        storage, crypto, attestation = (world.stage.started() for _ in ALL)
        of_crypto, of_attestation = connection(crypto), connection(attestation)
        in_storage = stack.enter_context(session_of(of_crypto, OTHER))

        def through_storage(request: bytes) -> Reply:
            status, data = in_storage.call(1, request)
            return Reply(status, data)

        middle = Scripted(through_storage)
        ask_middle = stack.enter_context(session_of(of_attestation, own_id=ATTESTATION.id))
        ask_storage = stack.enter_context(session_of(of_attestation, OTHER, own_id=ATTESTATION.id))

        class Top(Scripted):
            uuid = UUID(int=6)

        def through_both(_request: bytes) -> Reply:
            first, second = ask_middle.call(1, b"abc"), ask_storage.call(1, b"def")
            assert (first, second) == ((1, b"cba"), (1, b"fed"))
            return Reply(2)

        serve(storage, connection(storage), Other(lambda request: Reply(1, request[::-1])))
        serve(crypto, of_crypto, middle)
        serve(attestation, of_attestation, Top(through_both))
        user = world.connect()
        while (opened := user.call(CHANNEL_OPEN, ATTESTATION.id)).frame[0] != FunctionId.SUCCESS_32:
            pass  # it is starting
        os.close(opened.descriptors[0])
        outcomes: list[int] = []
        channels = [stack.enter_context(user.open_channel(ATTESTATION.id)) for _ in range(4)]

        def load(channel: socket.socket) -> None:
            channel.settimeout(20)
            for tag in range(50):
                route = 1 << 16 | ATTESTATION.id
                channel.send(FRAME.pack(FunctionId.MSG_SEND_DIRECT_REQ_32, route, 0, *call_request(Call(0, 1)), tag))
                outcomes.append(call_outcome(FRAME.unpack(channel.recv(FRAME.size))[3:8]).service_status)

        threads = [Thread(target=load, args=(channel,), daemon=True) for channel in channels]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert outcomes == [2] * 200

    played_world(tmp_path, ALL, play)
