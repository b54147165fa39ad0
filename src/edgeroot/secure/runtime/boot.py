"""What the partition manager hands to a partition as it starts: through a memory file that only the two can see.

Everything that a partition has to know comes from here; it reads no environment, no configuration and no other file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Final

from edgeroot.psa import Secret
from edgeroot.secure.boot.root_keys import RootKeys

_BYTES_FIELDS: Final = ("secret", "boot_seed", "event_log", "system_calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class BootInformation:
    """``controls`` are the descriptors of the connections to the manager, one for each execution context.

    ``secret`` is the partition's own, derived from the device secret; ``boot_seed``, ``event_log``, ``lifecycle`` (RFC
    9783, clause 4.3.1), ``root_keys`` and ``signers`` (who has signed each component that is measured, by its name) are
    the boot's; the last three stay as they are where no image was verified. Folders are empty strings where the
    manifest asks for none. ``element`` has the fields of :class:`edgeroot.element.settings.ElementSettings`, and
    nothing where there is no secure element for this partition; ``devices`` are the nodes that it may open.
    ``readable`` are the trees of code, ``system_calls`` is the filter of system calls. ``inspectors`` are ids of
    partitions with the right to inspect keys. ``booted_bank`` is that of the flash that this boot came from, if it did;
    images below ``security_counter`` do not run.
    """

    name: str
    id: int
    module: str
    controls: tuple[int, ...]
    slow_contexts: int
    memory_slots: int
    max_shared_bytes: int
    queue_depth: int
    secret: Secret
    boot_seed: bytes = field(repr=False)
    event_log: bytes = field(repr=False)
    storage_folder: str = ""
    counters_folder: str = ""
    flash_folder: str = ""
    element_folder: str = ""
    element: dict[str, str | int] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    system_calls: bytes = field(default=b"", repr=False)
    inspectors: tuple[int, ...] = ()
    lifecycle: int = 0
    root_keys: RootKeys | None = None
    signers: dict[str, bytes] = field(default_factory=dict)
    booted_bank: int | None = None
    security_counter: int = 0

    def encode(self) -> bytes:
        values = asdict(self)
        for name in _BYTES_FIELDS:
            values[name] = values[name].hex()
        values["root_keys"] = None if self.root_keys is None else self.root_keys.encode()
        values["signers"] = {name: signer.hex() for name, signer in self.signers.items()}
        return json.dumps(values).encode()

    @classmethod
    def decode(cls, data: bytes) -> BootInformation:
        values = json.loads(data)
        for name in _BYTES_FIELDS:
            values[name] = bytes.fromhex(values[name])
        values["secret"] = Secret(values["secret"])
        values["root_keys"] = None if values["root_keys"] is None else RootKeys.decode(values["root_keys"])
        values["signers"] = {name: bytes.fromhex(signer) for name, signer in values["signers"].items()}
        values["controls"] = tuple(values["controls"])
        for name in ("devices", "readable", "inspectors"):
            values[name] = tuple(values[name])
        return cls(**values)
