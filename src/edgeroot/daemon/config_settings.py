"""Reading the settings of one provider into the dataclass that its type declares."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from edgeroot.daemon.config_values import About, KnownKey, Ours, TableReader
from edgeroot.psa import Secret

# What a field may be declared as: the TOML type it is written as, and how the value is made of it.
_KINDS: Final[dict[type, tuple[type, Any]]] = {
    bool: (bool, bool),
    int: (int, int),
    str: (str, str),
    Path: (str, Path),
    Secret: (str, lambda text: Secret(text.encode())),
}


def read_settings(table: TableReader, settings: type[Any], directory: Path) -> Any:  # noqa: ANN401 - each type has settings of its own
    """An instance of ``settings``, whose fields are bool, int, str, Path, Secret or one of these or None.

    Relative paths start at ``directory``. A field without a default is a required key. A ValueError of the dataclass
    becomes a problem of the table. None if anything was wrong. TypeError, a fault of the provider's author, if a field
    has another type.
    """
    hints = get_type_hints(settings)
    problems_before = len(table.findings.problems)
    values = {}
    for field in fields(settings):
        plain_type = _plain_type(settings, field.name, hints[field.name])
        kind, make = _KINDS[plain_type]
        known = KnownKey(kind=kind, about=_about(field), required=_is_required(field), default=field.default)
        value = table.value(field.name, known)
        if value is not None:
            made = make(value)
            values[field.name] = directory / made if plain_type is Path else made
    if len(table.findings.problems) > problems_before:
        return None
    try:
        return settings(**values)
    except ValueError as error:
        table.findings.problem(table.name, str(error))
        return None


def _about(field: Field[Any]) -> About:
    said = field.metadata
    kind = Ours if said.get("ours") else About
    return kind(said.get("meaning", ""), said.get("otherwise", ""))


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _plain_type(settings: type[Any], name: str, hint: Any) -> type:  # noqa: ANN401 - a type expression
    if get_origin(hint) in (Union, UnionType):
        alternatives = [alternative for alternative in get_args(hint) if alternative is not NoneType]
        hint = alternatives[0] if len(alternatives) == 1 else None
    if hint not in _KINDS:
        raise TypeError(f"{settings.__qualname__}.{name} has a type that a configuration cannot give")
    plain: type = hint
    return plain
