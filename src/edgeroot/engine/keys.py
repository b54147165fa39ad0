"""Making and loading keys of every type: each family of types has a module of its own."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Final, Protocol

from edgeroot.engine import dh, ecc, hashes, montgomery, rsa, symmetric
from edgeroot.engine.errors import invalid_argument, not_supported
from edgeroot.engine.key import EngineKey, Row
from edgeroot.psa import KeyAttributes, KeyType, Secret


class _Family(Protocol):
    """What the module of a family of key types offers."""

    @property
    def KEY_TYPES(self) -> frozenset[KeyType]: ...  # noqa: N802 - a constant of the module

    def generate(self, attributes: KeyAttributes) -> Secret: ...

    def import_material(self, attributes: KeyAttributes, data: bytes) -> tuple[int, Secret]: ...

    def load(self, attributes: KeyAttributes, material: Secret) -> EngineKey: ...

    def rows(self) -> tuple[Row, ...]: ...


_FAMILIES: Final[tuple[_Family, ...]] = (rsa, ecc, montgomery, dh, symmetric)
_FAMILY_OF: Final[dict[KeyType, _Family]] = {key_type: family for family in _FAMILIES for key_type in family.KEY_TYPES}


def _family(key_type: KeyType) -> _Family:
    family = _FAMILY_OF.get(key_type)
    if family is None:
        raise not_supported(f"keys of type {key_type!r}")
    return family


def generate(attributes: KeyAttributes) -> Secret:
    """Fresh material for a key of this type and size; INVALID_ARGUMENT for a public key or a size that none has."""
    family = _family(attributes.key_type)
    if attributes.key_type.is_public_key:
        raise invalid_argument("a public key cannot be generated")
    return family.generate(attributes)


def import_material(attributes: KeyAttributes, data: bytes) -> tuple[KeyAttributes, Secret]:
    """The attributes with the size that the data has, and the material; INVALID_ARGUMENT for anything malformed.

    ``attributes.key_bits`` is 0 to accept any size, otherwise the data must have just that.
    """
    key_bits, material = _family(attributes.key_type).import_material(attributes, data)
    if attributes.key_bits not in (0, key_bits):
        raise invalid_argument(f"the key has {key_bits} bits, not {attributes.key_bits}")
    return replace(attributes, key_bits=key_bits), material


def export(attributes: KeyAttributes, material: Secret) -> Secret:
    """The material in the format of psa_export_key."""
    return ecc.export(attributes, material) if attributes.key_type in ecc.KEY_TYPES else material


def load(attributes: KeyAttributes, material: Secret) -> EngineKey:
    """The key ready for use. The material must come from :func:`generate` or :func:`import_material`: it is trusted."""
    return _family(attributes.key_type).load(attributes, material)


def random(size_bytes: int) -> Secret:
    """Random bytes from the operating system."""
    return Secret(os.urandom(size_bytes))


def rows() -> tuple[Row, ...]:
    """Everything that the engine can do."""
    table = hashes.rows() + (Row(("generate_random",)),)
    for family in _FAMILIES:
        table += family.rows()
    return table
