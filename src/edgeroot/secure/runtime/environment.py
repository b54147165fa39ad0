"""What a partition's code may use of its process."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import UUID

from edgeroot.element.settings import ElementSettings
from edgeroot.psa import Secret
from edgeroot.secure.boot.root_keys import RootKeys


class PeerSession(Protocol):
    """Calls from this partition to a service of another one."""

    @property
    def capacity_bytes(self) -> int: ...

    def call(self, opcode: int, request: bytes) -> tuple[int, bytes]:
        """The service's status (signed) and the response.

        RpcError if the call did not reach the service; with TRANSPORT_LAYER nobody knows whether it did.
        """


class Connect(Protocol):
    """Gives sessions; a session connects when it is first used, and again when the other partition was restarted."""

    def __call__(self, service: UUID) -> PeerSession: ...


class FirmwareAccepted(Protocol):
    """Tells the manager that what this boot came from was accepted."""

    def __call__(self) -> int:
        """The device's security counter from now on. RpcError if it could not be raised now; the next boot does it."""


@dataclass(frozen=True, slots=True)
class ElementPlace:
    """Which secure element, and the folder for the list of its slots."""

    settings: ElementSettings
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Given to a partition's ``create``, in each of its processes.

    ``shared`` is memory that all processes of the partition see (as many zero bytes as its ``SHARED_BYTES`` says),
    ``lock`` excludes the others and is free again when its holder dies. Folders are None where the manifest asks for
    none, and so is the element, or where there is none. ``inspectors`` are the ids of the partitions that may ask about
    keys of others. ``lifecycle``, ``root_keys``, ``signers``, ``booted_bank`` and ``security_counter`` are as in
    :class:`edgeroot.secure.runtime.boot.BootInformation`.
    """

    name: str
    id: int
    secret: Secret
    shared: memoryview
    lock: AbstractContextManager[object]
    session: Connect
    boot_seed: bytes = field(repr=False, default=b"")
    event_log: bytes = field(repr=False, default=b"")
    storage_folder: Path | None = None
    counters_folder: Path | None = None
    flash_folder: Path | None = None
    element: ElementPlace | None = None
    inspectors: frozenset[int] = frozenset()
    lifecycle: int = 0
    root_keys: RootKeys | None = None
    signers: Mapping[str, bytes] = field(default_factory=dict)
    booted_bank: int | None = None
    security_counter: int = 0
    firmware_accepted: FirmwareAccepted | None = None
