"""Coverage-guided fuzzing of the secure world behind its sockets: the manager's FF-A calls, a partition's channels, and
each partition's services, over the real storage, crypto, attestation and firmware update code.

The first byte chooses the target, the others are steps for it. Whatever comes in is answered by a proper status. Run
``python fuzz/fuzz_secure_world.py fuzz/corpus/secure_world -max_total_time=60`` from the root with the root and ``src``
on the path; it needs atheris. The test suite replays the corpus without it.
"""

from __future__ import annotations

import importlib
import logging
import os
import struct
import sys
from collections.abc import Callable
from functools import cache
from struct import Struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from uuid import UUID

    from edgeroot.secure.runtime.api import Caller, Service
    from edgeroot.secure.spm.manifest import Manifest
    from edgeroot.secure.spm.monitor import Answer, Monitor, OpenChannel

MAX_STEPS: Final = 24
CALL: Final = Struct("<BBH8I")
"""A call to the manager: who calls, what comes with it, how long the payload is that follows, and the registers."""
DATAGRAM: Final = Struct("<BH")
"""On which channel, and how many bytes follow."""
REQUEST: Final = Struct("<BHBH")
"""To which service, the opcode, a choice of capacity and of the caller, and how many bytes follow."""
FIRST_HANDLE: Final = (1 << 45) | 1
USER, OTHER_USER, ADMINISTRATOR, STRANGER, STORAGE_CONTEXT, CRYPTO_CONTEXT = range(6)
NOTHING, ONE_PAGE, TWO_PAGES, UNSEALED, A_PIPE, TWO_FILES = range(6)
STORAGE, PROTECTED_STORAGE, CRYPTO, CRYPTO_PROTOBUF, ATTESTATION, ATTESTATION_RFC9783, FIRMWARE = range(7)
SLOWEST_HERE: Final = frozenset({1, 2})  # generating and importing keys in a slow context: seconds, by design
CAPACITIES: Final = (4096, 8192, 16384, 0)
"""Of shared memory; without any there is no request either."""


class Steps:
    """What is left of the input."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._taken = 0

    def next(self, head: Struct, length_field: int) -> tuple[tuple[int, ...], bytes] | None:
        """One step's numbers, and the bytes that follow it; None at the end."""
        if self._taken == MAX_STEPS:
            return None
        self._taken += 1
        try:
            numbers = head.unpack_from(self._data, self._at)
        except struct.error:
            return None
        begin = self._at + head.size
        self._at = begin + numbers[length_field]
        return numbers, self._data[begin : self._at]


# The manager


def exercise_monitor(steps: Steps) -> str:
    """FF-A calls of several connections to the manager."""
    from edgeroot.secure.spm.monitor import Connection, Monitor

    manifests = _manifests()
    monitor = Monitor(manifests, lambda _manifest: 2, lambda: b"{}" * 3000)
    connections = [
        Connection(1),
        Connection(2),
        Connection(None, is_administrator=True),
        Connection(None),
        Connection(manifests[0].id, manifests[0]),
        Connection(manifests[1].id, manifests[1]),
    ]
    outcome = "monitor nothing"
    before = _open_descriptors()
    try:
        while (step := steps.next(CALL, 2)) is not None:
            (who, what, _, *registers), payload = step
            descriptors = _descriptors(what % 6)
            connection = connections[who % len(connections)]
            answer = monitor.call(connection, tuple(registers), payload, descriptors)
            outcome = f"monitor {_outcome_of(answer, monitor)}"
    finally:
        for connection in connections:
            monitor.forget(connection)
    assert _open_descriptors() == before, "a descriptor is left"
    return outcome


@cache
def _manifests() -> tuple[Manifest, ...]:
    from edgeroot.secure.spm.manifest import built_in_manifests

    return built_in_manifests()


def _outcome_of(answer: Answer | OpenChannel, monitor: Monitor) -> str:
    from edgeroot.abi.ffa import VERSION_1_1, FfaError, FunctionId, signed
    from edgeroot.secure.spm.monitor import Answer

    if not isinstance(answer, Answer):
        assert answer.target in monitor.manifests
        return "channel"
    if answer.descriptor is not None:
        os.close(answer.descriptor)
    assert len(answer.registers) == 8
    assert all(0 <= register <= 0xFFFFFFFF for register in answer.registers)
    assert len(answer.payload) <= 4096
    function = answer.registers[0]
    assert (answer.descriptor is None) == (function != FunctionId.MEM_RETRIEVE_RESP)
    if function == FunctionId.ERROR:
        assert not answer.payload
        return FfaError(signed(answer.registers[2])).name
    if function == VERSION_1_1:
        return "version"
    return FunctionId(function).name


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _descriptors(what: int) -> list[int]:
    from tests.support.partition_context import memory_file

    made: dict[int, Callable[[], list[int]]] = {
        NOTHING: list,
        ONE_PAGE: lambda: [memory_file(4096)],
        TWO_PAGES: lambda: [memory_file(8192)],
        UNSEALED: lambda: [memory_file(4096, seals=0)],
        A_PIPE: lambda: [_pipe_end()],
        TWO_FILES: lambda: [memory_file(4096), memory_file(4096)],
    }
    return made[what]()


def _pipe_end() -> int:
    readable, writable = os.pipe()
    os.close(writable)
    return readable


# A partition's channels


def exercise_channels(steps: Steps) -> str:
    """Datagrams on three channels of two sources to an execution context whose services echo, work slowly and fail."""
    from edgeroot.abi.emulation import FRAME
    from edgeroot.abi.ffa import FfaError, FunctionId, signed
    from edgeroot.abi.rpc_status import RpcStatus
    from edgeroot.secure.runtime.api import Reply, SlowWork
    from tests.support.partition_context import SOURCE, Scripted, turning

    def fail(request: bytes) -> Reply:
        raise ZeroDivisionError(len(request))

    services = (
        Scripted(lambda request: Reply(len(request), request)),
        Scripted(lambda request: SlowWork(request, lambda result: Reply(0, result))),
        Scripted(fail),
    )
    outcome = "channels nothing"
    with turning(*services) as world:
        for handle, source_id in ((1, SOURCE), (2, SOURCE), (1, SOURCE + 1)):
            world.files.share(handle, source_id=source_id).close()
        channels = [world.channel(source_id) for source_id in (SOURCE, SOURCE, SOURCE + 1)]
        while (step := steps.next(DATAGRAM, 1)) is not None:
            (which, _), data = step
            channel = channels[which % len(channels)]
            try:
                channel.socket.send(data)
            except OSError:
                continue  # it was closed by an empty datagram
            world.turn()
            try:
                answers = channel.answers()
            except EOFError:
                assert not data
                outcome = "channels end"
                continue
            assert len(answers) == 1, "each request has one answer"
            [answer] = answers
            if len(data) >= FRAME.size:
                assert answer[8] == FRAME.unpack_from(data)[8]
            match answer[0]:
                case FunctionId.ERROR:
                    outcome = f"channels {FfaError(signed(answer[2])).name}"
                case FunctionId.MSG_SEND_DIRECT_RESP_32:
                    management = answer[3] >> 16 & 0xFF == 0xFF and not answer[3] & 0xFFFF
                    outcome = f"channels {'version' if management else RpcStatus(signed(answer[4])).name}"
                case _:
                    assert answer[0] == FunctionId.MSG_SEND_DIRECT_RESP_64
                    outcome = "channels 64 bits"
    return outcome


# The partitions' services


class Direct:
    """A session of one partition with another one's service, without the sockets between them."""

    capacity_bytes = 16384

    def __init__(self, service: Service, caller: Caller) -> None:
        self._service = service
        self._caller = caller

    def call(self, opcode: int, request: bytes) -> tuple[int, bytes]:
        from edgeroot.psa import PsaError
        from edgeroot.secure.runtime.api import SlowWork

        try:
            reply = self._service.call(self._caller, opcode, request, capacity_bytes=self.capacity_bytes)
            if isinstance(reply, SlowWork):
                reply = reply.finish(self._service.work(reply.task))
        except PsaError as error:
            return int(error.status), b""
        return reply.status, reply.payload


class Flash:
    """Flash of a few blocks that forgets everything."""

    def __init__(self, size_bytes: int) -> None:
        self._content = bytearray(b"\xff" * size_bytes)

    def read(self, offset: int, size_bytes: int) -> bytes:
        return bytes(self._content[offset : offset + size_bytes])

    def erase(self, offset: int, size_bytes: int) -> None:
        self.write(offset, b"\xff" * size_bytes)

    def write(self, offset: int, data: bytes) -> None:
        assert offset + len(data) <= len(self._content)
        self._content[offset : offset + len(data)] = data

    def sync(self) -> None:
        pass


def image_type() -> UUID:
    """Of the one image that can be updated."""
    from uuid import UUID

    return UUID(int=4)


def services() -> list[Service]:
    """All services of all partitions, as they are after the first boot."""
    from contextlib import nullcontext
    from uuid import UUID

    from edgeroot.psa import Secret
    from edgeroot.secure.partitions.attestation.attester import Attester
    from edgeroot.secure.partitions.attestation.boot import UNMEASURED_EVENT_LOG
    from edgeroot.secure.partitions.attestation.keys import RpcIakKeys, RpcKeyInspector
    from edgeroot.secure.partitions.attestation.service import attestation_services
    from edgeroot.secure.partitions.crypto.core import CryptoCore
    from edgeroot.secure.partitions.crypto.key_inspection import KeyInspection
    from edgeroot.secure.partitions.crypto.keys import SHARED_BYTES, KeyStore
    from edgeroot.secure.partitions.crypto.services import KeyInspectionService, PackedCService, ProtobufService
    from edgeroot.secure.partitions.crypto.storage_port import RpcKeyStorage
    from edgeroot.secure.partitions.firmware_update.agent import BootInfo, UpdateAgent
    from edgeroot.secure.partitions.firmware_update.layout import FirmwareImage, FlashLayout
    from edgeroot.secure.partitions.firmware_update.service import FirmwareUpdateService
    from edgeroot.secure.partitions.storage.objects import Objects
    from edgeroot.secure.partitions.storage.service import InternalTrustedStorage, ProtectedStorage
    from edgeroot.secure.partitions.storage.store import ObjectLog
    from edgeroot.secure.runtime.api import Caller
    from edgeroot.testing.fake_platform import FakeCounter, FakeDisk

    disk = FakeDisk()
    log = ObjectLog(disk, FakeCounter(disk), Secret(bytes(32)))
    internal = InternalTrustedStorage(Objects(log, 0))
    keys = RpcKeyStorage(Direct(internal, Caller(0x8002, 1)))
    store = KeyStore(memoryview(bytearray(SHARED_BYTES)), nullcontext(), keys)
    core = CryptoCore(store)
    packed = PackedCService(core)
    iak = RpcIakKeys(Direct(packed, Caller(0x8003, 2)))
    inspection = KeyInspectionService(core, KeyInspection(store, frozenset({0x8003})))
    inspector = RpcKeyInspector(Direct(inspection, Caller(0x8003, 3)))
    attester = Attester(iak, inspector=inspector, boot_seed=bytes(32), event_log=UNMEASURED_EVENT_LOG)
    image = FirmwareImage(image_type=image_type(), areas=(UUID(int=2), UUID(int=3)), max_size_bytes=4096)
    layout = FlashLayout(location=UUID(int=1), images=(image,))
    agent = UpdateAgent(Flash(layout.size_bytes), layout, BootInfo(bytes(32), 0))
    return [
        internal,
        ProtectedStorage(Objects(log, 1)),
        packed,
        ProtobufService(core),
        *attestation_services(attester),
        FirmwareUpdateService(agent),
        inspection,
    ]


NAMES: Final = ("storage", "protected", "crypto", "protobuf", "attestation", "rfc9783", "firmware")


def exercise_services(steps: Steps) -> str:
    """Requests of two callers to the services."""
    from edgeroot.secure.runtime.api import Caller

    found = services()
    callers = [Caller(1, 3), Caller(2, 4)]
    outcome = "services nothing"
    while (step := steps.next(REQUEST, 3)) is not None:
        (which, opcode, choice, _), request = step
        number = which % len(found)
        capacity_bytes = CAPACITIES[choice % len(CAPACITIES)]
        outcome = _ask(found[number], callers[choice >> 7], opcode, request[:capacity_bytes], capacity_bytes)
        outcome = f"{NAMES[number]} {outcome}"
    for service in found:
        for caller in callers:
            service.channel_closed(caller)
    return outcome


def _ask(service: Service, caller: Caller, opcode: int, request: bytes, capacity_bytes: int) -> str:
    """What came of it: the RPC status's name or the service's status."""
    from edgeroot.abi.rpc_status import RpcError
    from edgeroot.psa import PsaError
    from edgeroot.secure.runtime.api import SlowWork

    try:
        reply = service.call(caller, opcode, request, capacity_bytes=capacity_bytes)
        if isinstance(reply, SlowWork):
            if reply.task[0] in SLOWEST_HERE:
                return "slow"
            reply = reply.finish(service.work(reply.task))
    except RpcError as error:
        return error.status.name
    except PsaError as error:
        return str(int(error.status))
    assert len(reply.payload) <= capacity_bytes
    assert -(1 << 31) <= reply.status < 1 << 31
    return str(reply.status)


TARGETS: Final[tuple[Callable[[Steps], str], ...]] = (exercise_monitor, exercise_channels, exercise_services)


def exercise(data: bytes) -> str:
    """What came of the last step, for people and for tests.

    Raises AssertionError, or whatever the code under test lets through, if something is wrong.
    """
    if not data:
        return "empty"
    return TARGETS[data[0] % len(TARGETS)](Steps(data[1:]))


def main() -> None:
    logging.disable()  # faults that the target makes on purpose
    atheris = importlib.import_module("atheris")  # neither typed nor needed by whoever only replays the corpus

    with atheris.instrument_imports(include=["edgeroot"]):
        for target in TARGETS:
            target(Steps(b""))

    def fuzz(data: bytes) -> None:
        exercise(data)

    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
