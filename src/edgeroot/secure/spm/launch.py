"""Starting a partition: its sandbox, its connections to the manager, and what it is told at boot."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edgeroot.confinement.partition import system_call_filter
from edgeroot.psa import Secret
from edgeroot.secure.runtime.boot import BootInformation
from edgeroot.secure.spm.manifest import Manifest
from edgeroot.secure.spm.sandbox import SandboxSpec, readable, spawn
from edgeroot.secure.spm.state import State

_MAIN: Final = "edgeroot.secure.runtime.main"
_STORAGE: Final = "/storage"
_COUNTERS: Final = "/counters"
_FLASH: Final = "/flash"


@dataclass(frozen=True, slots=True)
class Process:
    """A partition that was started. ``controls`` are the manager's ends, ``log`` is what the partition says."""

    popen: subprocess.Popen[bytes]
    controls: tuple[socket.socket, ...]
    log: int
    user_id: int | None


class Launcher:
    """Starts partitions. ``derive`` makes a partition's secret of the device secret."""

    def __init__(
        self, state: State, *, derive: Callable[[bytes], Secret], boot_seed: bytes, event_log: bytes, cores: int
    ) -> None:
        self._state = state
        self._derive = derive
        self._boot_seed = boot_seed
        self._event_log = event_log
        self._cores = cores
        self._system_calls = system_call_filter()

    def contexts_of(self, manifest: Manifest) -> int:
        """How many execution contexts the partition has."""
        return manifest.execution_contexts or self._cores

    def launch(self, manifest: Manifest) -> Process:
        """Start the partition; it says itself when it is ready. OSError."""
        folders = self._state.folders_of(manifest)
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(self.contexts_of(manifest))]
        theirs = tuple(pair[1].fileno() for pair in pairs)
        places = {_STORAGE: folders.storage, _COUNTERS: folders.counters, _FLASH: folders.flash}
        spec = SandboxSpec(
            name=manifest.name,
            user_id=folders.user_id,
            writable={inside: outside for inside, outside in places.items() if outside is not None},
        )
        seen = spec.seen_inside()
        boot = BootInformation(
            name=manifest.name,
            id=manifest.id,
            module=manifest.module,
            controls=theirs,
            slow_contexts=manifest.slow_contexts,
            memory_slots=manifest.memory_slots,
            max_shared_bytes=manifest.max_shared_bytes,
            queue_depth=manifest.queue_depth,
            secret=self._derive(b"partition " + manifest.name.encode()),
            boot_seed=self._boot_seed,
            event_log=self._event_log,
            storage_folder=seen.get(_STORAGE, ""),
            counters_folder=seen.get(_COUNTERS, ""),
            flash_folder=seen.get(_FLASH, ""),
            readable=readable(sys.executable),
            system_calls=self._system_calls,
        )
        memory = os.memfd_create("edgeroot-boot", os.MFD_CLOEXEC)
        log_read, log_write = os.pipe2(os.O_CLOEXEC)
        try:
            os.write(memory, boot.encode())
            os.lseek(memory, 0, os.SEEK_SET)
            arguments = (sys.executable, "-I", "-m", _MAIN, str(memory))
            popen = spawn(spec, arguments, pass_fds=(memory, *theirs), stderr=log_write)
        except BaseException:
            os.close(log_read)
            for pair in pairs:
                pair[0].close()
            raise
        finally:
            os.close(memory)
            os.close(log_write)
            for pair in pairs:
                pair[1].close()
        os.set_blocking(log_read, False)
        return Process(popen, tuple(pair[0] for pair in pairs), log_read, folders.user_id)
