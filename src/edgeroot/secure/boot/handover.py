"""What the first stage hands to the partition manager: what it has found out, and what it has measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgeroot.abi.mcuboot import Dependency, Description, Version
from edgeroot.psa import Lifecycle
from edgeroot.secure.boot.root_keys import RootKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One component: the SHA-256 of it. ``signer_id``: the hash of the key whose signature was verified, if any was."""

    name: str
    digest: bytes
    version: str = ""
    signer_id: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """``bank`` is that of the flash which boots (None: a folder of images, ``folder``), ``is_trial`` whether the update
    in it waits to be accepted, ``attempts`` how often it was booted so.

    ``manager`` is what the manager's image says of itself, ``native`` are descriptors of sealed memory files with its
    native modules, by their names, and ``digests`` the SHA-256 of these. ``arguments`` are those of the first stage,
    for whoever has to begin anew, and ``failed`` banks that did not boot.
    """

    lifecycle: Lifecycle
    root_keys: RootKeys
    security_counter: int
    manager: Description
    measured: tuple[Measured, ...]
    native: Mapping[str, int] = field(default_factory=dict)
    digests: Mapping[str, bytes] = field(default_factory=dict)
    folder: str = ""
    bank: int | None = None
    is_trial: bool = False
    attempts: int = 0
    failed: tuple[int, ...] = ()
    arguments: tuple[str, ...] = field(default=())

    def encode(self) -> bytes:
        """JSON, for :meth:`decode`."""
        values = asdict(self)
        values["root_keys"] = self.root_keys.encode()
        values["digests"] = {name: digest.hex() for name, digest in self.digests.items()}
        for one in values["measured"]:
            one["digest"], one["signer_id"] = one["digest"].hex(), one["signer_id"].hex()
        return json.dumps(values).encode()

    @classmethod
    def decode(cls, data: bytes) -> Handover:
        values = json.loads(data)
        measured = tuple(
            Measured(**one | {name: bytes.fromhex(one[name]) for name in ("digest", "signer_id")})
            for one in values["measured"]
        )
        return cls(
            **values
            | {
                "lifecycle": Lifecycle(values["lifecycle"]),
                "root_keys": RootKeys.decode(values["root_keys"]),
                "measured": measured,
                "digests": {name: bytes.fromhex(digest) for name, digest in values["digests"].items()},
                "manager": _description(values["manager"]),
                "failed": tuple(values["failed"]),
                "arguments": tuple(values["arguments"]),
            }
        )


def _description(values: dict[str, Any]) -> Description:
    dependencies = (Dependency(one["image_index"], Version(**one["version"])) for one in values["dependencies"])
    return Description(
        version=Version(**values["version"]),
        security_counter=values["security_counter"],
        dependencies=tuple(dependencies),
    )
