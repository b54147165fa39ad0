"""The base of operations and results: immutable values with named fields, written like dataclasses.

A dataclass compiles half a dozen functions when it is defined. For the classes of the contract that took longer than
all else that a client imports, and a client uses few of them. Here all share what is below, except for the constructor:
each class's own is compiled when it is first called, since nothing that fits all of them is as quick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, dataclass_transform


class _Secret:
    """What :func:`secret` leaves in a class's body."""


def secret() -> Any:  # noqa: ANN401 - it stands where a value of the field's own type would
    """Marks a field that is never printed. It stands where a default would, but is none."""
    return _Secret()


@dataclass_transform(frozen_default=True, field_specifiers=(secret,))
class _RecordType(type):
    """Makes slots of the names that a class's body annotates. Fields are not inherited."""

    def __new__(mcls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> _RecordType:
        if not bases:
            return super().__new__(mcls, name, bases, body)
        names = tuple(body.get("__annotations__", ()))
        given = {field: body.pop(field) for field in names if field in body}
        hidden = {field for field, value in given.items() if isinstance(value, _Secret)}
        body["__slots__"] = body["__match_args__"] = names
        body["_defaults"] = {field: value for field, value in given.items() if field not in hidden}
        body["_shown"] = tuple(field for field in names if field not in hidden)
        return super().__new__(mcls, name, bases, body)


class Record(metaclass=_RecordType):
    """Fields are given in their order or by name. Records of the same class with the same fields are equal."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, object]] = {}
    _shown: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *values: object, **named: object) -> None:
        constructor = _constructor(type(self))
        type.__setattr__(type(self), "__init__", constructor)
        constructor(self, *values, **named)

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__match_args__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shown)
        return f"{type(self).__qualname__}({fields})"

    if not TYPE_CHECKING:  # a type checker knows better than that any name may be set

        def __setattr__(self, name: str, value: object) -> NoReturn:
            raise AttributeError(f"{name} of {type(self).__name__} cannot be changed")

        def __delattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"{name} of {type(self).__name__} cannot be changed")

    def __replace__(self, **changes: object) -> Self:
        """A record like this one but for ``changes``; what ``copy.replace`` calls from Python 3.13 on."""
        return type(self)(**dict(zip(self.__match_args__, self._values(), strict=True)) | changes)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), self._values()


def _constructor(kind: type[Record]) -> Callable[..., None]:
    """``def __init__(self, a, b=…)`` that puts its arguments into the slots."""
    names = kind.__match_args__
    scope: dict[str, Any] = {f"_set_{name}": getattr(kind, name).__set__ for name in names}
    scope["_defaults"] = kind._defaults
    parameters = [f"{name}=_defaults['{name}']" if name in kind._defaults else name for name in names]
    lines = [f"_set_{name}(self, {name})" for name in names]
    source = f"def __init__({', '.join(['self', *parameters])}):\n " + ("\n ".join(lines) or "pass")
    exec(source, scope)  # noqa: S102 - of nothing but names out of our own source
    constructor: Callable[..., None] = scope["__init__"]
    constructor.__qualname__ = f"{kind.__qualname__}.__init__"
    return constructor
