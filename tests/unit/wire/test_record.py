from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys

import pytest

from edgeroot.psa import Algorithm
from edgeroot.wire import operations as ops
from edgeroot.wire.opcodes import SPECS
from edgeroot.wire.record import Record, secret

KINDS = sorted({kind for spec in SPECS.values() for kind in (spec.operation, spec.result)}, key=str)


class Point(Record):
    x: int
    hidden: bytes = secret()
    y: int = 7


class Pair(Record):
    x: int
    hidden: bytes = secret()
    y: int = 7


def test_fields_are_given_in_order_or_by_name() -> None:
    point = Point(1, b"3", 2)

    assert (point.x, point.y, point.hidden) == (1, 2, b"3")
    assert Point(1, hidden=b"3", y=2) == point
    assert Point(1, hidden=b"3") == Point(1, b"3", 7)


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((1,), {}), ((1, b"", 2, 4), {}), ((1, b""), {"x": 1}), ((1,), {"hidden": b"", "z": 3})],
)
def test_other_arguments_are_refused(values: tuple[object, ...], named: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"Point\.__init__"):
        Point(*values, **named)  # type: ignore[arg-type] # what the type checker would refuse


def test_nothing_can_be_changed_or_added() -> None:
    point = Point(1, b"3", 2)
    for name in ("x", "other"):
        with pytest.raises(AttributeError, match=f"{name} of Point cannot be changed"):
            setattr(point, name, 5)
    with pytest.raises(AttributeError, match="x of Point cannot be changed"):
        delattr(point, "x")
    assert not hasattr(point, "__dict__")
    assert point.x == 1


def test_equality_and_hash_go_by_class_and_fields() -> None:
    assert Point(1, b"3", 2) == Point(1, b"3", 2)
    assert hash(Point(1, b"3", 2)) == hash(Point(1, b"3", 2))
    assert Point(1, b"3", 2) != Point(1, b"4", 2)
    assert Point(1, b"3", 2) != Pair(1, b"3", 2)
    assert len({Point(1, b"3", 2), Point(1, b"3", 2), Pair(1, b"3", 2)}) == 2
    assert Point(1, b"3", 2) != (1, b"3", 2)


def test_what_is_printed() -> None:
    assert repr(Point(1, b"3", 2)) == "Point(x=1, y=2)"
    assert repr(ops.PsaDestroyKey("a key")) == "PsaDestroyKey(key_name='a key')"
    assert repr(ops.Ping()) == "Ping()"


def test_patterns_match() -> None:
    match Point(1, b"3", 2):
        case Point(x, hidden, y=y):
            assert (x, y, hidden) == (1, 2, b"3")
        case _:
            pytest.fail("no match")


def test_replacing() -> None:
    assert Point(1, b"3", 2).__replace__(x=5) == Point(5, b"3", 2)
    with pytest.raises(TypeError):
        Point(1, b"3", 2).__replace__(z=5)


def test_copies_are_equal() -> None:
    operation = ops.PsaSignHash("key", Algorithm.NONE, b"hash")
    for same in (copy.copy(operation), copy.deepcopy(operation), pickle.loads(pickle.dumps(operation))):
        assert same == operation


@pytest.mark.parametrize("kind", KINDS)
def test_every_operation_and_result_keeps_its_fields(kind: type[Record]) -> None:
    names = kind.__match_args__
    one = kind(*range(len(names)))

    assert [getattr(one, name) for name in names] == list(range(len(names)))
    assert one == kind(**{name: index for index, name in enumerate(names)})
    assert list(inspect.signature(kind.__init__).parameters) == ["self", *names]


def test_a_client_imports_only_what_it_uses() -> None:
    """Start-up time is what a command line is judged by: the rest comes with the first request or not at all."""
    heavy = {"cryptography", "google.protobuf", "asyncio", "sqlite3", "click", "rich", "prometheus_client"}
    program = f"import sys, edgeroot.client; print(sorted({heavy} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout == "[]\n"
