"""The emulated ATECC as Microchip's genuine library sees it, beyond what the service asks of it."""

from __future__ import annotations

import ctypes
import os

from edgeroot.element.native.library import i2c
from edgeroot.testing.atecc import Atecc, Model, crc16, key_config, slot_config
from edgeroot.testing.atecc.zones import KEY_P256
from tests.support.secure_element import LIBRARY, on_a_bus, personalised, settings_for


def test_the_library_counts_the_same_crc() -> None:
    for size in (1, 2, 7, 64, 151):
        data = os.urandom(size)
        expected = (ctypes.c_uint8 * 2)()
        LIBRARY.atCRC(ctypes.c_size_t(size), data, expected)
        assert crc16(data) == bytes(expected)


def test_the_library_personalises_it() -> None:
    """From the factory's state: configuration written, both zones locked with their summaries, a slot locked."""
    part = Atecc(Model.ATECC608A)
    wanted = Atecc(Model.ATECC608A)
    pair = key_config(KEY_P256, private=True, pub_info=True)
    wanted.zones.set_slot(3, slot_config(read_key=1, is_secret=True, write_config=2), pair)
    device, config = ctypes.c_void_p(), i2c(settings_for(part.model))
    flag = ctypes.c_bool()
    with on_a_bus(part):
        assert LIBRARY.atcab_init_ext(ctypes.byref(device), ctypes.byref(config)) == 0
        assert LIBRARY.calib_write_config_zone(device, wanted.zones.config) == 0
        assert part.zones.config == wanted.zones.config
        assert LIBRARY.calib_lock_config_zone_crc(device, int.from_bytes(crc16(wanted.zones.config), "little")) == 0
        assert LIBRARY.calib_is_locked(device, 0, ctypes.byref(flag)) == 0
        assert flag.value
        assert LIBRARY.calib_lock_data_zone(device) == 0
        assert LIBRARY.calib_is_locked(device, 1, ctypes.byref(flag)) == 0
        assert flag.value
        assert LIBRARY.calib_lock_data_slot(device, 3) == 0
        assert LIBRARY.calib_is_slot_locked(device, 3, ctypes.byref(flag)) == 0
        assert flag.value
        LIBRARY.atcab_release_ext(ctypes.byref(device))


def test_the_library_hashes_with_it() -> None:
    part = personalised(Model.ATECC508A)
    device, config = ctypes.c_void_p(), i2c(settings_for(part.model))
    digest = (ctypes.c_uint8 * 32)()
    with on_a_bus(part):
        assert LIBRARY.atcab_init_ext(ctypes.byref(device), ctypes.byref(config)) == 0
        assert LIBRARY.calib_hw_sha2_256(device, b"abc", ctypes.c_size_t(3), digest) == 0
        LIBRARY.atcab_release_ext(ctypes.byref(device))
    assert bytes(digest).hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
