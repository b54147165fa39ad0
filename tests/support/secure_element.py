"""Emulated ATECC508A and ATECC608A beneath Microchip's genuine library, personalised as a device's maker would."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edgeroot.element.keys import ElementKeys
from edgeroot.element.native.files import SlotFiles
from edgeroot.element.native.library import LibraryElement, i2c, load_binding, load_library
from edgeroot.element.settings import DeviceType, parse_slots
from edgeroot.providers.secure_element.provider import SecureElementProvider, SecureElementProviderType
from edgeroot.providers.secure_element.settings import SecureElementSettings
from edgeroot.psa import Secret
from edgeroot.testing.atecc import Atecc, Bus, Model, key_config, slot_config
from edgeroot.testing.atecc.zones import KEY_AES, KEY_OTHER, KEY_P256

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # the package leaves a file to the collector
    LIBRARY: Final = load_library()
    _STATUS: Final = load_binding().Status
STATUSES: Final[dict[str, int]] = {status.name: int(status) for status in _STATUS if int(status)}
"""What the library can answer but success, by its names."""

ADDRESS: Final = 0xC0
ACCESS_SLOT: Final = 4
ACCESS_KEY: Final = Secret(b"what both sides know, 32 bytes..")
SIGN, INTERNAL, AGREE = 1, 2, 4
ALWAYS, GENKEY, ENCRYPTED, NEVER = 0b0000, 0b0010, 0b0100, 0b1000

_PAIR: Final = key_config(KEY_P256, private=True, pub_info=True)
_SECRET: Final = slot_config(is_secret=True, write_config=ALWAYS)


def roomy(model: Model, file: Path, serial_number: bytes = bytes.fromhex("0123456789abcdefee")) -> Atecc:
    """With fourteen slots that are free for key pairs."""
    part = Atecc(model, serial_number, file=file)
    if not part.zones.is_data_locked:
        for number in range(14):
            config = slot_config(read_key=SIGN | AGREE, is_secret=True, write_config=GENKEY)
            part.zones.set_slot(number, config, _PAIR)
        part.zones.lock_config()
        part.zones.lock_data()
    return part


def personalised(model: Model, serial_number: str = "0123456789abcdefee") -> Atecc:
    """Locked, with slots of every kind that the service has a use for, and some that it must leave alone."""
    part = Atecc(model, bytes.fromhex(serial_number))
    zones = part.zones

    def pair(number: int, *, read_key: int, write_config: int, key: int = _PAIR) -> None:
        config = slot_config(read_key=read_key, is_secret=True, write_config=write_config, write_key=ACCESS_SLOT)
        zones.set_slot(number, config, key)

    pair(0, read_key=SIGN | INTERNAL, write_config=NEVER)  # the device's own identity, made in the factory
    pair(1, read_key=SIGN, write_config=GENKEY)
    pair(2, read_key=SIGN | AGREE, write_config=GENKEY | ENCRYPTED)
    pair(3, read_key=SIGN | AGREE, write_config=GENKEY)
    zones.set_slot(ACCESS_SLOT, slot_config(is_secret=True, write_config=NEVER), key_config(KEY_OTHER))
    pair(5, read_key=AGREE, write_config=ENCRYPTED)
    zones.set_slot(6, _SECRET, key_config(KEY_AES))
    encrypted = slot_config(is_secret=True, write_config=ENCRYPTED, write_key=ACCESS_SLOT)
    zones.set_slot(7, encrypted, key_config(KEY_AES))
    zones.set_slot(8, slot_config(write_config=ALWAYS), key_config(KEY_OTHER))  # data for everybody
    zones.set_slot(9, _SECRET, key_config(KEY_OTHER))
    zones.set_slot(10, encrypted, key_config(KEY_OTHER))
    zones.set_slot(11, slot_config(write_config=ALWAYS), key_config(KEY_P256))
    zones.set_slot(12, slot_config(write_config=ALWAYS), key_config(KEY_P256))
    pair(13, read_key=SIGN, write_config=GENKEY, key=_PAIR | 0x40)  # wants a nonce with each signature
    zones.set_slot(14, slot_config(is_secret=True, limited_use=True), key_config(KEY_OTHER))
    zones.set_slot(15, slot_config(write_config=NEVER), key_config(KEY_P256))  # a public key of the maker's
    zones.write_slot(ACCESS_SLOT, 0, ACCESS_KEY)
    zones.lock_config()
    zones.lock_data()
    return part


def settings_for(model: Model, *, access_key_file_name: Path | None = None, slots: str = "") -> SecureElementSettings:
    """``rx_retries`` is small: what does not answer here never will."""
    return SecureElementSettings(
        model.name.lower(),
        "i2c",
        wake_delay=1,
        rx_retries=1,
        slave_address=ADDRESS,
        access_key_file_name=access_key_file_name,
        slots=slots,
    )


@contextmanager
def on_a_bus(part: Atecc) -> Iterator[Bus]:
    with Bus(LIBRARY, {ADDRESS: part}).attached() as bus:
        yield bus


def element_keys(model: Model, folder: Path) -> ElementKeys:
    """As a partition has them: with no access keys, and the list of slots in this folder."""
    opened = element(model)
    return ElementKeys(
        lambda: opened, SlotFiles(folder / "keys", "i2c-1-c0"), device=DeviceType[model.name], allowed=parse_slots("")
    )


def element(model: Model) -> LibraryElement:
    return LibraryElement(i2c(settings_for(model)))


def open_provider(
    model: Model, directory: Path, *, knows_access_key: bool = True, slots: str = ""
) -> SecureElementProvider:
    """As the service opens it, from settings and with its files in this directory. It is not started."""
    path: Path | None = None
    if knows_access_key:
        path = directory / "access-keys.toml"
        path.write_text(f"access_keys = [{{ slot = {ACCESS_SLOT}, key = {list(ACCESS_KEY)} }}]\n")
    settings = settings_for(model, access_key_file_name=path, slots=slots)
    return SecureElementProviderType().open(settings, store_path=directory / "keys.sqlite3")
