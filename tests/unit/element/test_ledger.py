from __future__ import annotations

import json

import pytest

from edgeroot.element.ledger import Ledger
from edgeroot.providers.secure_element.reference import name_in, new_reference
from edgeroot.psa import PsaError, PsaStatus

ONE, OTHER = b"1" * 16, b"2" * 16
LEDGER = Ledger(b"i" * 16, bytes(9), {ONE: 3})


def test_it_is_read_as_it_was_written() -> None:
    grown = LEDGER.with_slot(OTHER, 15)
    assert Ledger.from_text(grown.to_text()) == grown
    assert (grown.is_taken(3), grown.is_taken(15), grown.is_taken(0)) == (True, True, False)
    assert grown.without(OTHER) == LEDGER
    assert LEDGER.without(OTHER) == LEDGER


def changed(**values: object) -> str:
    return json.dumps({**json.loads(LEDGER.to_text()), **values})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        changed(version=2),
        changed(id="00"),
        changed(id="zz"),
        changed(serial_number=3),
        changed(slots=[]),
        changed(slots={"3": "00"}),
        changed(slots={"16": ONE.hex()}),
        changed(slots={"x": ONE.hex()}),
        changed(slots={"3": ONE.hex(), "4": ONE.hex()}),
        LEDGER.to_text()[:-20],
    ],
)
def test_damage_is_noticed(text: str) -> None:
    with pytest.raises(PsaError, match="the list of slots is damaged") as raised:
        Ledger.from_text(text)
    assert raised.value.status is PsaStatus.DATA_CORRUPT


def test_references() -> None:
    one, other = new_reference(), new_reference()
    assert one != other
    assert len(name_in(one)) == 16
    for wrong in (b"", one[:-1], one + b"\0", b"\x02" + one[1:]):
        with pytest.raises(PsaError) as raised:
            name_in(wrong)
        assert raised.value.status is PsaStatus.DATA_INVALID
