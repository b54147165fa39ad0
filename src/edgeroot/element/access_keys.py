"""The file that ``access_key_file_name`` names: keys that the service shares with the element, in upstream's format."""

from __future__ import annotations

import tomllib
from typing import Final

from edgeroot.element.element import Key
from edgeroot.psa import PsaError, PsaStatus, Secret

_SLOTS: Final = 16
_KEY_BYTES: Final = 32
_FORM: Final = "access_keys = [{ slot = 4, key = [1, 2, …32 numbers] }]"


def parse_access_keys(text: str) -> dict[int, Key]:
    """By their slots. PsaError DATA_INVALID, without a word of a key, for what is malformed."""
    found: dict[int, Key] = {}
    try:
        content = tomllib.loads(text)
        for entry in content["access_keys"]:
            slot, key = entry["slot"], Secret(entry["key"])
            if set(entry) != {"slot", "key"} or type(slot) is not int or slot in found:
                raise ValueError
            if not 0 <= slot < _SLOTS or not isinstance(entry["key"], list) or len(key) != _KEY_BYTES:
                raise ValueError
            found[slot] = Key(slot, key)
        if set(content) != {"access_keys"}:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise PsaError(PsaStatus.DATA_INVALID, f"the file of access keys must be TOML like {_FORM}") from None
    return found
