"""What the one-time-programmable memory says of the boot, and that it only ever goes on."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edgeroot.evidence import Lifecycle
from edgeroot.secure.boot.fuses import WORDS, Fuses, FusesError
from edgeroot.secure.boot.root_keys import KeySlot, RootKeys
from edgeroot.secure.platform.one_time_memory import OneTimeMemoryError

HASH, OTHER = bytes(range(32)), bytes(range(1, 33))
INTERRUPTED = "writing the root keys was interrupted: provision the device again with the same keys"
KEYS = tuple(bytes(range(number, number + 32)) for number in range(100, 104))
_STATES = [
    Lifecycle.PSA_ROT_PROVISIONING,
    Lifecycle.SECURED,
    Lifecycle.NON_PSA_ROT_DEBUG,
    Lifecycle.RECOVERABLE_PSA_ROT_DEBUG,
    Lifecycle.DECOMMISSIONED,
]


class PowerCutError(Exception):
    """The power went."""


class Memory:
    """One-time-programmable memory whose power goes at a given write."""

    def __init__(self, words: dict[int, bytes] | None = None, *, writes_left: int = 1000) -> None:
        self.words = {} if words is None else words
        self.writes_left = writes_left

    def read(self, word: int) -> bytes | None:
        assert 0 <= word < WORDS
        return self.words.get(word)

    def write(self, word: int, value: bytes) -> None:
        if self.words.get(word, value) != value:
            raise OneTimeMemoryError("written before")
        if not self.writes_left:
            raise PowerCutError
        self.writes_left -= 1
        self.words[word] = value


def test_a_blank_device_is_in_assembly_and_has_no_key() -> None:
    fuses = Fuses(Memory())

    assert (fuses.root_keys(), fuses.lifecycle(), fuses.security_counter()) == (
        None,
        Lifecycle.ASSEMBLY_AND_TEST,
        0,
    )


def test_a_provisioned_device_keeps_what_it_was_told() -> None:
    memory = Memory()
    Fuses(memory).provision([HASH], security_counter=9)
    fuses = Fuses(memory)

    assert fuses.root_keys() == RootKeys.of(HASH)
    assert fuses.lifecycle() is Lifecycle.PSA_ROT_PROVISIONING
    assert fuses.security_counter() == 9
    with pytest.raises(FusesError, match="another root key"):
        fuses.provision([OTHER], security_counter=9)
    with pytest.raises(FusesError, match="never gets lower"):
        fuses.provision([HASH], security_counter=8)
    assert fuses.root_keys() == RootKeys.of(HASH)
    assert fuses.security_counter() == 9


def test_provisioning_can_be_cut_off_at_every_write_and_done_again() -> None:
    whole = Memory()
    Fuses(whole).provision([HASH], security_counter=9)
    writes = 1000 - whole.writes_left
    assert writes == 10

    for cut_at in range(writes):
        memory = Memory(writes_left=cut_at)
        with pytest.raises(PowerCutError):
            Fuses(memory).provision([HASH], security_counter=9)
        later = Fuses(Memory(memory.words))
        assert later.lifecycle() is Lifecycle.ASSEMBLY_AND_TEST
        if 0 < cut_at < 8:
            with pytest.raises(FusesError, match="interrupted"):
                later.root_keys()
            with pytest.raises(FusesError, match="another root key"):
                later.provision([OTHER], security_counter=9)
        later.provision([HASH], security_counter=9)
        assert memory.words == whole.words


def test_the_life_cycle_goes_one_way() -> None:
    fuses = Fuses(Memory())
    fuses.provision([HASH], security_counter=0)

    for before, after in pairwise(_STATES):
        fuses.advance(after)
        assert fuses.lifecycle() is after
        for earlier in [Lifecycle.ASSEMBLY_AND_TEST, *_STATES[: _STATES.index(before) + 2]]:
            with pytest.raises(FusesError, match="never goes back"):
                fuses.advance(earlier)
        with pytest.raises(FusesError, match="provisioned no more"):
            fuses.provision([HASH], security_counter=0)


def test_states_can_be_left_out_and_not_entered_without_a_root_key() -> None:
    for state in _STATES[:-1]:
        with pytest.raises(FusesError, match="root key"):
            Fuses(Memory()).advance(state)
    fuses = Fuses(Memory())
    fuses.advance(Lifecycle.DECOMMISSIONED)
    assert fuses.lifecycle() is Lifecycle.DECOMMISSIONED


def test_a_development_key_is_refused_in_the_secured_state_and_cannot_become_another() -> None:
    memory = Memory()
    Fuses(memory).provision([HASH], security_counter=0, development=True)

    for state in _STATES[1:-1]:
        with pytest.raises(FusesError, match="one for development"):
            Fuses(memory).advance(state)
    Fuses(memory).provision([HASH], security_counter=0)
    assert Fuses(memory).is_for_development()
    Fuses(memory).advance(Lifecycle.DECOMMISSIONED)


def test_a_makers_key_does_not_become_one_for_development() -> None:
    memory = Memory()
    Fuses(memory).provision([HASH], security_counter=0)

    with pytest.raises(FusesError, match="not one for development"):
        Fuses(memory).provision([HASH], security_counter=0, development=True)
    assert not Fuses(memory).is_for_development()


def test_a_development_key_is_never_there_without_its_mark() -> None:
    for cut_at in range(10):
        memory = Memory(writes_left=cut_at)
        with pytest.raises(PowerCutError):
            Fuses(memory).provision([HASH], security_counter=0, development=True)
        later = Fuses(Memory(memory.words))
        assert later.is_for_development() or not memory.words
        later.provision([HASH], security_counter=0, development=True)
        assert later.root_keys() == RootKeys.of(HASH)


def test_a_state_that_there_is_not_is_refused() -> None:
    with pytest.raises(FusesError, match="none that exists"):
        Fuses(Memory({8: b"\1\2\3\4"})).lifecycle()


def test_each_key_has_its_slot_and_the_device_keeps_all_of_them() -> None:
    memory = Memory()
    Fuses(memory).provision(KEYS[:2], security_counter=9)
    fuses = Fuses(memory)

    assert fuses.root_keys() == RootKeys.of(*KEYS[:2])
    for others in (KEYS[:1], KEYS[1:2], KEYS[1::-1], (KEYS[0], KEYS[2]), (KEYS[2], *KEYS[:2])):
        with pytest.raises(FusesError, match="another root key"):
            fuses.provision(others, security_counter=9)
    fuses.provision(KEYS, security_counter=9)
    assert fuses.root_keys() == RootKeys.of(*KEYS)


def test_there_is_room_for_four_keys_each_of_which_is_named_once() -> None:
    memory = Memory()
    fuses = Fuses(memory)
    for keys, why in (([*KEYS, HASH], "room for 4 root keys"), ([HASH, OTHER, HASH], "named twice")):
        with pytest.raises(FusesError, match=why):
            fuses.provision(keys, security_counter=0)
        with pytest.raises(FusesError, match=why):
            fuses.root_keys_with(keys)
    assert not memory.words


def said_of(fuses: Fuses) -> RootKeys | str | None:
    """The root keys, or that there is only a part of them."""
    try:
        return fuses.root_keys()
    except FusesError as error:
        return str(error)


@pytest.mark.parametrize("before", [0, 1, 2])
def test_an_interruption_never_leaves_some_of_the_keys(before: int) -> None:
    """Whoever takes an interrupted device for a provisioned one would send it out without the key for later."""

    def start(writes_left: int = 1000) -> Memory:
        memory = Memory()
        if before:
            Fuses(memory).provision(KEYS[:before], security_counter=9)
        return Memory(memory.words, writes_left=writes_left)

    whole = start()
    Fuses(whole).provision(KEYS, security_counter=9)
    found = set()
    for cut_at in range(1000 - whole.writes_left):
        memory = start(cut_at)
        with pytest.raises(PowerCutError):
            Fuses(memory).provision(KEYS, security_counter=9)
        later = Fuses(Memory(memory.words))
        found.add(said_of(later))
        if said_of(later) == INTERRUPTED:
            with pytest.raises(FusesError, match=INTERRUPTED):
                later.advance(Lifecycle.SECURED)
            with pytest.raises(FusesError, match=INTERRUPTED):
                later.revoke(0)
        later.provision(KEYS, security_counter=9)
        assert memory.words == whole.words
    assert found == {RootKeys.of(*KEYS[:before]) if before else None, INTERRUPTED, RootKeys.of(*KEYS)}


def test_a_revoked_key_stays_so_and_another_one_is_always_left() -> None:
    memory = Memory()
    Fuses(memory).provision(KEYS[:3], security_counter=0)
    fuses = Fuses(memory)
    fuses.advance(Lifecycle.SECURED)
    left = {0, 1, 2}
    for number in (1, 1, 0):
        fuses.revoke(number)
        left.discard(number)
        keys = RootKeys(tuple(KeySlot(slot, KEYS[slot], slot not in left) for slot in range(3)))
        assert Fuses(memory).root_keys() == keys
    words = dict(memory.words)
    with pytest.raises(FusesError, match="root key 2 is the last one that is left"):
        fuses.revoke(2)
    with pytest.raises(FusesError, match="no root key 3"):
        fuses.revoke(3)
    fuses.advance(Lifecycle.NON_PSA_ROT_DEBUG)
    assert words.items() < memory.words.items()
    assert Fuses(memory).root_keys() == RootKeys.of(*KEYS[:3]).without(0).without(1)


def test_a_device_with_one_key_keeps_it() -> None:
    memory = Memory()
    with pytest.raises(FusesError, match="no root key 0"):
        Fuses(memory).revoke(0)
    Fuses(memory).provision([HASH], security_counter=0)

    with pytest.raises(FusesError, match="the last one"):
        Fuses(memory).revoke(0)
    assert Fuses(memory).root_keys() == RootKeys.of(HASH)


def test_provisioning_again_takes_no_revocation_back() -> None:
    memory = Memory()
    Fuses(memory).provision([HASH, OTHER], security_counter=0)
    Fuses(memory).revoke(0)
    revoked = RootKeys((KeySlot(0, HASH, is_revoked=True), KeySlot(1, OTHER)))

    assert Fuses(memory).root_keys_with([HASH, OTHER]) == revoked
    Fuses(memory).provision([HASH, OTHER], security_counter=0)
    assert Fuses(memory).root_keys() == revoked
