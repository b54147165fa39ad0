"""The bridge between programs for Linux's TSTEE driver and an emulated world: here a world that notes every byte."""

from __future__ import annotations

import mmap
import os
import shutil
import socket
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest

from edgeroot.abi.emulation import CHANNEL_OPEN, FRAME
from edgeroot.abi.ffa import FfaError, FunctionId, PartitionInfo, uuid_from_words, uuid_words
from edgeroot.abi.memory import Transaction
from edgeroot.abi.services import CRYPTO, PROTECTED_STORAGE, TS_RPC_FFA_UUID
from edgeroot.secure.bridge.build import BridgeError, build_bridge
from tests.support.requirements import unavailable
from tests.support.world import running_world

OWN_ID, STORAGE_ID, CRYPTO_ID = 0x21, 0x8001, 0x8002
SERVICES = {STORAGE_ID: [PROTECTED_STORAGE], CRYPTO_ID: [UUID(int=1), CRYPTO]}
ECHO, STATUS, RPC_ERROR, BUSY, END, TOO_LONG = range(0x10, 0x16)
TIMEOUT_S = 60

Frame = tuple[int, ...]


@dataclass
class NotedWorld:
    """Speaks the manager's and the endpoints' side, and keeps what it was sent: registers and what followed them."""

    path: Path
    to_manager: list[tuple[Frame, bytes]] = field(default_factory=list)
    to_endpoint: list[Frame] = field(default_factory=list)
    shared: dict[int, mmap.mmap] = field(default_factory=dict)
    retrieved: set[int] = field(default_factory=set)
    refusals: dict[int, list[FfaError]] = field(default_factory=dict)
    slots_taken: bool = False
    version: int = 1
    users: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self._handle = 0x1_0000_0000_0000
        self._lock = threading.Lock()
        self._start(self._accept)

    def close(self) -> None:
        for one in self._sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()
        for one in self._sockets:
            one.close()
        for memory in self.shared.values():
            memory.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.users += 1
            self._sockets.append(connection)
            self._start(self._manage, connection)

    def _manage(self, connection: socket.socket) -> None:
        while True:
            data, ancillary, _, _ = connection.recvmsg(8192, 1024)
            if not data:
                return
            descriptors = [fd for one in ancillary for fd in array("i", one[2])]
            frame = FRAME.unpack_from(data)
            self.to_manager.append((frame[:8], data[FRAME.size :]))
            words, payload, given = self._manager_call(frame, data[FRAME.size :], descriptors)
            answer = FRAME.pack(*words, *(0,) * (8 - len(words)), frame[8]) + payload
            socket.send_fds(connection, [answer], given)
            for descriptor in descriptors + given:
                os.close(descriptor)

    def _manager_call(self, frame: Frame, payload: bytes, descriptors: list[int]) -> tuple[Frame, bytes, list[int]]:
        function = frame[0]
        if self.refusals.get(function):
            return (FunctionId.ERROR, 0, self.refusals[function].pop(0) & 0xFFFFFFFF), b"", []
        success = FunctionId.SUCCESS_32
        match function:
            case FunctionId.VERSION:
                return (0x10001,), b"", []
            case FunctionId.ID_GET:
                return (success, 0, OWN_ID), b"", []
            case FunctionId.PARTITION_INFO_GET:
                infos = [PartitionInfo(one, 1, 0x103, TS_RPC_FFA_UUID).encode() for one in SERVICES]
                return (success, 0, len(infos), 24), b"".join(infos), []
            case FunctionId.MEM_SHARE_32:
                with self._lock:
                    self._handle += 1
                    page_count = Transaction.decode(payload).page_count
                    self.shared[self._handle] = mmap.mmap(descriptors[0], page_count * 4096)
                    return (success, 0, self._handle & 0xFFFFFFFF, self._handle >> 32), b"", []
            case FunctionId.MEM_RECLAIM:
                handle = frame[2] << 32 | frame[1]
                assert handle not in self.retrieved
                self.shared.pop(handle).close()
                return (success,), b"", []
            case _ if function == CHANNEL_OPEN:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                self._sockets.append(ours)
                self._start(self._serve, ours, frame[1])
                return (success,), b"", [theirs.detach()]
        return (FunctionId.ERROR, 0, FfaError.NOT_SUPPORTED & 0xFFFFFFFF), b"", []

    def _serve(self, channel: socket.socket, endpoint: int) -> None:
        while data := channel.recv(4096):
            frame = FRAME.unpack(data)
            self.to_endpoint.append(frame[:8])
            answer = self._answer(frame, endpoint)
            if answer is None:
                channel.shutdown(socket.SHUT_RDWR)
                return
            channel.send(FRAME.pack(*answer, *(0,) * (8 - len(answer)), frame[8]))

    def _answer(self, frame: Frame, endpoint: int) -> Frame | None:
        control, low, high, length = frame[3:7]
        handle = high << 32 | low
        words: Frame
        match control >> 16, control & 0xFFFF:
            case 0xFF, 0:
                words = (self.version,)
            case 0xFF, 1:
                words = (-3 & 0xFFFFFFFF if self.slots_taken else 0,)
                if not self.slots_taken:
                    assert handle in self.shared
                    self.retrieved.add(handle)
            case 0xFF, 2:
                self.retrieved.remove(handle)
                words = (0,)
            case 0xFF, 3:
                wanted = uuid_from_words(frame[4:8])
                offered = SERVICES[endpoint]
                words = (0, offered.index(wanted)) if wanted in offered else (-3 & 0xFFFFFFFF,)
            case _, 0x10:  # ECHO
                memory = self.shared[handle]
                memory[:length] = memory[:length][::-1]
                words = (0, 0, length)
            case _, 0x11:  # STATUS
                words = (0, -137 & 0xFFFFFFFF, 0)
            case _, 0x12:  # RPC_ERROR
                words = (-6 & 0xFFFFFFFF, 0, 0)
            case _, 0x13:  # BUSY
                return FunctionId.ERROR, 0, FfaError.BUSY & 0xFFFFFFFF
            case _, 0x15:  # TOO_LONG
                words = (0, 0, 99999)
            case _:
                return None
        return FunctionId.MSG_SEND_DIRECT_RESP_32, endpoint << 16 | OWN_ID, 0, control, *words


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        unavailable("this needs a C compiler")
    return build_bridge(tmp_path_factory.mktemp("bridge") / "teebridge.so")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in C, built as distributions build theirs."""
    program = tmp_path_factory.mktemp("client") / "tee_client"
    source = Path(__file__).with_name("tee_client.c")
    flags = ["-O2", "-D_FORTIFY_SOURCE=2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *flags, "-o", program, source, "-pthread"], check=True)
    return program


@pytest.fixture
def world(tmp_path: Path) -> Iterator[NotedWorld]:
    world = NotedWorld(tmp_path / "spm.sock")
    yield world
    world.close()


def run(bridge: Path, socket_path: Path, *arguments: object) -> list[str]:
    environment = os.environ | {"LD_PRELOAD": str(bridge), "EDGEROOT_SECURE_WORLD": str(socket_path)}
    done = subprocess.run(
        list(map(str, arguments)), env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout.splitlines()


def test_a_program_sees_what_the_driver_would_show_it(bridge: Path, client: Path, world: NotedWorld) -> None:
    assert run(bridge, world.path, client, "walk") == [
        "open 7: ENOENT",
        "open priv: ENOENT",
        "open: ok",
        "version: ok 3 0x8002 0",
        "session: ok 0",
        "another: ok 1",
        "strange: ENODEV",
        "memory: ok 8192 1",
        "seals: 0x7",
        "close: ok",
        "invoke: ok 0 7 tseuqer origin 7 b 7 c 5",
        "status: ok -137 0",
        "no memory: ok -137 0",
        "too long: ok 1",
        "rpc error: EINVAL 99",
        "busy: EBUSY",
        "no session: EINVAL",
        "no such memory: EINVAL",
        "longer than memory: EINVAL",
        "wrong parameter: EINVAL",
        "wrong length: EINVAL",
        "no parameter: EINVAL",
        "another's session: EINVAL",
        "session there: ok 0",
        "another's memory: EINVAL",
        "memory there: 4096 2",
        "flags: EINVAL",
        "register: ENOTSUPP",
        "cancel: EINVAL",
        "unknown: EINVAL",
        "close session: ok",
        "and again: EINVAL",
        "unmap: ok",
        "after unmap: EINVAL",
        "close: ok",
        "after close: EBADF",
    ]
    assert world.users == 1
    assert len(world.shared) == 1  # that which is still mapped when the program ends; the other was taken back


PYTHON_CLIENT = """
from uuid import UUID
from edgeroot.tee.transports.tstee import TsteeTransport
with TsteeTransport() as transport:
    with transport.open_session(UUID("d9df52d5-16a2-4bb2-9aa4-d26d3b84e8c0"), buffer_bytes=5000) as session:
        print(session.capacity_bytes, *session.call(0x10, b"request"))
        print(*session.call(0x11, b""))
        for opcode in (0x12, 0x13, 0x14):
            try:
                session.call(opcode, b"")
            except Exception as error:
                print(type(error).__name__)
    try:
        transport.open_session(UUID(int=5))
    except Exception as error:
        print(type(error).__name__)
"""


def test_our_own_transport_goes_over_the_bridge_byte_for_byte(bridge: Path, world: NotedWorld) -> None:
    assert run(bridge, world.path, sys.executable, "-c", PYTHON_CLIENT) == [
        "8192 0 b'tseuqer'",
        "-137 b''",
        "TeeRefusedError",
        "TeeBusyError",
        "TeeError",
        "NoSuchServiceError",
    ]
    uuid, zeros = uuid_words(TS_RPC_FFA_UUID), (0,) * 8
    sharing = Transaction.share(sender=OWN_ID, receiver=CRYPTO_ID, page_count=2).encode()
    discovery = ((0x84000068, *uuid, 0, 0, 0), b"")
    assert world.to_manager[:7] == [
        ((0x84000063, 0x10001, *zeros[:6]), b""),
        ((0x84000069, *zeros[:7]), b""),
        discovery,
        ((0x86000001, STORAGE_ID, *zeros[:6]), b""),
        discovery,
        ((0x86000001, CRYPTO_ID, *zeros[:6]), b""),
        ((0x84000073, 96, 96, *zeros[:5]), sharing),
    ]
    handle = (1, 0x10000)
    crypto = uuid_words(CRYPTO)
    to_storage = (0x8400006F, OWN_ID << 16 | STORAGE_ID, 0)
    to_crypto = (0x8400006F, OWN_ID << 16 | CRYPTO_ID, 0)
    assert world.to_endpoint[:10] == [
        (*to_storage, 0x00FF0000, 0, 0, 0, 0),
        (*to_storage, 0x00FF0003, *crypto),
        (*to_crypto, 0x00FF0000, 0, 0, 0, 0),
        (*to_crypto, 0x00FF0003, *crypto),
        (*to_crypto, 0x00FF0001, *handle, 0, 0),
        (*to_crypto, 0x00010010, *handle, 7, 0),
        (*to_crypto, 0x00010011, *handle, 0, 0),
        (*to_crypto, 0x00010012, *handle, 0, 0),
        (*to_crypto, 0x00010013, *handle, 0, 0),
        (*to_crypto, 0x00010014, *handle, 0, 0),
    ]


def test_memory_is_given_back_with_its_session(bridge: Path, world: NotedWorld) -> None:
    program = """
from uuid import UUID
from edgeroot.tee.transports.tstee import TsteeTransport
for _ in range(40):
    with TsteeTransport().open_session(UUID("d9df52d5-16a2-4bb2-9aa4-d26d3b84e8c0")) as session:
        session.call(0x10, b"x")
"""
    run(bridge, world.path, sys.executable, "-c", program)
    assert not world.shared
    assert not world.retrieved
    assert world.to_endpoint[-1][3:] == (0x00FF0002, 40, 0x10000, 0, 0)
    assert world.to_manager[-1][0] == (0x84000077, 40, 0x10000, 0, 0, 0, 0, 0)


def test_threads_share_a_device_and_open_others(bridge: Path, client: Path, world: NotedWorld) -> None:
    assert run(bridge, world.path, client, "threads") == ["failures: 0"]
    assert not world.retrieved


def test_the_child_of_a_fork_starts_anew(bridge: Path, client: Path, world: NotedWorld) -> None:
    assert run(bridge, world.path, client, "fork") == [
        "child, parent's device: ENOTTY",
        "child, own device: ok",
        "parent: ok -137",
    ]
    assert world.users == 2


def test_child_processes_of_a_program_leave_its_devices_alone(bridge: Path, world: NotedWorld) -> None:
    program = """
import subprocess
from uuid import UUID
from edgeroot.tee.transports.tstee import TsteeTransport
with TsteeTransport().open_session(UUID("d9df52d5-16a2-4bb2-9aa4-d26d3b84e8c0")) as session:
    for _ in range(3):
        print(subprocess.run(["true"], check=True).returncode, *session.call(0x10, b"ab"))
"""
    assert run(bridge, world.path, sys.executable, "-c", program) == ["0 0 b'ba'"] * 3
    assert not world.shared


def test_a_partition_that_ends_is_told_and_its_successor_found(bridge: Path, client: Path, world: NotedWorld) -> None:
    assert run(bridge, world.path, client, "outlive") == ["it ends: ECANCELED", "later: ECANCELED", "anew: ok"]


@pytest.mark.parametrize(
    ("function", "error", "name"),
    [
        (FunctionId.ID_GET, FfaError.DENIED, "EACCES"),
        (FunctionId.PARTITION_INFO_GET, FfaError.NOT_SUPPORTED, "EOPNOTSUPP"),
        (CHANNEL_OPEN, FfaError.NO_MEMORY, "ENOMEM"),
        (CHANNEL_OPEN, FfaError.BUSY, "EBUSY"),
        (CHANNEL_OPEN, FfaError.INVALID_PARAMETERS, "EINVAL"),
        (CHANNEL_OPEN, FfaError.ABORTED, "ECANCELED"),
    ],
)
def test_what_the_manager_refuses(
    bridge: Path, client: Path, world: NotedWorld, function: int, error: FfaError, name: str
) -> None:
    world.refusals[function] = [error]
    assert run(bridge, world.path, client, "/dev/tee0") == [name]


def test_a_partition_that_is_just_starting_is_waited_for(bridge: Path, client: Path, world: NotedWorld) -> None:
    world.refusals[CHANNEL_OPEN] = [FfaError.RETRY] * 3
    assert run(bridge, world.path, client, "/dev/tee0") == ["ok"]
    assert [frame[0] for frame, _ in world.to_manager].count(CHANNEL_OPEN) == 4


def test_an_endpoint_of_another_protocol_version_is_no_device(bridge: Path, client: Path, world: NotedWorld) -> None:
    world.version = 2
    assert run(bridge, world.path, client, "/dev/tee0") == ["ENOENT"]


def test_memory_that_the_partition_has_no_slot_for(bridge: Path, world: NotedWorld) -> None:
    world.slots_taken = True
    program = """
from uuid import UUID
from edgeroot.tee.transports.tstee import TsteeTransport
try:
    TsteeTransport().open_session(UUID("d9df52d5-16a2-4bb2-9aa4-d26d3b84e8c0"))
except Exception as error:
    print(type(error).__name__, error)
"""
    (line,) = run(bridge, world.path, sys.executable, "-c", program)
    assert line == "TeeRefusedError /dev/tee1 shares no memory: Invalid argument"
    assert not world.shared


def test_without_a_world(bridge: Path, client: Path, tmp_path: Path) -> None:
    assert run(bridge, tmp_path / "none", client, "/dev/tee0") == ["ENOENT"]
    assert run(bridge, tmp_path / ("x" * 200), client, "/dev/tee0") == ["ENAMETOOLONG"]


def test_other_files_are_the_systems(bridge: Path, client: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert run(bridge, tmp_path / "none", client, file) == ["ok"]
    assert run(bridge, tmp_path / "none", client, tmp_path / "missing") == ["ENOENT"]
    program = f"""
import mmap, os
with open({str(file)!r}, "w+b", opener=lambda path, flags: os.open(path, flags | os.O_CREAT, 0o600)) as file:
    file.write(b"x" * 5000)
    file.flush()
    with mmap.mmap(file.fileno(), 5000) as memory:
        print(memory[4999:])
"""
    assert run(bridge, tmp_path / "none", sys.executable, "-c", program) == ["b'x'"]


REAL_CLIENT = """
import hashlib, struct, sys
from uuid import UUID
from edgeroot.tee.api import NoSuchServiceError
from edgeroot.tee.transports.tstee import TsteeTransport
transport = TsteeTransport()
with transport.open_session(UUID("d9df52d5-16a2-4bb2-9aa4-d26d3b84e8c0")) as crypto:
    status, handle = crypto.call(0x201, bytes.fromhex("09000002"))
    assert (status, len(handle)) == (0, 4)
    assert crypto.call(0x202, handle + bytes.fromhex("00010003616263")) == (0, b"")
    print(crypto.call(0x203, handle)[1][4:] == hashlib.sha256(b"abc").digest())
    print(crypto.call(0x203, handle)[0])
    sessions = [transport.open_session(UUID("751bf801-3dde-4768-a514-0f10aeed1790")) for _ in range(3)]
    for number, session in enumerate(sessions):
        print(session.call(0x100, struct.pack("<QQI", 7, 5, 0) + b"%05d" % number))
    print(sessions[0].call(0x101, struct.pack("<QQQ", 7, 0, 100)))
    for session in sessions:
        session.close()
for _ in range(40):
    transport.open_session(UUID("6823a838-1b06-470e-9774-0cce8bfb53fd")).close()
with transport.open_session(UUID("6823a838-1b06-470e-9774-0cce8bfb53fd")) as update:
    print(update.call(0, struct.pack("<I", 18)))
    print(update.call(0, struct.pack("<III", 16, 0, 0) + bytes(4)))
    print(update.call(0, struct.pack("<I", 18)))
try:
    transport.open_session(UUID("63646e80-eb52-462f-ac4f-8cdf3987519c"))
except NoSuchServiceError:
    print("no block storage")
"""


def test_the_emulated_world_behind_the_driver(bridge: Path, client: Path) -> None:
    with running_world() as world:
        assert run(bridge, world.socket, sys.executable, "-c", REAL_CLIENT) == [
            "True",
            "-137",
            *["(0, b'')"] * 3,
            "(0, b'00002')",
            "(-6, b'\\xfa\\xff\\xff\\xff')",
            "(0, b'\\x00\\x00\\x00\\x00')",
            "(0, b'\\x00\\x00\\x00\\x00')",
            "no block storage",
        ]
        assert [run(bridge, world.socket, client, f"/dev/tee{number}") for number in range(5)] == [
            ["ok"],
            ["ok"],
            ["ok"],
            ["ok"],
            ["ENOENT"],
        ]


def test_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BridgeError, match="install gcc or clang"):
        build_bridge(tmp_path / "teebridge.so")
    (tmp_path / "cc").write_text("#!/bin/sh\necho no header >&2\nexit 1\n")
    (tmp_path / "cc").chmod(0o755)
    with pytest.raises(BridgeError, match="no header"):
        build_bridge(tmp_path / "teebridge.so")
    assert [path.name for path in tmp_path.iterdir()] == ["cc"]


def test_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BridgeError, match="cannot write"):
        build_bridge(tmp_path / "file" / "teebridge.so")


def test_the_command_builds_and_says_where(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeroot.secure.bridge"]
    target = tmp_path / "new" / "teebridge.so"
    done = subprocess.run([*command, str(target)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{target}\n"
    assert target.read_bytes().startswith(b"\x7fELF")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
    shutil.rmtree(target.parent)
