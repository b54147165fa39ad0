"""A secure world in threads of the test's process, whose every answer the test may decide.

It speaks what the emulated world's manager and partitions speak. Left alone it is a sound one with a single partition,
whose service answers each call with status 0 and nothing.
"""

from __future__ import annotations

import mmap
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

from edgeroot.abi import ts_rpc
from edgeroot.abi.emulation import CHANNEL_OPEN, FRAME, MANAGER_STATUS, PAGE_BYTES
from edgeroot.abi.ffa import VERSION_1_1, FfaError, FunctionId, PartitionInfo
from edgeroot.abi.rpc_status import RpcStatus
from edgeroot.abi.services import CRYPTO, TS_RPC_FFA_UUID
from edgeroot.secure.runtime.frames import receive_frame

OWN_ID: Final = 0x0007
ENDPOINT_ID: Final = 0x8002
INTERFACE: Final = 3
_U32: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Asked:
    """One call to the manager. The descriptors are closed after it."""

    registers: tuple[int, ...]
    payload: bytes
    descriptors: list[int]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the manager."""

    registers: tuple[int, ...]
    payload: bytes = b""
    descriptors: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class ServiceCall:
    """A call that has reached the partition; it is answered once, whenever and from wherever."""

    channel: socket.socket
    frame: tuple[int, ...]
    opcode: int
    request: bytes
    memory: mmap.mmap

    def reply(self, status: int = 0, response: bytes = b"") -> None:
        self.memory[: len(response)] = response
        self.words(ts_rpc.call_response(self.frame[3], status, len(response)))

    def refuse(self, status: RpcStatus) -> None:
        """The service never saw it."""
        self.words(ts_rpc.failure_response(self.frame[3], status))

    def error(self, code: FfaError) -> None:
        """FFA_ERROR in the place of an answer."""
        self.channel.send(FRAME.pack(FunctionId.ERROR, 0, code & _U32, 0, 0, 0, 0, 0, self.frame[8]))

    def words(self, words: ts_rpc.Words) -> None:
        self.channel.send(FRAME.pack(FunctionId.MSG_SEND_DIRECT_RESP_32, 0, 0, *words, self.frame[8]))


def success(*words: int, payload: bytes = b"", descriptors: Sequence[int] = ()) -> Reply:
    """FFA_SUCCESS with these words from w2 on."""
    registers = (FunctionId.SUCCESS_32, 0, *words)
    return Reply((*registers, *(0,) * (8 - len(registers))), payload, descriptors)


def error(code: int) -> Reply:
    """FFA_ERROR."""
    return Reply((FunctionId.ERROR, 0, code & _U32, 0, 0, 0, 0, 0))


@dataclass(slots=True)
class ScriptedWorld:
    """``answers`` by function: what the manager says instead of the usual; None: it closes the connection.

    ``on_call`` is given each call to the service; ``management``, by opcode, is what the partition says else.
    """

    path: Path
    services: tuple[UUID, ...] = (CRYPTO,)
    endpoint_ids: tuple[int, ...] = (ENDPOINT_ID,)
    on_call: Callable[[ServiceCall], None] = lambda call: call.reply()
    answers: dict[int, Callable[[Asked], Reply | bytes | None]] = field(default_factory=dict)
    management: dict[int, Callable[[ts_rpc.Words], ts_rpc.Words | bytes | None]] = field(default_factory=dict)
    status: bytes = b'{"not_in_force": []}'
    asked: list[int] = field(default_factory=list)  # functions, in order
    channels: list[socket.socket] = field(default_factory=list)  # the partition's ends
    connections: list[socket.socket] = field(default_factory=list)
    memory: dict[int, mmap.mmap] = field(default_factory=dict)
    relinquished: list[int] = field(default_factory=list)
    reclaimed: list[int] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _listener: socket.socket = field(init=False)

    def start(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._run(self._accept, self._listener)

    def stop(self) -> None:
        """End as if killed: everything is closed at once, and the socket's file stays."""
        for sock in (self._listener, *self.connections, *self.channels):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # ended already
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        for sock in (self._listener, *self.connections, *self.channels):
            sock.close()

    def kill_partition(self) -> None:
        """Its channels end; the manager goes on and gives new ones."""
        for channel in self.channels:
            try:
                channel.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the caller has closed it

    def _run(self, serve: Callable[[socket.socket], None], sock: socket.socket) -> None:
        thread = threading.Thread(target=serve, args=(sock,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            self._run(self._serve_connection, connection)

    # The manager

    def _serve_connection(self, connection: socket.socket) -> None:
        for frame, payload, descriptors in _frames(connection):
            self.asked.append(frame[0])
            reply = self.answers.get(frame[0], self._answer)(Asked(frame[:8], payload, descriptors))
            for descriptor in descriptors:
                os.close(descriptor)
            if reply is None:
                connection.shutdown(socket.SHUT_RDWR)
                return
            if isinstance(reply, bytes):
                reply_bytes, given = reply, []
            else:
                reply_bytes, given = FRAME.pack(*reply.registers, frame[8]) + reply.payload, list(reply.descriptors)
            try:
                socket.send_fds(connection, [reply_bytes], given)
            except OSError:
                return  # the caller has gone
            finally:
                for descriptor in given:
                    os.close(descriptor)

    def _answer(self, asked: Asked) -> Reply:
        match asked.registers[0]:
            case FunctionId.VERSION:
                return Reply((VERSION_1_1, 0, 0, 0, 0, 0, 0, 0))
            case FunctionId.ID_GET:
                return success(OWN_ID)
            case FunctionId.PARTITION_INFO_GET:
                infos = [PartitionInfo(one, 1, 1, TS_RPC_FFA_UUID).encode() for one in self.endpoint_ids]
                return success(len(infos), len(infos[0]) if infos else 0, payload=b"".join(infos))
            case FunctionId.MEM_SHARE_32:
                handle = len(self.memory) + 0x1_0000_0000
                self.memory[handle] = mmap.mmap(asked.descriptors[0], 0)
                return success(handle & _U32, handle >> 32)
            case FunctionId.MEM_RECLAIM:
                self.reclaimed.append(asked.registers[2] << 32 | asked.registers[1])
                return success()
        if asked.registers[0] == CHANNEL_OPEN:
            return success(descriptors=[self.new_channel()])
        if asked.registers[0] == MANAGER_STATUS:
            page = asked.registers[1] * PAGE_BYTES
            return success(len(self.status), payload=self.status[page : page + PAGE_BYTES])
        return error(FfaError.NOT_SUPPORTED)

    def new_channel(self) -> int:
        """The caller's end of a new channel to the partition."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channels.append(ours)
        self._run(self._serve_channel, ours)
        return theirs.detach()

    # The partition

    def _serve_channel(self, channel: socket.socket) -> None:
        for frame, _payload, _descriptors in _frames(channel):
            words: ts_rpc.Words = (frame[3], frame[4], frame[5], frame[6], frame[7])
            call = ts_rpc.decode_call(words)
            if call.interface != ts_rpc.MANAGEMENT_INTERFACE and (memory := self.memory.get(call.handle)) is not None:
                self.on_call(ServiceCall(channel, frame, call.opcode, memory[: call.request_bytes], memory))
                continue
            answer = self.management.get(call.opcode, self._manage)(words)
            if answer is None:
                channel.shutdown(socket.SHUT_RDWR)
                return
            if not isinstance(answer, bytes):
                answer = FRAME.pack(FunctionId.MSG_SEND_DIRECT_RESP_32, 0, 0, *answer, frame[8])
            try:
                channel.send(answer)
            except OSError:
                return  # the caller has gone

    def _manage(self, words: ts_rpc.Words) -> ts_rpc.Words:
        match ts_rpc.opcode_of(words[0]):
            case ts_rpc.ManagementOpcode.VERSION_GET:
                return ts_rpc.version_response(words[0])
            case ts_rpc.ManagementOpcode.SERVICE_INFO if ts_rpc.service_in(words) in self.services:
                return ts_rpc.service_info_response(words[0], INTERFACE)
            case ts_rpc.ManagementOpcode.SERVICE_INFO:
                return ts_rpc.failure_response(words[0], RpcStatus.NOT_FOUND)
            case ts_rpc.ManagementOpcode.MEMORY_RELINQUISH:
                self.relinquished.append(ts_rpc.handle_in(words))
        return ts_rpc.status_response(words[0], RpcStatus.SUCCESS)


@contextmanager
def scripted_world(path: Path) -> Iterator[ScriptedWorld]:
    """One that listens there."""
    world = ScriptedWorld(path)
    world.start()
    try:
        yield world
    finally:
        world.stop()


def _frames(sock: socket.socket) -> Iterator[tuple[tuple[int, ...], bytes, list[int]]]:
    while True:
        try:
            received = receive_frame(sock)
        except OSError:
            return
        if received is None:
            return
        yield received
