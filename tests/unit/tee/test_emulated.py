"""The transport to emulated partitions, against a manager and a partition whose every answer the tests decide."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer
from time import monotonic, sleep

import pytest

from edgeroot.abi.emulation import CHANNEL_OPEN, FRAME, MANAGER_STATUS
from edgeroot.abi.ffa import FfaError, FunctionId
from edgeroot.abi.rpc_status import RpcStatus
from edgeroot.abi.services import ATTESTATION, CRYPTO
from edgeroot.abi.ts_rpc import ManagementOpcode, Words, failure_response, status_response
from edgeroot.tee.api import NoSuchServiceError, TeeBusyError, TeeError, TeeRefusedError
from edgeroot.tee.transports.emulated import (
    EmulatedTransport,
    ManagerConnection,
    NotReadyError,
    SharedBuffer,
    WorldGoneError,
)
from tests.support.forked import exit_code_of
from tests.support.scripted_world import (
    ENDPOINT_ID,
    OWN_ID,
    Asked,
    Reply,
    ScriptedWorld,
    ServiceCall,
    error,
    scripted_world,
    success,
)

SHARE = FunctionId.MEM_SHARE_32
MANAGERS_CALLS = [FunctionId.VERSION, FunctionId.ID_GET, FunctionId.PARTITION_INFO_GET, CHANNEL_OPEN, SHARE]
NOT_A_FRAME = bytes(FRAME.size - 1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ScriptedWorld]:
    with scripted_world(tmp_path / "spm.sock") as running:
        yield running


@pytest.fixture
def transport(world: ScriptedWorld) -> Iterator[EmulatedTransport]:
    with EmulatedTransport(world.path, start_timeout_s=0.1) as opened:
        yield opened


@pytest.fixture
def manager(world: ScriptedWorld) -> Iterator[ManagerConnection]:
    connection = ManagerConnection(world.path, timeout_s=0.2)
    yield connection
    connection.close()


def answering(code: int) -> Callable[[Asked], Reply]:
    return lambda _asked: error(code)


def raised(transport: Callable[[], object]) -> TeeError:
    with pytest.raises(TeeError) as caught:
        transport()
    return caught.value


def opened_and_used(world: ScriptedWorld) -> None:
    """A whole session."""
    with EmulatedTransport(world.path, start_timeout_s=0.05) as transport, transport.open_session(CRYPTO) as session:
        session.call(1, b"request")


def own_descriptors(world: ScriptedWorld) -> int:
    """What this process has open beside what the scripted world has in it."""
    gc.collect()
    theirs = len(world.memory) + len(world.channels) + len(world.connections)
    return len(os.listdir("/proc/self/fd")) - theirs


def comes_to(world: ScriptedWorld, descriptors: int) -> bool:
    """Whether so many are open, as soon as the world's threads have closed what they have passed on."""
    until_s = monotonic() + 2
    while own_descriptors(world) != descriptors and monotonic() < until_s:
        sleep(0.005)
    return own_descriptors(world) == descriptors


class TestSessions:
    def test_a_call_goes_through_shared_memory(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        seen: list[tuple[int, bytes]] = []

        def answer(call: ServiceCall) -> None:
            seen.append((call.opcode, call.request))
            call.reply(-137, b"the answer" * len(seen))

        world.on_call = answer
        with transport.open_session(CRYPTO, buffer_bytes=5000) as session:
            assert session.capacity_bytes == 8192
            assert session.call(0x101, b"the request") == (-137, b"the answer")
            assert session.call(0xFFFF, bytes(8192)) == (-137, b"the answer" * 2)
        assert seen == [(0x101, b"the request"), (0xFFFF, bytes(8192))]
        assert transport.own_id == OWN_ID
        assert [info.id for info in transport.partitions()] == [ENDPOINT_ID]

    def test_a_request_that_does_not_fit_is_not_sent(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        calls: list[ServiceCall] = []
        world.on_call = calls.append
        with (
            transport.open_session(CRYPTO, buffer_bytes=4096) as session,
            pytest.raises(ValueError, match="4097 bytes"),
        ):
            session.call(1, bytes(4097))
        assert calls == []

    def test_a_closed_session_gives_its_memory_back(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        transport.open_session(CRYPTO).close()
        assert world.relinquished == world.reclaimed == list(world.memory)

    def test_it_closes_also_when_everybody_has_gone(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        session = transport.open_session(CRYPTO)
        world.stop()
        session.close()

    def test_nothing_stays_open(self, world: ScriptedWorld) -> None:
        before = own_descriptors(world)
        opened_and_used(world)
        assert comes_to(world, before)

    @pytest.mark.parametrize("function", MANAGERS_CALLS)
    @pytest.mark.parametrize("answer", [answering(FfaError.ABORTED), lambda _asked: None, lambda _asked: NOT_A_FRAME])
    def test_nothing_stays_open_after_a_failure_either(
        self, world: ScriptedWorld, function: int, answer: Callable[[Asked], Reply | None]
    ) -> None:
        before = own_descriptors(world)
        world.answers[function] = answer
        raised(lambda: opened_and_used(world))
        assert comes_to(world, before)


class TestCalls:
    def test_a_call_that_reached_no_service(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        world.on_call = lambda call: call.refuse(RpcStatus.INVALID_REQUEST_BODY)
        with transport.open_session(CRYPTO) as session:
            refusal = raised(lambda: session.call(1, b""))
            assert isinstance(refusal, TeeRefusedError)
            assert "INVALID_REQUEST_BODY" in str(refusal)
            world.on_call = lambda call: call.reply()
            assert session.call(1, b"") == (0, b"")

    @pytest.mark.parametrize(
        ("code", "kind"), [(FfaError.BUSY, TeeBusyError), (FfaError.RETRY, NotReadyError), (FfaError.ABORTED, TeeError)]
    )
    def test_an_error_in_the_place_of_an_answer(
        self, world: ScriptedWorld, transport: EmulatedTransport, code: FfaError, kind: type[TeeError]
    ) -> None:
        world.on_call = lambda call: call.error(code)
        with transport.open_session(CRYPTO) as session:
            assert type(raised(lambda: session.call(1, b""))) is kind
            world.on_call = lambda call: call.reply()
            assert session.call(1, b"") == (0, b"")

    def test_a_partition_that_ends_during_a_call(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        world.on_call = lambda _call: world.kill_partition()
        with transport.open_session(CRYPTO) as session:
            assert type(raised(lambda: session.call(1, b""))) is WorldGoneError
            assert type(raised(lambda: session.call(1, b""))) is WorldGoneError

    def test_an_answer_that_is_no_frame(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        world.on_call = lambda call: _send(call, NOT_A_FRAME)
        with transport.open_session(CRYPTO) as session:
            assert type(raised(lambda: session.call(1, b""))) is WorldGoneError

    def test_an_answer_with_another_function(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        world.on_call = lambda call: _send(call, FRAME.pack(FunctionId.YIELD, 0, 0, 0, 0, 0, 0, 0, call.frame[8]))
        with transport.open_session(CRYPTO) as session:
            assert "0x8400006c" in str(raised(lambda: session.call(1, b"")))

    def test_a_response_longer_than_the_buffer_is_cut(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        world.on_call = lambda call: call.words((call.frame[3], 0, 0, 0xFFFFFFFF, 0))
        with transport.open_session(CRYPTO, buffer_bytes=4096) as session:
            assert len(session.call(1, b"")[1]) == 4096

    def test_an_answer_that_comes_too_late_is_not_that_of_the_next_call(
        self, world: ScriptedWorld, transport: EmulatedTransport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        late: list[ServiceCall] = []
        world.on_call = late.append
        channel, interface = transport.find(CRYPTO)
        buffer = channel.share(4096)
        words = (interface << 16 | 1, buffer.handle & 0xFFFFFFFF, buffer.handle >> 32, 0, 0)
        assert "not answered" in str(raised(lambda: channel.exchange(words, timeout_s=0.05)))
        try:
            late[0].reply(0, b"of the first")
        except OSError:
            pass  # nobody takes it any more
        assert type(raised(lambda: channel.exchange(words, timeout_s=1))) is WorldGoneError
        buffer.close()


class TestFinding:
    def test_the_partition_that_has_the_service_is_found(self, world: ScriptedWorld) -> None:
        world.endpoint_ids = (0x8001, 0x8002, 0x8003)
        opened: list[int] = []

        def open_channel(asked: Asked) -> Reply:
            opened.append(asked.registers[1])
            world.services = (CRYPTO,) if asked.registers[1] == 0x8002 else ()
            return success(descriptors=[world.new_channel()])

        world.answers[CHANNEL_OPEN] = open_channel
        before = own_descriptors(world)
        opened_and_used(world)
        assert opened == [0x8001, 0x8002]
        assert comes_to(world, before)

    def test_a_service_that_nobody_offers(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        before = own_descriptors(world)
        assert type(raised(lambda: transport.open_session(ATTESTATION))) is NoSuchServiceError
        assert comes_to(world, before)

    def test_no_partition_at_all(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        world.endpoint_ids = ()
        assert type(raised(lambda: transport.open_session(CRYPTO))) is NoSuchServiceError

    def test_a_list_of_partitions_that_is_cut(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        world.answers[FunctionId.PARTITION_INFO_GET] = lambda _asked: success(1, 24, payload=bytes(23))
        assert "malformed" in str(raised(lambda: transport.open_session(CRYPTO)))

    def test_another_version_of_the_protocol(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        world.management[ManagementOpcode.VERSION_GET] = lambda words: (words[0], 2, 0, 0, 0)
        assert "TS RPC version 2" in str(raised(lambda: transport.open_session(CRYPTO)))

    def test_a_partition_that_will_not_say_what_it_offers(
        self, world: ScriptedWorld, transport: EmulatedTransport
    ) -> None:
        world.management[ManagementOpcode.SERVICE_INFO] = lambda words: failure_response(words[0], RpcStatus.INTERNAL)
        assert type(raised(lambda: transport.open_session(CRYPTO))) is TeeRefusedError

    def test_a_partition_that_ends_meanwhile(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        world.management[ManagementOpcode.SERVICE_INFO] = lambda _words: None
        assert type(raised(lambda: transport.open_session(CRYPTO))) is WorldGoneError


class TestChannels:
    def test_a_partition_that_is_starting_is_waited_for(self, world: ScriptedWorld) -> None:
        world.answers[CHANNEL_OPEN] = answering(FfaError.RETRY)
        ready = Timer(0.1, world.answers.clear)
        with EmulatedTransport(world.path) as transport:
            ready.start()
            with transport.open_session(CRYPTO) as session:
                assert session.call(1, b"") == (0, b"")
        ready.join()
        assert world.asked.count(CHANNEL_OPEN) > 2

    def test_but_not_for_ever(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        world.answers[CHANNEL_OPEN] = answering(FfaError.RETRY)
        began_s = monotonic()
        assert type(raised(lambda: transport.open_session(CRYPTO))) is NotReadyError
        assert 0.1 <= monotonic() - began_s < 2

    def test_a_busy_manager(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        world.answers[CHANNEL_OPEN] = answering(FfaError.BUSY)
        assert type(raised(lambda: transport.open_channel(ENDPOINT_ID))) is TeeBusyError

    @pytest.mark.parametrize("count", [0, 2])
    def test_another_number_of_descriptors_than_one(
        self, world: ScriptedWorld, transport: EmulatedTransport, count: int
    ) -> None:
        world.answers[CHANNEL_OPEN] = lambda _asked: success(descriptors=[os.dup(0) for _ in range(count)])
        before = own_descriptors(world)
        assert "no channel" in str(raised(lambda: transport.open_channel(ENDPOINT_ID)))
        assert comes_to(world, before)

    def test_memory_that_the_manager_refuses(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        world.answers[SHARE] = answering(FfaError.NO_MEMORY)
        before = own_descriptors(world)
        assert "NO_MEMORY" in str(raised(lambda: transport.open_session(CRYPTO)))
        assert comes_to(world, before)

    def test_memory_that_the_partition_does_not_take(self, world: ScriptedWorld, transport: EmulatedTransport) -> None:
        def refuse(words: Words) -> Words:
            return status_response(words[0], RpcStatus.RESOURCE_FAILURE)

        world.management[ManagementOpcode.MEMORY_RETRIEVE] = refuse
        before = own_descriptors(world)
        refusal = raised(lambda: transport.open_session(CRYPTO))
        assert type(refusal) is TeeRefusedError
        assert "RESOURCE_FAILURE" in str(refusal)
        assert comes_to(world, before)

    def test_memory_that_this_process_cannot_have(
        self, world: ScriptedWorld, transport: EmulatedTransport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_memory(_name: str, _flags: int) -> int:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(os, "memfd_create", no_memory)
        assert "Too many open files" in str(raised(lambda: transport.open_session(CRYPTO)))
        assert world.memory == {}

    def test_shared_memory_can_neither_grow_nor_shrink(self) -> None:
        buffer = SharedBuffer(4097)
        assert (buffer.size_bytes, buffer.page_count) == (8192, 2)
        for size_bytes in (4096, 16384):
            with pytest.raises(PermissionError):
                os.ftruncate(buffer.descriptor, size_bytes)
        buffer.close()
        buffer.forget_descriptor()


class TestManager:
    def test_nobody_there(self, tmp_path: Path) -> None:
        path = tmp_path / "none"
        assert str(raised(lambda: ManagerConnection(path))) == (
            f"no secure world answers at {path}: No such file or directory"
        )
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left:
            left.bind(str(path))
        assert type(raised(lambda: ManagerConnection(path))) is WorldGoneError

    def test_a_socket_of_another_kind(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "stream"))
            listener.listen()
            assert type(raised(lambda: ManagerConnection(tmp_path / "stream"))) is WorldGoneError

    @pytest.mark.usefixtures("as_root")
    def test_another_users_socket_is_told_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "spm.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(path))
            assert exit_code_of(lambda: _listen_as_another(listener)) == 0
            assert "belongs to user 60000" in str(raised(lambda: EmulatedTransport(path)))
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(100) == b""

    def test_without_a_descriptor_left(self, world: ScriptedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_socket(*_arguments: object) -> socket.socket:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(socket, "socket", no_socket)
        assert str(raised(lambda: ManagerConnection(world.path))) == "no socket can be made: Too many open files"

    def test_a_user_who_is_not_listed(self, world: ScriptedWorld) -> None:
        world.answers[FunctionId.VERSION] = answering(FfaError.DENIED)
        assert "secure-world run --allow" in str(raised(lambda: EmulatedTransport(world.path)))

    @pytest.mark.parametrize(
        ("version", "spoken"), [(0x0001_0001, None), (0x0001_0002, None), (0x0002_0000, "2.0"), (0x0000_0009, "0.9")]
    )
    def test_versions(self, world: ScriptedWorld, manager: ManagerConnection, version: int, spoken: str | None) -> None:
        world.answers[FunctionId.VERSION] = lambda _asked: Reply((version, *(0,) * 7))
        if spoken is None:
            assert manager.hello() == OWN_ID
        else:
            assert f"speaks FF-A {spoken}, not 1.1" in str(raised(manager.hello))

    @pytest.mark.parametrize(
        ("answer", "text"),
        [
            (error(-9), "NO_DATA"),
            (error(-99), "-99"),
            (Reply((FunctionId.SUCCESS_64, *(0,) * 7)), "0xc4000061"),
            (Reply((0, *(0,) * 7)), "0x00000000"),
        ],
    )
    def test_an_answer_that_is_no_success(
        self, world: ScriptedWorld, manager: ManagerConnection, answer: Reply, text: str
    ) -> None:
        world.answers[FunctionId.PARTITION_INFO_GET] = lambda _asked: answer
        assert text in str(raised(manager.partitions))

    @pytest.mark.parametrize("answer", [b"", b"?", NOT_A_FRAME, None])
    def test_a_manager_that_ends_or_talks_nonsense(
        self, world: ScriptedWorld, manager: ManagerConnection, answer: bytes | None
    ) -> None:
        world.answers[FunctionId.PARTITION_INFO_GET] = lambda _asked: answer
        assert type(raised(manager.partitions)) is WorldGoneError

    def test_a_manager_that_hangs_is_not_asked_again(self, world: ScriptedWorld, manager: ManagerConnection) -> None:
        def late(_asked: Asked) -> Reply:
            sleep(0.3)
            return success(0x7777)

        world.answers[FunctionId.PARTITION_INFO_GET] = late
        assert type(raised(manager.partitions)) is WorldGoneError
        sleep(0.2)
        # The answer that came too late must not be taken for this one's.
        assert type(raised(manager.hello)) is WorldGoneError

    def test_a_refusal_is_heard_also_when_the_manager_has_hung_up(
        self, world: ScriptedWorld, manager: ManagerConnection
    ) -> None:
        world.answers[FunctionId.VERSION] = answering(FfaError.DENIED)
        while not world.connections:
            sleep(0.001)
        [connection] = world.connections
        registers = error(FfaError.DENIED).registers
        connection.send(FRAME.pack(*registers, 0))
        connection.shutdown(socket.SHUT_RDWR)
        assert "refuses this user" in str(raised(manager.hello))

    @pytest.mark.parametrize("size", [0, 1, 4096, 4097, 20000])
    def test_a_status_comes_in_pages(self, world: ScriptedWorld, manager: ManagerConnection, size: int) -> None:
        world.status = bytes(number % 251 for number in range(size))
        assert manager.status() == world.status
        assert world.asked.count(MANAGER_STATUS) == max(1, -(-size // 4096))

    def test_a_status_that_ends_too_early(self, world: ScriptedWorld, manager: ManagerConnection) -> None:
        world.answers[MANAGER_STATUS] = lambda asked: success(9999, payload=b"" if asked.registers[1] else bytes(4096))
        assert manager.status() == bytes(4096)


def _send(call: ServiceCall, data: bytes) -> None:
    call.channel.send(data)


def _listen_as_another(listener: socket.socket) -> None:
    """The kernel keeps who called listen() as whoever is at the other end."""
    os.seteuid(60000)
    listener.listen()
