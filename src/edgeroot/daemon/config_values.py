"""Reading typed values out of TOML tables, noting everything that is wrong instead of stopping at the first fault.

A :class:`TableReader` knows a key because somebody asked for it: what was not asked for when :meth:`TableReader.finish`
is called is unknown. Whoever asks also says what the key means, of which the tables in ``docs`` are made. After a fault
a reader returns a placeholder, which nobody gets to see, because :meth:`Findings.raise_if_any` is called before the
result is handed out.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_MILLISECONDS: Final = 2**31 - 1  # what epoll_wait(2) can be given
_MAX_SOCKET_PATH_BYTES: Final = 107  # sun_path of unix(7) without the NUL at its end
_TYPE_NAMES: Final = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "a table",
}


class ConfigError(Exception):
    """The configuration cannot be used. ``problems`` has a line for each fault, starting with the key's dotted name."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.source = source
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class About:
    """What a key means, in Markdown, and what holds where it is left out and no single value does (``otherwise``)."""

    meaning: str
    otherwise: str = ""


class Ours(About):
    """Of a key that upstream does not have."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """What may stand under a key: a value of this type, within ``bounds`` or one of ``choices``."""

    kind: type
    about: About | None
    required: bool = False
    default: object = None
    bounds: tuple[int, int] | None = None
    choices: tuple[str, ...] = ()


class Findings:
    """What was wrong or odd so far; ``known`` collects the keys that each table may have."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.known: dict[str, dict[str, KnownKey]] = {}

    def problem(self, path: str, message: str) -> None:
        self.problems.append(f"{path}: {message}")

    def warning(self, path: str, message: str) -> None:
        self.warnings.append(f"{path}: {message}")

    def raise_if_any(self) -> None:
        if self.problems:
            raise ConfigError(self.source, self.problems)


def quoted(names: Iterable[str]) -> str:
    """Names for an error message: ``"a", "b"``."""
    return ", ".join(f'"{name}"' for name in names)


def suggestion(name: str, valid: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest valid one, or all of them."""
    candidates = sorted(valid)
    lowered = {candidate.lower(): candidate for candidate in candidates}
    near = difflib.get_close_matches(name.lower(), lowered, n=1)
    if near:
        return f'did you mean "{lowered[near[0]]}"?'
    return f"valid are {quoted(candidates)}" if candidates else "there is none"


def type_name(value: object) -> str:
    """What TOML calls this value."""
    return _TYPE_NAMES.get(type(value), "a date or time")


class TableReader:
    """One table. Every method takes the key first, then what it means; a key without a default is required."""

    def __init__(self, table: dict[str, object], name: str, findings: Findings) -> None:
        self.name = name
        self.findings = findings
        self._table = table
        self._known = findings.known.setdefault(re.sub(r"\[\d+\]", "", name), {})
        self._mine: set[str] = set()

    def name_of(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def problem(self, key: str, message: str) -> None:
        self.findings.problem(self.name_of(key), message)

    def warning(self, key: str, message: str) -> None:
        self.findings.warning(self.name_of(key), message)

    def has(self, key: str) -> bool:
        return key in self._table

    def value(self, key: str, known: KnownKey) -> object | None:
        """The value if it is there and of this type (``bool`` is no ``int``), otherwise None."""
        self._note(key, known)
        kind = known.kind
        if key not in self._table:
            if known.required:
                self.problem(key, f"is required: {_TYPE_NAMES[kind]}")
            return None
        value = self._table[key]
        if type(value) is not kind:
            self.problem(key, f"must be {_TYPE_NAMES[kind]}, not {type_name(value)}")
            return None
        return value

    def _note(self, key: str, known: KnownKey) -> None:
        self._known.setdefault(key, known)
        self._mine.add(key)

    def boolean(self, key: str, about: About, default: bool | None = None) -> bool:
        value = self.value(key, KnownKey(kind=bool, about=about, required=default is None, default=default))
        return value if isinstance(value, bool) else bool(default)

    def optional_integer(
        self,
        key: str,
        about: About,
        *,
        minimum: int,
        maximum: int,
        default: int | None = None,
        required: bool = False,
    ) -> int | None:
        """The default if it is absent or no integer."""
        known = KnownKey(kind=int, about=about, required=required, default=default, bounds=(minimum, maximum))
        value = self.value(key, known)
        if not isinstance(value, int):
            return default
        if not minimum <= value <= maximum:
            self.problem(key, f"must be from {minimum} to {maximum}, not {value}")
        return value

    def integer(self, key: str, about: About, default: int | None = None, *, minimum: int, maximum: int) -> int:
        required = default is None
        value = self.optional_integer(key, about, minimum=minimum, maximum=maximum, default=default, required=required)
        return minimum if value is None else value

    def milliseconds(self, key: str, about: About, default_ms: int | None = None) -> float:
        """A positive time, given in milliseconds, in seconds."""
        return self.integer(key, about, default_ms, minimum=1, maximum=MAX_MILLISECONDS) / 1000

    def optional_text(
        self, key: str, about: About, *, default: str | None = None, required: bool = False
    ) -> str | None:
        """The default if it is absent or no string."""
        value = self.value(key, KnownKey(kind=str, about=about, required=required, default=default))
        if not isinstance(value, str):
            return default
        if not value or "\0" in value:
            self.problem(key, "must not hold the character NUL" if value else "must not be empty")
        return value

    def text(self, key: str, about: About, default: str | None = None) -> str:
        return self.optional_text(key, about, default=default, required=default is None) or ""

    def path(self, key: str, about: About, default: str, directory: Path) -> Path:
        """A path, in ``directory`` if it is relative."""
        return directory / self.text(key, about, default)

    def check_socket_path(self, key: str, path: Path) -> Path:
        """``path`` again; a problem of this key if no socket can have it."""
        length_bytes = len(os.fsencode(path))
        if length_bytes > _MAX_SOCKET_PATH_BYTES:
            self.problem(key, f"{path} has {length_bytes} bytes; a socket's path can have {_MAX_SOCKET_PATH_BYTES}")
        return path

    def optional_choice(
        self,
        key: str,
        about: About,
        choices: Sequence[str],
        *,
        default: str | None = None,
        required: bool = False,
    ) -> str | None:
        """One of a few strings; the default if it is absent or wrong."""
        known = KnownKey(kind=str, about=about, required=required, default=default, choices=tuple(choices))
        value = self.value(key, known)
        if not isinstance(value, str):
            return default
        if value not in choices:
            self.problem(key, f'"{value}" is not known here; {suggestion(value, choices)}')
            return default
        return value

    def choice(self, key: str, about: About, choices: Sequence[str], default: str) -> str:
        return self.optional_choice(key, about, choices, default=default) or default

    def texts(self, key: str, about: About, *, required: bool = False) -> list[str] | None:
        """An array of different strings, at least one; None if it is absent or wrong."""
        value = self.value(key, KnownKey(kind=list, about=about, required=required))
        if not isinstance(value, list):
            return None
        if not value or not all(isinstance(item, str) for item in value):
            self.problem(key, "must be an array of strings, at least one")
            return None
        if len(set(value)) < len(value):
            self.problem(key, "names something twice")
        return value

    def tables(self, key: str, about: About | None = None) -> list[TableReader]:
        """The tables under this key, which may be one ``[key]`` or an array ``[[key]]``; empty if there is none."""
        self._note(key, KnownKey(kind=list, about=about))
        value = self._table.get(key)
        path = self.name_of(key)
        if value is None:
            return []
        if isinstance(value, dict):
            return [TableReader(value, path, self.findings)]
        if isinstance(value, list) and all(isinstance(item, dict) for item in value):
            return [TableReader(item, f"{path}[{index}]", self.findings) for index, item in enumerate(value)]
        self.problem(key, f"must be a table or an array of tables, not {type_name(value)}")
        return []

    def table(self, key: str, about: About | None = None) -> TableReader | None:
        """The one table under this key, None if it is absent."""
        self._note(key, KnownKey(kind=dict, about=about))
        found = self.tables(key)
        if len(found) > 1 or (found and isinstance(self._table[key], list)):
            self.problem(key, f"must be one table [{self.name_of(key)}], not an array of tables")
        return found[0] if found else None

    def finish(self) -> None:
        """Report the keys that nobody asked for."""
        for key in self._table:
            if key not in self._mine:
                self.problem(key, f"unknown key; {suggestion(key, self._mine)}")
