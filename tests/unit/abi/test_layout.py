from __future__ import annotations

from dataclasses import dataclass

import pytest

from edgeroot.abi.layout import Tlv, tlv_layout


@dataclass(frozen=True, slots=True)
class Two:
    number: int
    data: bytes


@pytest.mark.parametrize(
    ("struct_format", "tlvs"),
    [
        ("II", [Tlv(1, "data")]),
        ("", [Tlv(1, "data")]),
        ("I", [Tlv(1, "number")]),
        ("I", []),
    ],
)
def test_a_layout_that_is_not_that_of_its_dataclass_is_not_made(struct_format: str, tlvs: list[Tlv]) -> None:
    with pytest.raises(TypeError):
        tlv_layout(Two, struct_format, *tlvs)
