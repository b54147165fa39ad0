"""Partition manifests: which partitions there are, what each offers, whom it serves, and what it may use.

The keys are those of FF-A's partition manifest (DEN0077A, clause 5.2) as far as they mean something here; ``services``,
``callers`` and the bounds are the partition manager's own. :func:`parse_manifest` is pure; the built-in manifests lie
beside this module as ``manifests/*.toml``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pkgutil import get_data
from typing import Any, Final
from uuid import UUID

NORMAL_WORLD: Final = "normal-world"
"""In ``callers``: every user of the normal world whom the table of users lists."""

BUILT_IN: Final = ("storage.toml", "crypto.toml", "attestation.toml", "firmware-update.toml")

_FIRST_SECURE_ID: Final = 0x8001  # 0x8000 is the partition manager itself (FF-A ids, DEN0077A clause 2.8)
_LAST_SECURE_ID: Final = 0xFFFE
_MAX_CONTEXTS: Final = 64
_MAX_SLOTS: Final = 4096
_MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024


class ManifestError(Exception):
    """A manifest cannot be used; the message names the manifest and the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One partition.

    ``execution_contexts`` 0 means one per core. ``memory_slots`` bounds the shared buffers of one source,
    ``max_shared_bytes`` the size of one buffer, ``queue_depth`` the requests that wait in one channel.
    ``secure_element``: it gets the element that the secure world is told of, if it is told of one. ``inspects_keys``:
    it may ask the partitions that it calls about keys of others.
    """

    name: str
    id: int
    module: str
    services: tuple[UUID, ...]
    boot_order: int
    callers: frozenset[str]
    execution_contexts: int = 1
    slow_contexts: int = 0
    memory_slots: int = 16
    max_shared_bytes: int = 1 << 20
    queue_depth: int = 32
    storage: bool = False
    counters: bool = False
    flash: bool = False
    secure_element: bool = False
    inspects_keys: bool = False


_KEYS: Final = frozenset(Manifest.__dataclass_fields__)


def parse_manifest(text: str, source: str) -> Manifest:
    """Check one manifest. ManifestError for anything unknown, missing or out of range."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{source}: not TOML: {error}") from error
    for key in document:
        if key not in _KEYS:
            near = get_close_matches(key, _KEYS, n=1, cutoff=0.0)
            raise ManifestError(f"{source}: unknown key {key!r}; the nearest valid one is {near[0]!r}")
    return Manifest(
        name=_text(document, "name", source),
        id=_number(document, "id", source, range(_FIRST_SECURE_ID, _LAST_SECURE_ID + 1)),
        module=_text(document, "module", source),
        services=tuple(_uuid(one, source) for one in _texts(document, "services", source)),
        boot_order=_number(document, "boot_order", source, range(0x10000)),
        callers=frozenset(_texts(document, "callers", source)),
        execution_contexts=_number(document, "execution_contexts", source, range(_MAX_CONTEXTS + 1), 1),
        slow_contexts=_number(document, "slow_contexts", source, range(_MAX_CONTEXTS + 1), 0),
        memory_slots=_number(document, "memory_slots", source, range(1, _MAX_SLOTS + 1), 16),
        max_shared_bytes=_number(document, "max_shared_bytes", source, range(4096, _MAX_MESSAGE_BYTES + 1), 1 << 20),
        queue_depth=_number(document, "queue_depth", source, range(1, 1025), 32),
        storage=_boolean(document, "storage", source),
        counters=_boolean(document, "counters", source),
        flash=_boolean(document, "flash", source),
        secure_element=_boolean(document, "secure_element", source),
        inspects_keys=_boolean(document, "inspects_keys", source),
    )


def check_together(manifests: Iterable[Manifest]) -> tuple[Manifest, ...]:
    """The manifests in boot order, if they fit together: names and ids are unique, callers exist and boot in order."""
    ordered = tuple(sorted(manifests, key=lambda manifest: (manifest.boot_order, manifest.id)))
    _require_unique("name", [manifest.name for manifest in ordered])
    _require_unique("id", [manifest.id for manifest in ordered])
    if sum(manifest.secure_element for manifest in ordered) > 1:
        raise ManifestError("a secure element belongs to one partition")
    by_name = {manifest.name: manifest for manifest in ordered}
    for manifest in ordered:
        if len(set(manifest.services)) != len(manifest.services):
            raise ManifestError(f"{manifest.name}: one endpoint cannot offer the same service twice")
        for caller in manifest.callers - {NORMAL_WORLD}:
            calling = by_name.get(caller)
            if calling is None:
                raise ManifestError(f"{manifest.name}: caller {caller!r} is no partition")
            # Whoever calls boots later, so calls only ever go down this order and cannot wait for each other in a ring.
            if calling.boot_order <= manifest.boot_order:
                raise ManifestError(f"{manifest.name}: its caller {caller!r} must have a higher boot_order")
    return ordered


def _require_unique(what: str, values: Sequence[object]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ManifestError(f"two partitions have the {what} {value!r}")


def built_in_manifests() -> tuple[Manifest, ...]:
    """The partitions that come with this package, in boot order."""
    found = {name: get_data("edgeroot.secure.spm", f"manifests/{name}") for name in BUILT_IN}
    return check_together(parse_manifest((text or b"").decode(), name) for name, text in found.items())


def _value(document: dict[str, Any], key: str, source: str) -> object:
    if key not in document:
        raise ManifestError(f"{source}: {key} is missing")
    return document[key]


def _text(document: dict[str, Any], key: str, source: str) -> str:
    value = _value(document, key, source)
    if not isinstance(value, str) or not value:
        raise ManifestError(f"{source}: {key} must be a string")
    return value


def _texts(document: dict[str, Any], key: str, source: str) -> list[str]:
    value = _value(document, key, source)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ManifestError(f"{source}: {key} must be a list of strings")
    return value


def _number(document: dict[str, Any], key: str, source: str, allowed: range, default: int | None = None) -> int:
    value = document.get(key, default) if default is not None else _value(document, key, source)
    if not isinstance(value, int) or isinstance(value, bool) or value not in allowed:
        raise ManifestError(f"{source}: {key} must be a number from {allowed[0]} to {allowed[-1]}")
    return value


def _boolean(document: dict[str, Any], key: str, source: str) -> bool:
    value = document.get(key, False)
    if not isinstance(value, bool):
        raise ManifestError(f"{source}: {key} must be true or false")
    return value


def _uuid(text: str, source: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise ManifestError(f"{source}: {text!r} in services is no UUID") from error
