"""The keys in an element, by names: which slot each has, how it is made, used and overwritten.

The list of slots is written before a key is made, and again only after its slot was overwritten. An element that is
absent, or is another one than it was, is looked for again by whatever is asked of it next.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from edgeroot import engine
from edgeroot.element.element import Element, Key
from edgeroot.element.errors import ECC_FAULT, EXECUTION_ERROR, AtcaError, UnavailableError
from edgeroot.element.ledger import ID_BYTES, Ledger
from edgeroot.element.native.files import SlotFiles
from edgeroot.element.native.shared import SharedZones
from edgeroot.element.settings import DeviceType
from edgeroot.element.slots import PAIR, PUBLIC, Part, Role, Slot
from edgeroot.psa import Algorithm, KeyAttributes, PsaError, PsaStatus, Secret, UsageFlags

_log: Final = logging.getLogger(__name__)
_STATE_VERSION: Final = b"\x01"
_SERIAL_BYTES: Final = 9
_REVISION_BYTES: Final = 4
_SECRET_BYTES: Final = 32  # of a slot's first block, of which an AES key is the first half
_COORDINATE_BYTES: Final = 32
_P256: Final = KeyAttributes(PAIR, 256, UsageFlags.NONE, Algorithm.NONE)
_PUBLIC: Final = KeyAttributes(PUBLIC, 256, UsageFlags.NONE, Algorithm.NONE)
_NO_KEY: Final = (EXECUTION_ERROR, ECC_FAULT)


class ElementKeys:
    """One element's keys. Processes that are forked after it was made share what it knows, and take turns.

    Names have 16 bytes, and no two keys ever have the same. Raises PsaError: AtcaError for what the element or the way
    to it refuses, UnavailableError where another element answers, STORAGE_FAILURE for the files.
    """

    def __init__(
        self,
        open_element: Callable[[], Element],
        files: SlotFiles,
        *,
        device: DeviceType,
        allowed: frozenset[int],
        access_keys: Callable[[], Mapping[int, Key]] = dict,
        apart: Callable[[Callable[[], bytes]], bytes] = lambda look: look(),
    ) -> None:
        """``apart`` runs what looks at the element for :meth:`start` where it leaves no trace."""
        self._open_element = open_element
        self._files = files
        self._device = device
        self._allowed = allowed
        self._read_access_keys = access_keys
        self._access_keys: Mapping[int, Key] = {}
        self._apart = apart
        self._state: bytes | None = None
        self._seen = SharedZones()
        self._opened: Element | None = None

    # The element

    def start(self, state: bytes | None) -> bytes | None:
        """Look at the element; the state says which one has the stored keys, and which list its slots.

        An element that does not answer, or is another one, is no reason not to start: the log says what is missing, and
        whatever is asked of it looks again. DATA_INVALID if its list of slots is not the one that belongs to the keys.
        """
        self._access_keys = self._read_access_keys()
        self._state = state
        with self._files.locked():
            try:
                zones = self._apart(self._zones)
                part = self._fitting(zones)
            except PsaError as error:
                _log.warning("secure element %s: not available: %s", self._files.way, error.detail)
                return state
            return self._accept(zones, part)

    def close(self) -> None:
        """Give the element back; whatever is asked next opens it again."""
        if self._opened is not None:
            self._opened.close()

    def seen(self) -> Part | None:
        """The element as it was first seen, by whichever process; None if it never was."""
        zones = self._seen.read()
        return None if zones is None else self._read(zones)

    def find(self) -> Part:
        """The element as it was first seen; if it never was, it is looked for."""
        seen = self.seen()
        if seen is not None:
            return seen
        with self._files.locked():
            return self._part()

    def _part(self) -> Part:
        """The same, to be asked for while the files are locked."""
        seen = self.seen()
        if seen is not None:
            return seen
        zones = self._zones()
        part = self._fitting(zones)
        self._accept(zones, part)
        return part

    def _accept(self, zones: bytes, part: Part) -> bytes:
        """From now on every process knows this element; the state to be kept."""
        ledger = self._ledger_at_start(part.serial_number)
        self._files.remember(part.serial_number)
        self._seen.write(zones)
        return _STATE_VERSION + part.serial_number + ledger.ledger_id

    def _zones(self) -> bytes:
        """The element's revision and its configuration zone."""
        element = self._element()
        return element.revision() + element.config()

    def _read(self, zones: bytes) -> Part:
        return Part.read(
            zones[:_REVISION_BYTES],
            zones[_REVISION_BYTES:],
            allowed=self._allowed,
            access_keys=self._access_keys.keys(),
        )

    def _fitting(self, zones: bytes) -> Part:
        """UnavailableError unless it is the element that is to be used."""
        part = self._read(zones)
        if part.device is not self._device:
            raise UnavailableError(f'this is an {part.device.name}: write device_type = "{part.device.value}"')
        if not part.is_locked:
            message = "the element's zones are not locked: configure it for its use and lock both, as its maker says"
            raise UnavailableError(message)
        # The state may not know an element that was first found when the service ran already.
        known = self._files.element() if self._state is None else self._state[1 : 1 + _SERIAL_BYTES]
        if known is not None and known != part.serial_number:
            message = f"the stored keys are in the element {known.hex()}, and this is {part.serial_number.hex()}"
            if self._state is None:
                message += f" (delete {self._files.lock_path} if those keys are not needed)"
            raise UnavailableError(message)
        return part

    def _element(self) -> Element:
        if self._opened is None:
            self._opened = self._open_element()
        return self._opened

    # The list of slots, while the files are locked

    def _ledger_at_start(self, serial_number: bytes) -> Ledger:
        text, ledger_id = self._files.read(serial_number), None
        if self._state is not None:
            ledger_id = self._state[1 + _SERIAL_BYTES :]
            if text is None:
                message = f"the list of slots is gone: restore {self._files.path(serial_number)}, or keys would be lost"
                raise PsaError(PsaStatus.DATA_INVALID, message)
        elif text is None:
            ledger = Ledger(os.urandom(ID_BYTES), serial_number, {})
            self._files.write(serial_number, ledger.to_text())
            return ledger
        ledger = Ledger.from_text(text)
        if ledger.serial_number != serial_number or ledger_id not in (None, ledger.ledger_id):
            message = f"{self._files.path(serial_number)} is not the list of slots that belongs to the stored keys"
            raise PsaError(PsaStatus.DATA_INVALID, message)
        return ledger

    def _ledger(self) -> Ledger:
        text = self._files.read(self._part().serial_number)
        if text is None:
            raise PsaError(PsaStatus.STORAGE_FAILURE, "the list of slots is gone")
        return Ledger.from_text(text)

    def _write(self, ledger: Ledger) -> None:
        self._files.write(ledger.serial_number, ledger.to_text())

    # Keys

    def names(self) -> tuple[bytes, ...]:
        """Of all keys that have a slot, whether they were finished or not."""
        with self._files.locked():
            return tuple(self._ledger().slots)

    def has(self, name: bytes) -> bool:
        """Whether the list has it; the element is not asked."""
        with self._files.locked():
            return name in self._ledger().slots

    def check_room(self, attributes: KeyAttributes) -> None:
        """INSUFFICIENT_STORAGE if no slot for such a key is free, NOT_SUPPORTED if there is none at all.

        The slot itself is chosen when the key is made, so that two keys never plan on the same one.
        """
        with self._files.locked():
            _free_slot(self._part(), self._ledger(), attributes, generates=True, imports=True)

    def make(self, name: bytes, attributes: KeyAttributes, material: Secret | None) -> None:
        """Generate the key there, or write ``material``, which is in the engine's form."""
        with self._files.locked():
            ledger = self._ledger()
            if name in ledger.slots:
                raise PsaError(PsaStatus.ALREADY_EXISTS, "the key was made already")
            # Locks are read anew: a slot may have been locked for good since.
            part = self._fitting(self._zones())
            slot = _free_slot(part, ledger, attributes, generates=material is None, imports=material is not None)
            self._write(ledger.with_slot(name, slot.number))
            try:
                self._fill(slot, attributes, material)
            except AtcaError as error:
                if not error.is_on_the_line:  # else nobody knows whether it was made, and its owner will destroy it
                    self._write(ledger)
                raise

    def _fill(self, slot: Slot, attributes: KeyAttributes, material: Secret | None) -> None:
        element = self._element()
        if slot.role is Role.PAIR:
            if material is None:
                element.generate(slot.number)
            else:
                element.write_private(slot.number, material, self._key_for(slot))
        elif slot.role is Role.PUBLIC:
            assert material is not None, "public keys are not generated"
            element.write(slot.number, _as_stored(material[1:]), self._key_to_write(slot))
        else:
            secret = material if material is not None else element.random()[: attributes.key_bits // 8]
            element.write(slot.number, secret.ljust(_SECRET_BYTES, b"\0"), self._key_to_write(slot))

    def _key_to_write(self, slot: Slot) -> Key | None:
        return None if slot.write_key is None else self._key_for(slot)

    def _key_for(self, slot: Slot) -> Key:
        assert slot.write_key is not None, "such a slot is of use only with its access key"
        return self._access_keys[slot.write_key]

    def destroy(self, name: bytes) -> None:
        """Overwrite the slot, where it still can be, and free it; to destroy what is not there is no error."""
        with self._files.locked():
            ledger = self._ledger()
            number = ledger.slots.get(name)
            if number is None:
                return
            part = self._fitting(self._zones())
            # None if the configuration no longer lets the service have that slot.
            slot = next((slot for slot in part.slots if slot.number == number), None)
            if slot is not None and not slot.is_locked:
                self._overwrite(slot)
            self._write(ledger.without(name))

    def _overwrite(self, slot: Slot) -> None:
        element = self._element()
        if slot.role is Role.PAIR:
            if slot.can_generate:
                element.generate(slot.number)
            else:
                element.write_private(slot.number, engine.generate(_P256), self._key_for(slot))
        else:
            zeros = bytes(3 * _SECRET_BYTES if slot.role is Role.PUBLIC else _SECRET_BYTES)
            element.write(slot.number, zeros, self._key_to_write(slot))

    @contextmanager
    def use(self, name: bytes) -> Iterator[tuple[Element, int]]:
        """The element, for this process alone, and the key's slot; DOES_NOT_EXIST if it has none any more."""
        with self._files.locked():
            slot = self._ledger().slots.get(name)
            if slot is None:
                raise PsaError(PsaStatus.DOES_NOT_EXIST, "no slot of the element has this key")
            yield self._element(), slot

    # Keys of another program's

    def check_foreign(self, name: bytes, number: int, attributes: KeyAttributes) -> Part:
        """See whether the key in this slot, made by another program, can be used as one with these attributes.

        Neither the element nor any file is changed, and :meth:`start` need not have been called. Returns the element.
        NOT_SUPPORTED if the slot is none for such a key, ALREADY_EXISTS if a key of another name has it,
        DOES_NOT_EXIST if there is no such key in it, as far as an element tells: whether a slot for AES or HMAC has a
        key it does not, nor whose a pair is.
        """
        self._access_keys = self._read_access_keys()
        with self._files.watched():
            part = self._fitting(self._zones())
            text = self._files.read(part.serial_number)
            _check_not_taken({} if text is None else Ledger.from_text(text).slots, name, number)
            slot = next((slot for slot in part.slots if slot.number == number), None)
            if slot is None or not slot.suits(attributes):
                message = f"slot {number} of the element is not one that the service can use for such a key"
                raise PsaError(PsaStatus.NOT_SUPPORTED, message)
            self._check_content(slot)
            return part

    def _check_content(self, slot: Slot) -> None:
        try:
            if slot.role is Role.PAIR:
                self._element().public_key(slot.number)
            elif slot.role is Role.PUBLIC:
                engine.import_material(_PUBLIC, b"\x04" + self._element().read_public(slot.number))
        except PsaError as error:
            if isinstance(error, AtcaError) and error.code not in _NO_KEY:
                raise
            message = f"slot {slot.number} of the element has no such key (any more)"
            raise PsaError(PsaStatus.DOES_NOT_EXIST, message) from error

    def take(self, name: bytes, number: int) -> None:
        """List the key in this slot, which :meth:`check_foreign` found, under this name; it may be listed already."""
        with self._files.locked():
            ledger = self._ledger()
            _check_not_taken(ledger.slots, name, number)
            self._write(ledger.with_slot(name, number))

    def random(self) -> Secret:
        """32 bytes."""
        with self._files.locked():
            self._part()
            return self._element().random()


def _check_not_taken(slots: Mapping[bytes, int], name: bytes, number: int) -> None:
    if any(taken == number and other != name for other, taken in slots.items()):
        message = f"slot {number} of the element has a key of this service's already"
        raise PsaError(PsaStatus.ALREADY_EXISTS, message)


def _free_slot(part: Part, ledger: Ledger, attributes: KeyAttributes, *, generates: bool, imports: bool) -> Slot:
    """The slot with the fewest rights that fits and is not taken."""
    fitting = [slot for slot in part.slots if slot.fits(attributes, generates=generates, imports=imports)]
    if not fitting:
        message = "no slot of the element is configured for such a key, or each that is was locked for good"
        raise PsaError(PsaStatus.NOT_SUPPORTED, message)
    free = [slot for slot in fitting if not ledger.is_taken(slot.number)]
    if not free:
        taken = ", ".join(str(slot.number) for slot in fitting)
        message = f"every slot of the element for such a key is taken (slots {taken}): destroy one of the keys"
        raise PsaError(PsaStatus.INSUFFICIENT_STORAGE, message)
    return min(free, key=lambda slot: (slot.rights, slot.number))


def _as_stored(point: bytes) -> bytes:
    """A public key as a slot has it: four bytes, X, four bytes, Y, in three whole blocks."""
    x, y = point[:_COORDINATE_BYTES], point[_COORDINATE_BYTES:]
    return (bytes(4) + x + bytes(4) + y).ljust(3 * _SECRET_BYTES, b"\0")
