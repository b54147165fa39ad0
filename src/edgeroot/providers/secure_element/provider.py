"""The secure element provider under the identity of upstream's: keys in the slots of an ATECC508A or ATECC608.

What takes a secret, and verifying, is done in the element. A hash takes none, and an element needs 10 ms for 64 bytes
of it: that is done here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hmac import compare_digest
from pathlib import Path
from typing import Any, ClassVar, Final

from edgeroot import engine
from edgeroot.providers.api import (
    Capabilities,
    Created,
    Function,
    LoadedKey,
    Provider,
    ProviderIdentity,
    ProviderType,
)
from edgeroot.providers.secure_element import aes
from edgeroot.providers.secure_element.access_keys import parse_access_keys
from edgeroot.providers.secure_element.capabilities import UNKNOWN, capabilities
from edgeroot.providers.secure_element.element import Element, Key
from edgeroot.providers.secure_element.errors import AtcaError, UnavailableError
from edgeroot.providers.secure_element.ledger import ID_BYTES, Ledger
from edgeroot.providers.secure_element.native.files import SlotFiles, read_access_keys
from edgeroot.providers.secure_element.native.library import LibraryElement, i2c
from edgeroot.providers.secure_element.native.process import apart
from edgeroot.providers.secure_element.native.shared import SharedZones
from edgeroot.providers.secure_element.reference import name_in, new_reference
from edgeroot.providers.secure_element.settings import DeviceType, SecureElementSettings, parse_slots
from edgeroot.providers.secure_element.slots import PAIR, PUBLIC, Part, Role, Slot
from edgeroot.psa import Algorithm, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret, UsageFlags

_log: Final = logging.getLogger(__name__)
_STATE_VERSION: Final = b"\x01"
_SERIAL_BYTES: Final = 9
_REVISION_BYTES: Final = 4
_RANDOM_BYTES: Final = 32
_SECRET_BYTES: Final = 32  # of a slot's first block, of which an AES key is the first half
_COORDINATE_BYTES: Final = 32
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (SP 800-186 §3.2.1.3)
# What an element can do in a minute, after which the service by default no longer waits, and nobody else is served.
_MOST_BYTES: Final = 16 * 1024
_MOST_RANDOM_BYTES: Final = 64 * 1024
_P256: Final = KeyAttributes(PAIR, 256, UsageFlags.NONE, Algorithm.NONE)
_USES: Final = (
    Function.SIGN_HASH
    | Function.VERIFY_HASH
    | Function.RAW_KEY_AGREEMENT
    | Function.CIPHER_ENCRYPT
    | Function.AEAD_ENCRYPT
    | Function.MAC_COMPUTE
)


class ElementKey(LoadedKey):
    """A key by its name in the list of slots, with its public key as soon as that was asked for."""

    __slots__ = ("name", "point")

    def __init__(self, reference: bytes, attributes: KeyAttributes) -> None:
        super().__init__(reference, attributes)
        self.name: Final = name_in(reference)
        self.point: bytes | None = None


class SecureElementProvider(Provider):
    """Keys in a secure element."""

    identity = ProviderIdentity(
        provider_id=5,
        uuid="b8ba81e2-e9f7-4bdd-b096-a29d0019960c",
        description=(
            "User space hardware provider, utilizing MicrochipTech CryptoAuthentication Library for ATECCx08 chips"
        ),
        vendor="Arm",
        version=(0, 1, 0),
    )
    keeps_keys: ClassVar[bool] = True
    needs_host: bool = True

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
        self._capabilities = UNKNOWN

    # Its life

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

    def _accept(self, zones: bytes, part: Part) -> bytes:
        """From now on every process of the service knows this element; the state to be kept."""
        ledger = self._ledger_at_start(part.serial_number)
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
        seen, known = self._seen.read(), None
        if seen is not None:
            known = self._read(seen).serial_number
        elif self._state is not None:
            known = self._state[1 : 1 + _SERIAL_BYTES]
        if known is not None and known != part.serial_number:
            message = f"the stored keys are in the element {known.hex()}, and this is {part.serial_number.hex()}"
            raise UnavailableError(message)
        return part

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

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def capabilities(self) -> Capabilities:
        if self._capabilities is UNKNOWN and (zones := self._seen.read()) is not None:
            self._capabilities = capabilities(self._read(zones))
        return self._capabilities

    def is_slow(self, function: Function, attributes: KeyAttributes | None, input_bytes: int) -> bool:
        """An element takes 20 ms at least for anything."""
        del attributes, input_bytes
        return function not in Function.HASH_COMPUTE | Function.HASH_COMPARE

    def _part(self) -> Part:
        """The element as it was first seen; if it never was, it is looked for. To be asked for while files are locked.

        AtcaError if it does not answer, UnavailableError.
        """
        zones = self._seen.read()
        if zones is None:
            zones = self._zones()
            self._accept(zones, self._fitting(zones))
        return self._read(zones)

    def _found_capabilities(self) -> Capabilities:
        """Those of the element, which is looked for if it was never seen."""
        if self._seen.read() is None:
            with self._files.locked():
                self._part()
        return self.capabilities()

    def _element(self) -> Element:
        if self._opened is None:
            self._opened = self._open_element()
        return self._opened

    def _ledger(self) -> Ledger:
        """To be asked for while the files are locked."""
        text = self._files.read(self._part().serial_number)
        if text is None:
            raise PsaError(PsaStatus.STORAGE_FAILURE, "the list of slots is gone")
        return Ledger.from_text(text)

    def _write(self, ledger: Ledger) -> None:
        self._files.write(ledger.serial_number, ledger.to_text())

    # Making keys

    def plan(self, attributes: KeyAttributes) -> bytes:
        """A name for the key; INSUFFICIENT_STORAGE if no slot for such a key is free.

        The slot itself is chosen when the key is made, so that two keys never plan on the same one.
        """
        self._check_held(Function.GENERATE_KEY | Function.IMPORT_KEY, attributes)
        with self._files.locked():
            self._free_slot(self._part(), self._ledger(), attributes, generates=True, imports=True)
        return new_reference()

    def create(self, reference: bytes | None, attributes: KeyAttributes, material: Secret | None) -> Created:
        if reference is None:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "a key of this provider needs a planned place")
        name = name_in(reference)
        if material is None:
            self._check_held(Function.GENERATE_KEY, attributes)
        else:
            self._check_held(Function.IMPORT_KEY, attributes)
            attributes, material = engine.import_material(attributes, material)
        self._check_held(Function.GENERATE_KEY if material is None else Function.IMPORT_KEY, attributes)
        with self._files.locked():
            ledger = self._ledger()
            if name in ledger.slots:
                raise PsaError(PsaStatus.ALREADY_EXISTS, "the key was made already")
            # Locks are read anew: a slot may have been locked for good since.
            part = self._fitting(self._zones())
            slot = self._free_slot(part, ledger, attributes, generates=material is None, imports=material is not None)
            self._write(ledger.with_slot(name, slot.number))
            try:
                self._make(slot, attributes, material)
            except AtcaError as error:
                if not error.is_on_the_line:  # else nobody knows whether it was made, and the service will destroy it
                    self._write(ledger)
                raise
        return Created(reference, attributes)

    def _make(self, slot: Slot, attributes: KeyAttributes, material: Secret | None) -> None:
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

    def _free_slot(
        self, part: Part, ledger: Ledger, attributes: KeyAttributes, *, generates: bool, imports: bool
    ) -> Slot:
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

    def _check_held(self, functions: Function, attributes: KeyAttributes) -> None:
        """Whether such keys come here in one of these ways. Size 0 stands for one that is inferred."""
        key_type, key_bits, alg = attributes.key_type, attributes.key_bits, attributes.algorithm
        offered = self._found_capabilities()
        rows = [row for row in offered.rows if row.functions & functions and row.key_type == key_type]
        if not rows:
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"keys of type {key_type!r} do not come into this element so")
        infers = key_bits == 0 and functions & Function.IMPORT_KEY
        if not infers and not any(key_bits in row.key_bits for row in rows):
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"the element has no keys {key_type!r} of {key_bits} bits")
        if key_type.is_public_key or alg == Algorithm.NONE:
            return
        some_bits = next(iter(rows[0].key_bits)) if infers else key_bits
        if not offered.can_use(_USES, replace(attributes, key_bits=some_bits)):
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"the element does not have {alg!r} for such a key")

    def destroy(self, reference: bytes) -> None:
        """Overwrite the slot, where it still can be, and free it."""
        name = name_in(reference)
        with self._files.locked():
            ledger = self._ledger()
            number = ledger.slots.get(name)
            if number is None:
                return
            slot = self._slot(self._fitting(self._zones()), number)
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

    @staticmethod
    def _slot(part: Part, number: int) -> Slot | None:
        """None if the configuration of the service no longer lets it have that slot."""
        return next((slot for slot in part.slots if slot.number == number), None)

    def exists(self, reference: bytes) -> bool:
        """Whether the list has it; the element is not asked."""
        name = name_in(reference)
        with self._files.locked():
            return name in self._ledger().slots

    def load(self, reference: bytes, attributes: KeyAttributes) -> LoadedKey:
        return ElementKey(reference, attributes)

    # Using keys

    @contextmanager
    def _use(self, key: ElementKey) -> Iterator[tuple[Element, int]]:
        """The element, for this process alone, and the key's slot; DOES_NOT_EXIST if it has none any more."""
        with self._files.locked():
            slot = self._ledger().slots.get(key.name)
            if slot is None:
                raise PsaError(PsaStatus.DOES_NOT_EXIST, "no slot of the element has this key")
            yield self._element(), slot

    def _own(self, key: LoadedKey, function: Function, alg: Algorithm) -> ElementKey:
        own = _element_key(key)
        if not self._found_capabilities().can_use(function, replace(key.attributes, algorithm=alg)):
            message = f"a key of type {key.attributes.key_type!r} does not do this with {alg!r}"
            raise PsaError(PsaStatus.INVALID_ARGUMENT, message)
        return own

    def _point(self, key: ElementKey) -> bytes:
        if key.point is None:
            with self._use(key) as (element, slot):
                is_pair = key.attributes.key_type == PAIR
                key.point = element.public_key(slot) if is_pair else element.read_public(slot)
        return key.point

    def export_public_key(self, key: LoadedKey) -> bytes:
        own = _element_key(key)
        if key.attributes.key_type not in (PAIR, PUBLIC):
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "a key of this type has no public key")
        return b"\x04" + self._point(own)

    def sign_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes) -> bytes:
        own = self._own(key, Function.SIGN_HASH, alg)
        _check_digest(hash_value)
        with self._use(own) as (element, slot):
            return element.sign(slot, hash_value)

    def sign_message(self, key: LoadedKey, alg: Algorithm, message: bytes) -> bytes:
        self._own(key, Function.SIGN_MESSAGE, alg)
        return self.sign_hash(key, alg, engine.hash_compute(Hash.SHA_256, message))

    def verify_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes, signature: bytes) -> None:
        own = self._own(key, Function.VERIFY_HASH, alg)
        _check_digest(hash_value)
        # What cannot be a signature is none; an element would call it a fault.
        parts = [int.from_bytes(signature[at : at + _COORDINATE_BYTES], "big") for at in (0, _COORDINATE_BYTES)]
        if len(signature) != 2 * _COORDINATE_BYTES or not all(0 < part < _ORDER for part in parts):
            raise PsaError(PsaStatus.INVALID_SIGNATURE)
        point = self._point(own)
        with self._use(own) as (element, _):
            if not element.verify(point, hash_value, signature):
                raise PsaError(PsaStatus.INVALID_SIGNATURE)

    def verify_message(self, key: LoadedKey, alg: Algorithm, message: bytes, signature: bytes) -> None:
        self._own(key, Function.VERIFY_MESSAGE, alg)
        self.verify_hash(key, alg, engine.hash_compute(Hash.SHA_256, message), signature)

    def raw_key_agreement(self, key: LoadedKey, alg: Algorithm, peer_key: bytes) -> Secret:
        own = self._own(key, Function.RAW_KEY_AGREEMENT, alg)
        # A point that is not on the curve is refused here: it is the caller's fault, not the element's.
        _, peer = engine.import_material(replace(_P256, key_type=PUBLIC), peer_key)
        with self._use(own) as (element, slot):
            return element.agree(slot, peer[1:])

    def cipher_encrypt(self, key: LoadedKey, alg: Algorithm, plaintext: bytes) -> bytes:
        _check_size(len(plaintext))
        with self._use(self._own(key, Function.CIPHER_ENCRYPT, alg)) as (element, slot):
            return aes.encrypt(element, slot, alg, plaintext)

    def cipher_decrypt(self, key: LoadedKey, alg: Algorithm, ciphertext: bytes) -> Secret:
        _check_size(len(ciphertext))
        with self._use(self._own(key, Function.CIPHER_DECRYPT, alg)) as (element, slot):
            return aes.decrypt(element, slot, alg, ciphertext)

    def aead_encrypt(
        self, key: LoadedKey, alg: Algorithm, *, nonce: bytes, additional_data: bytes, plaintext: bytes
    ) -> bytes:
        _check_size(len(plaintext) + len(additional_data))
        with self._use(self._own(key, Function.AEAD_ENCRYPT, alg)) as (element, slot):
            return aes.seal(element, slot, alg, nonce=nonce, additional_data=additional_data, plaintext=plaintext)

    def aead_decrypt(
        self, key: LoadedKey, alg: Algorithm, *, nonce: bytes, additional_data: bytes, ciphertext: bytes
    ) -> Secret:
        _check_size(len(ciphertext) + len(additional_data))
        with self._use(self._own(key, Function.AEAD_DECRYPT, alg)) as (element, slot):
            return aes.unseal(element, slot, alg, nonce=nonce, additional_data=additional_data, sealed=ciphertext)

    def mac_compute(self, key: LoadedKey, alg: Algorithm, data: bytes) -> bytes:
        own = self._own(key, Function.MAC_COMPUTE, alg)
        _check_size(len(data))
        with self._use(own) as (element, slot):
            return element.cmac(slot, data) if key.attributes.key_type == KeyType.AES else element.hmac(slot, data)

    def mac_verify(self, key: LoadedKey, alg: Algorithm, data: bytes, mac: bytes) -> None:
        if not compare_digest(self.mac_compute(key, alg, data), mac):
            raise PsaError(PsaStatus.INVALID_SIGNATURE)

    # Without keys

    def hash_compute(self, alg: Hash, data: bytes) -> bytes:
        if alg is not Hash.SHA_256:
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"the element does not have {alg.name}")
        return engine.hash_compute(alg, data)

    def hash_compare(self, alg: Hash, data: bytes, hash_value: bytes) -> None:
        if not compare_digest(self.hash_compute(alg, data), hash_value):
            raise PsaError(PsaStatus.INVALID_SIGNATURE)

    def generate_random(self, size_bytes: int) -> Secret:
        _check_size(size_bytes, _MOST_RANDOM_BYTES)
        out = bytearray()
        while len(out) < size_bytes:
            with self._files.locked():
                self._part()
                out += self._element().random()
        return Secret(out[:size_bytes])


def _element_key(key: LoadedKey) -> ElementKey:
    assert isinstance(key, ElementKey), "the service gives each provider its own keys"
    return key


def _check_digest(hash_value: bytes) -> None:
    if len(hash_value) != Hash.SHA_256.length_bytes:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, f"a hash of {len(hash_value)} bytes is not one of SHA-256")


def _check_size(size_bytes: int, most_bytes: int = _MOST_BYTES) -> None:
    if size_bytes > most_bytes:
        message = f"an element takes too long for {size_bytes} bytes: {most_bytes} at a time are the most"
        raise PsaError(PsaStatus.NOT_SUPPORTED, message)


def _as_stored(point: bytes) -> bytes:
    """A public key as a slot has it: four bytes, X, four bytes, Y, in three whole blocks."""
    x, y = point[:_COORDINATE_BYTES], point[_COORDINATE_BYTES:]
    return (bytes(4) + x + bytes(4) + y).ljust(3 * _SECRET_BYTES, b"\0")


class SecureElementProviderType(ProviderType):
    """``provider_type = "CryptoAuthLib"``."""

    provider_type: ClassVar[str] = "CryptoAuthLib"
    default_name: ClassVar[str] = "cryptoauthlib-provider"
    settings: ClassVar[type[Any]] = SecureElementSettings

    def devices(self, settings: SecureElementSettings) -> tuple[Path, ...]:
        return (Path(f"/dev/i2c-{settings.bus}"),)

    def open(self, settings: SecureElementSettings, *, store_path: Path) -> SecureElementProvider:
        def access_keys() -> Mapping[int, Key]:
            path = settings.access_key_file_name
            return {} if path is None else parse_access_keys(read_access_keys(path))

        return SecureElementProvider(
            lambda: LibraryElement(i2c(settings)),
            SlotFiles(store_path, f"i2c-{settings.bus}-{settings.slave_address:02x}"),
            device=settings.device,
            allowed=parse_slots(settings.slots),
            access_keys=access_keys,
            apart=apart,
        )
