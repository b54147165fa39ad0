from __future__ import annotations

from pathlib import Path

import pytest

from edgeroot.providers.pkcs11 import Pkcs11Settings
from edgeroot.providers.pkcs11.settings import PinSource, pin_source
from edgeroot.psa import Secret


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (b"1234", PinSource(value=Secret(b"1234"))),
        (b"str:1234", PinSource(value=Secret(b"1234"))),
        (b"str:a:b", PinSource(value=Secret(b"a:b"))),
        (b"str:", PinSource(value=Secret(b""))),
        (b"hex:31ff", PinSource(value=Secret(b"1\xff"))),
        (b"other:1234", PinSource(value=Secret(b"other:1234"))),
        (b"file:/etc/pin", PinSource(file=Path("/etc/pin"))),
        (b"credential:pin", PinSource(credential="pin")),
    ],
)
def test_a_pin_is_given_in_several_forms(text: bytes, source: PinSource) -> None:
    assert pin_source(Secret(text)) == source


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"hex:secret", "not hexadecimal"),
        (b"hex:\xff", "not hexadecimal"),
        (b"file:secret", "must be absolute"),
        (b"credential:", "names no credential"),
        (b"credential:../secret", "names no credential"),
    ],
)
def test_a_pin_in_no_form_is_refused_without_saying_it(text: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        Pkcs11Settings(library_path=Path("/m.so"), user_pin=Secret(text))
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_the_pin_does_not_show() -> None:
    settings = Pkcs11Settings(library_path=Path("/m.so"), user_pin=Secret(b"str:1234"))
    assert "1234" not in repr(settings)
    assert "1234" not in repr(pin_source(settings.user_pin))


def test_a_label_selects_alone() -> None:
    for slot_number, serial_number in ((1, None), (None, "1")):
        with pytest.raises(ValueError, match="leave slot_number and serial_number out"):
            Pkcs11Settings(Path("/m.so"), slot_number, serial_number, token_label="a")
    with pytest.raises(ValueError, match="negative"):
        Pkcs11Settings(library_path=Path("/m.so"), slot_number=-1)
