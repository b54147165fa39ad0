"""The keys of the ``[[provider]]`` table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgeroot.psa import Secret

_PIN_FORMS: Final = 'user_pin is "str:1234", "hex:31323334", "file:/absolute/path" or "credential:NAME"'


@dataclass(frozen=True, slots=True)
class Pkcs11Settings:
    """The keys of the ``[[provider]]`` table. Where nothing selects a token, the only initialised one is meant.

    ``user_pin`` without a prefix is the PIN itself. ValueError for what cannot work.
    """

    library_path: Path = field(metadata={"meaning": "The module."})
    slot_number: int | None = field(
        default=None, metadata={"meaning": "The token in this slot. Many modules number slots anew at each start."}
    )
    serial_number: str | None = field(
        default=None,
        metadata={"meaning": "The token with this serial number. It decides where `slot_number` is there as well."},
    )
    token_label: str | None = field(
        default=None,
        metadata={"meaning": "The token with this label; then neither of the other two.", "ours": True},
    )
    user_pin: Secret | None = field(
        default=None,
        metadata={
            "meaning": "The PIN of the token's user. Without it nobody logs in, and every program that reaches the "
            "token can use its keys."
        },
    )
    software_public_operations: bool = field(
        default=False,
        metadata={
            "meaning": "What a public key can do is done in the service: signatures verified, data encrypted. Faster, "
            "and needed where the token cannot."
        },
    )
    allow_export: bool = field(
        default=True,
        metadata={
            "meaning": "Whether keys can be made that may be exported. If not, to ask for one is NotPermitted, and "
            "none comes out that is there."
        },
    )

    def __post_init__(self) -> None:
        if self.token_label is not None and (self.slot_number, self.serial_number) != (None, None):
            raise ValueError("token_label selects a token: leave slot_number and serial_number out")
        if self.slot_number is not None and self.slot_number < 0:
            raise ValueError("slot_number must not be negative")
        pin_source(self.user_pin)


@dataclass(frozen=True, slots=True)
class PinSource:
    """Where the PIN is: in the configuration, in a file, or in a credential of systemd's."""

    value: Secret | None = None
    file: Path | None = None
    credential: str | None = None


def pin_source(text: Secret | None) -> PinSource | None:
    """What ``user_pin`` says. ValueError, without the PIN in it, if it says nothing that makes sense."""
    if text is None:
        return None
    prefix, _, rest = text.partition(b":")
    if prefix == b"hex":
        try:
            return PinSource(value=Secret(bytes.fromhex(rest.decode("ascii"))))
        except ValueError:
            raise ValueError(f"user_pin is not hexadecimal after hex: ({_PIN_FORMS})") from None
    if prefix == b"file":
        path = Path(rest.decode())
        if not path.is_absolute():
            raise ValueError(f"the path in user_pin must be absolute ({_PIN_FORMS})")
        return PinSource(file=path)
    if prefix == b"credential":
        name = rest.decode()
        if not name or "/" in name:
            raise ValueError(f"user_pin names no credential ({_PIN_FORMS})")
        return PinSource(credential=name)
    return PinSource(value=Secret(rest if prefix == b"str" else text))
