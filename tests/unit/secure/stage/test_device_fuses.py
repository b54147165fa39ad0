"""The memory of a device that was made when a device had one root key."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from edgeroot.psa import Lifecycle
from edgeroot.secure.boot.fuses import FusesError
from edgeroot.secure.boot.root_keys import KeySlot, RootKeys
from edgeroot.secure.stage.device_fuses import open_fuses, read_fuses

HASH, NEXT = bytes(range(32)), bytes(range(1, 33))
_SIZE_BYTES: Final = 1312
_WRITTEN: Final = {
    0: "45524655534553315100000000000000",
    16: "5345540000010203966b2d4ebb327cc3",
    32: "534554000405060734133a70607b414a",
    48: "5345540008090a0baf3c246f7425df1d",
    64: "534554000c0d0e0fd4177764013d503d",
    80: "534554001011121329e8dd2103f3cf63",
    96: "5345540014151617aea1ffa9326886bc",
    112: "5345540018191a1b7b329ea8a53ee04f",
    128: "534554001c1d1e1f7a92ab0e43fd7c3d",
    144: "53455400002000008fbb08032c938bea",
    272: "5345540007000000d3294c278c0477a4",
}
_SECURED: Final = {160: "5345540000300000c864b8648598c12b"}


def old_file(path: Path, written: dict[int, str]) -> bytes:
    """As the version before this one wrote it: one root key, security counter 7."""
    content = bytearray(_SIZE_BYTES)
    for offset, text in written.items():
        content[offset : offset + 16] = bytes.fromhex(text)
    path.write_bytes(content)
    return bytes(content)


def test_a_secured_device_of_an_earlier_version_has_one_key_in_the_first_slot(tmp_path: Path) -> None:
    path = tmp_path / "one-time-memory"
    before = old_file(path, _WRITTEN | _SECURED)
    fuses = read_fuses(path)
    assert fuses is not None

    assert fuses.root_keys() == RootKeys.of(HASH)
    assert (fuses.lifecycle(), fuses.security_counter()) == (Lifecycle.SECURED, 7)
    assert not fuses.is_for_development()
    with pytest.raises(FusesError, match="the last one"):
        fuses.revoke(0)
    assert path.read_bytes() == before
    fuses.raise_counter(8)
    assert len(path.read_bytes()) == len(before)


def test_one_that_is_not_secured_yet_takes_further_keys_and_revokes_the_first(tmp_path: Path) -> None:
    path = tmp_path / "one-time-memory"
    before = old_file(path, _WRITTEN)
    open_fuses(path, create=False).provision([HASH, NEXT], security_counter=7)
    open_fuses(path, create=False).revoke(0)

    fuses = read_fuses(path)
    assert fuses is not None
    assert fuses.root_keys() == RootKeys((KeySlot(0, HASH, is_revoked=True), KeySlot(1, NEXT)))
    assert path.read_bytes()[16:_SIZE_BYTES] == before[16:]
