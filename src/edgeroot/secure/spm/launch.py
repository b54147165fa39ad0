"""Starting a partition: its sandbox, its connections to the manager, and what it is told at boot."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from edgeroot.confinement.partition import system_call_filter
from edgeroot.element.settings import ElementSettings
from edgeroot.psa import Secret
from edgeroot.secure.runtime.boot import BootInformation
from edgeroot.secure.spm.manifest import Manifest
from edgeroot.secure.spm.sandbox import SandboxSpec, readable, spawn
from edgeroot.secure.spm.state import State

if TYPE_CHECKING:
    from edgeroot.secure.spm.images import VerifiedPartitions

_MAIN: Final = "edgeroot.secure.runtime.main"
_STORAGE: Final = "/storage"
_COUNTERS: Final = "/counters"
_FLASH: Final = "/flash"
_ELEMENT: Final = "/element"
_NATIVE: Final = "/native"


@dataclass(frozen=True, slots=True)
class Process:
    """A partition that was started. ``controls`` are the manager's ends, ``log`` is what the partition says."""

    popen: subprocess.Popen[bytes]
    controls: tuple[socket.socket, ...]
    log: int
    user_id: int | None


class Launcher:
    """Starts partitions. ``derive`` makes a partition's secret of the device secret.

    ``element`` is the secure element, which the partition gets whose manifest asks for it, and no other. ``inspectors``
    are the ids of the partitions whose manifests let them ask about keys of others. With ``verified`` partitions run
    from these images and from nothing else.
    """

    def __init__(
        self,
        state: State,
        *,
        derive: Callable[[bytes], Secret],
        boot_seed: bytes,
        event_log: bytes,
        cores: int,
        element: ElementSettings | None = None,
        inspectors: Iterable[int] = (),
        verified: VerifiedPartitions | None = None,
    ) -> None:
        self._state = state
        self._derive = derive
        self._boot_seed = boot_seed
        self._event_log = event_log
        self._cores = cores
        self._element = element
        self._inspectors = tuple(inspectors)
        self._verified = verified
        self._system_calls = system_call_filter()
        self._system_calls_with_i2c = system_call_filter(i2c=True)

    def contexts_of(self, manifest: Manifest) -> int:
        """How many execution contexts the partition has."""
        return manifest.execution_contexts or self._cores

    def launch(self, manifest: Manifest) -> Process:
        """Start the partition; it says itself when it is ready. OSError."""
        folders = self._state.folders_of(manifest)
        with ExitStack() as given, ExitStack() as kept:
            pairs = [_control(given, kept) for _ in range(self.contexts_of(manifest))]
            controls = tuple(theirs.fileno() for _, theirs in pairs)
            element = self._element if manifest.secure_element else None
            places = {
                _STORAGE: folders.storage,
                _COUNTERS: folders.counters,
                _FLASH: folders.flash,
                _ELEMENT: None if element is None else folders.element,
            }
            code, native = self._open_image(manifest, given)
            spec = SandboxSpec(
                name=manifest.name,
                user_id=folders.user_id,
                writable={inside: outside for inside, outside in places.items() if outside is not None},
                devices=() if element is None else (element.node,),
                verified=self._verified is not None,
                copies={f"{_NATIVE}/{name}.so": descriptor for name, descriptor in native.items()},
            )
            memory = os.memfd_create("edgeroot-boot", os.MFD_CLOEXEC)
            given.callback(os.close, memory)
            os.write(memory, self._boot_information(manifest, controls, spec, element).encode())
            os.lseek(memory, 0, os.SEEK_SET)
            log_read, log_write = os.pipe2(os.O_CLOEXEC)
            kept.callback(os.close, log_read)
            given.callback(os.close, log_write)
            os.set_blocking(log_read, False)
            arguments = self._arguments(
                manifest, memory, code, dict(zip(native, spec.copies_inside().values(), strict=True))
            )
            popen = spawn(spec, arguments, pass_fds=(memory, *controls, *code, *native.values()), stderr=log_write)
            kept.pop_all()
            return Process(popen, tuple(ours for ours, _ in pairs), log_read, folders.user_id)

    def _open_image(self, manifest: Manifest, given: ExitStack) -> tuple[tuple[int, ...], dict[str, int]]:
        """Descriptors of the partition's code, if it is verified, and of its native modules by their names."""
        if self._verified is None:
            return (), {}
        image = self._verified.images[manifest.name]
        return (_reopen(image.code, given),), {name: _reopen(one, given) for name, one in image.native.items()}

    def _arguments(
        self, manifest: Manifest, memory: int, code: tuple[int, ...], native: dict[str, str]
    ) -> tuple[str, ...]:
        if self._verified is None:
            return (sys.executable, "-I", "-m", _MAIN, str(memory))
        places = (f"{name}={path}" for name, path in native.items())
        bootstrap = self._verified.images[manifest.name].bootstrap
        return (sys.executable, "-I", "-S", "-c", bootstrap, *map(str, code), *places, "--", str(memory))

    def _boot_information(
        self, manifest: Manifest, controls: tuple[int, ...], spec: SandboxSpec, element: ElementSettings | None
    ) -> BootInformation:
        seen = spec.seen_inside()
        return BootInformation(
            name=manifest.name,
            id=manifest.id,
            module=manifest.module,
            controls=controls,
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
            element_folder=seen.get(_ELEMENT, ""),
            element={} if element is None else asdict(element),
            devices=tuple(map(str, spec.devices)),
            readable=readable(sys.executable) if self._verified is None else (),
            system_calls=self._system_calls if element is None else self._system_calls_with_i2c,
            inspectors=self._inspectors,
            lifecycle=0 if self._verified is None else self._verified.lifecycle,
            root_keys=None if self._verified is None else self._verified.root_keys,
            signers={} if self._verified is None else dict(self._verified.signers),
            booted_bank=None if self._verified is None else self._verified.bank,
            security_counter=0 if self._verified is None else self._verified.least_counter,
        )


def _control(given: ExitStack, kept: ExitStack) -> tuple[socket.socket, socket.socket]:
    """An execution context's connection: the manager's end, and the partition's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kept.enter_context(ours)
    given.enter_context(theirs)
    return ours, theirs


def _reopen(memory_file: int, given: ExitStack) -> int:
    """Another descriptor of a memory file, at its beginning whoever else reads it."""
    descriptor = os.open(f"/proc/self/fd/{memory_file}", os.O_RDONLY | os.O_CLOEXEC)
    given.callback(os.close, descriptor)
    return descriptor
