from __future__ import annotations

import pytest

from edgeroot.element.access_keys import parse_access_keys
from edgeroot.element.settings import DeviceType, parse_slots
from edgeroot.providers.secure_element.settings import SecureElementSettings
from edgeroot.psa import PsaError, PsaStatus

KEY = list(range(32))


def test_upstreams_section_as_it_is() -> None:
    settings = SecureElementSettings(
        "atecc508a", "i2c", wake_delay=1500, rx_retries=20, slave_address=0xC0, bus=1, baud=400000
    )
    assert settings.device is DeviceType.ATECC508A


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"device_type": "atecc204"}, 'device_type must be "atecc508a" or "atecc608a", not "atecc204"'),
        ({"device_type": "always-success"}, "devices and interfaces for tests are not offered"),
        ({"iface_type": "test-interface"}, "devices and interfaces for tests are not offered"),
        ({"iface_type": "spi"}, 'iface_type must be "i2c", not "spi"'),
        ({"wake_delay": 65536}, "wake_delay must be between 0 and 65535"),
        ({"rx_retries": -1}, "rx_retries must be between 0 and 255"),
        ({"slave_address": 256}, "slave_address must be between 0 and 255"),
        ({"slave_address": 0x6B}, "as 0xC0 for 0x60"),
        ({"slave_address": 0}, "as 0xC0 for 0x60"),
        ({"bus": 256}, "bus must be between 0 and 255"),
        ({"baud": 1_000_001}, "baud must be between 0 and 1000000"),
        ({"slots": "16"}, "slots must be a list of numbers"),
    ],
)
def test_what_cannot_work_is_refused(changed: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        SecureElementSettings(**{"device_type": "atecc608a", "iface_type": "i2c", **changed})  # type: ignore[arg-type] # wrong ones are meant


@pytest.mark.parametrize(
    ("text", "slots"),
    [("", set(range(16))), (" ", set(range(16))), ("3", {3}), ("0, 2-4,15", {0, 2, 3, 4, 15}), ("5-5", {5})],
)
def test_lists_of_slots(text: str, slots: set[int]) -> None:
    assert parse_slots(text) == slots


@pytest.mark.parametrize("text", ["a", "1-", "-1", "4-2", "1,,2", "16", "1 2", "٣"])
def test_what_is_no_list_of_slots(text: str) -> None:
    with pytest.raises(ValueError, match="slots must be a list"):
        parse_slots(text)


def test_access_keys_in_upstreams_format() -> None:
    keys = parse_access_keys(
        f"access_keys = [\n  {{ slot = 4, key = {KEY} }},\n  {{ slot = 6, key = {KEY[::-1]} }}\n]\n"
    )
    assert {slot: (key.slot, bytes(key.value)) for slot, key in keys.items()} == {
        4: (4, bytes(KEY)),
        6: (6, bytes(KEY[::-1])),
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "access_keys = 3",
        "access_keys = [",
        f"access_keys = [{{ slot = 16, key = {KEY} }}]",
        f"access_keys = [{{ slot = -1, key = {KEY} }}]",
        f"access_keys = [{{ slot = true, key = {KEY} }}]",
        f"access_keys = [{{ slot = 4, key = {KEY[1:]} }}]",
        "access_keys = [{ slot = 4, key = 32 }]",
        f"access_keys = [{{ slot = 4, key = {[256, *KEY[1:]]} }}]",
        f"access_keys = [{{ slot = 4, key = {KEY} }}, {{ slot = 4, key = {KEY} }}]",
        f"access_keys = [{{ slot = 4, key = {KEY}, more = 1 }}]",
        f"access_keys = [{{ key = {KEY} }}]",
        f"more = 1\naccess_keys = [{{ slot = 4, key = {KEY} }}]",
    ],
)
def test_malformed_access_keys_are_refused_without_a_word_of_them(text: str) -> None:
    with pytest.raises(PsaError, match="must be TOML like") as raised:
        parse_access_keys(text)
    assert raised.value.status is PsaStatus.DATA_INVALID
    assert "12, 13" not in str(raised.value)
    assert raised.value.__cause__ is None
