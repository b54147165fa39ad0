"""``python -m edgeroot.secure.runtime.main FD``: the process of a partition.

The leader reads what the manager hands over, forks the execution contexts and the slow contexts, and confines itself
and them. None of them outlives another: if one ends, the whole partition does, and the manager starts it anew.
"""

from __future__ import annotations

import fcntl
import importlib
import logging
import mmap
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from uuid import UUID

from edgeroot.confinement.partition import confine, protect
from edgeroot.confinement.process import end_with_parent
from edgeroot.element.settings import ElementSettings
from edgeroot.secure.runtime.api import Service
from edgeroot.secure.runtime.boot import BootInformation
from edgeroot.secure.runtime.context import Context
from edgeroot.secure.runtime.endpoint import Endpoint
from edgeroot.secure.runtime.environment import ElementPlace, Environment
from edgeroot.secure.runtime.lanes import Lanes, run_lane
from edgeroot.secure.runtime.manager import ManagerConnection, ManagerGoneError
from edgeroot.secure.runtime.peers import Session

_log: Final = logging.getLogger(__name__)
_MIN_SHARED_BYTES: Final = 4096


class _Lock(AbstractContextManager[None]):
    """A lock between the processes of the partition, which the kernel gives back when its holder dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_exception: object) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


class _Partition:
    """What the leader makes before it forks."""

    def __init__(self, boot: BootInformation) -> None:
        self.boot: Final = boot
        self.module: Final[ModuleType] = importlib.import_module(boot.module)
        shared_bytes: int = getattr(self.module, "SHARED_BYTES", 0)
        self.shared: Final = mmap.mmap(-1, max(shared_bytes, _MIN_SHARED_BYTES))
        self.lock: Final = _Lock(os.memfd_create("edgeroot-lock", os.MFD_CLOEXEC))

    def confine(self) -> None:
        """The process gives up what it needs no more."""
        boot = self.boot
        folders = (boot.storage_folder, boot.counters_folder, boot.flash_folder, boot.element_folder)
        written = [Path(folder) for folder in folders if folder]
        devices = map(Path, boot.devices)
        read = map(Path, boot.readable)
        for refused in confine(read=read, write=written, devices=devices, system_calls=boot.system_calls):
            _log.warning("%s", refused)

    def services(self, manager: ManagerConnection) -> tuple[Service, ...]:
        boot = self.boot
        create: Callable[[Environment], tuple[Service, ...]] = self.module.create

        def session(service: UUID) -> Session:
            return Session(manager, boot.id, service)

        return create(
            Environment(
                name=boot.name,
                id=boot.id,
                secret=boot.secret,
                shared=memoryview(self.shared),
                lock=self.lock,
                session=session,
                boot_seed=boot.boot_seed,
                event_log=boot.event_log,
                storage_folder=_folder(boot.storage_folder),
                counters_folder=_folder(boot.counters_folder),
                flash_folder=_folder(boot.flash_folder),
                element=_element(boot),
                inspectors=frozenset(boot.inspectors),
                lifecycle=boot.lifecycle,
                root_keys=boot.root_keys,
                signers=boot.signers,
                booted_bank=boot.booted_bank,
                security_counter=boot.security_counter,
                firmware_accepted=manager.firmware_accepted,
            )
        )


def main(arguments: Sequence[str]) -> int:
    """Run a partition until its manager ends; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    with os.fdopen(int(arguments[0]), "rb") as file:
        boot = BootInformation.decode(file.read())
    for refused in protect(boot.name):
        _log.warning("%s", refused)
    partition = _Partition(boot)
    controls = [socket.socket(fileno=descriptor) for descriptor in boot.controls]
    pairs = [
        [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(boot.slow_contexts)] for _ in controls
    ]
    children = [_fork(partial(_run_lane, partition, controls, pairs, index)) for index in range(boot.slow_contexts)]
    children += [_fork(partial(_run_context, partition, controls, pairs, index)) for index in range(len(controls))]
    for pair in (pair for row in pairs for pair in row):
        pair[0].close()
        pair[1].close()
    for control in controls:
        control.close()
    _, status = os.waitpid(-1, 0)
    return os.waitstatus_to_exitcode(status) & 0xFF


def _run_context(
    partition: _Partition,
    controls: list[socket.socket],
    pairs: list[list[tuple[socket.socket, socket.socket]]],
    index: int,
) -> None:
    boot = partition.boot
    ours = [pair[0] for pair in pairs[index]]
    _keep(controls, pairs, {controls[index], *ours})
    manager = ManagerConnection(controls[index], boot.id)
    endpoint = Endpoint(partition.services(manager), manager, memory_slots=boot.memory_slots)
    partition.confine()
    Context(
        manager,
        endpoint,
        Lanes(ours, source_depth=max(boot.queue_depth, boot.memory_slots)),
        own_id=boot.id,
        queue_depth=boot.queue_depth,
    ).run()


def _run_lane(
    partition: _Partition,
    controls: list[socket.socket],
    pairs: list[list[tuple[socket.socket, socket.socket]]],
    index: int,
) -> None:
    ours = [row[index][1] for row in pairs]
    services = partition.services(ManagerConnection(controls[0], partition.boot.id))
    _keep(controls, pairs, set(ours))
    partition.confine()
    run_lane(ours, services)


def _keep(
    controls: list[socket.socket],
    pairs: list[list[tuple[socket.socket, socket.socket]]],
    kept: set[socket.socket],
) -> None:
    """Close the other processes' ends, so that the end of one is noticed by its peers."""
    for sock in [*controls, *(sock for row in pairs for pair in row for sock in pair)]:
        if sock not in kept:
            sock.close()


def _fork(run: Callable[[], None]) -> int:
    """Fork a child that ends with this process and runs nothing after ``run``."""
    leader = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        end_with_parent(leader)
        run()
        code = 0
    except ManagerGoneError:
        code = 0
    except Exception:  # noqa: BLE001 - the last guard of a process, which ends with what is said here
        _log.exception("the partition ended by a fault in the partition itself; please report it")
    finally:
        os._exit(code)


def _element(boot: BootInformation) -> ElementPlace | None:
    settings: dict[str, Any] = boot.element
    return ElementPlace(ElementSettings(**settings), Path(boot.element_folder)) if settings else None


def _folder(path: str) -> Path | None:
    return Path(path) if path else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
