"""The keys of all sources: volatile ones in shared memory, persistent ones in the storage partition.

Every context of the partition has one store over the same memory and storage, and keeps the keys that it has loaded. A
persistent key exists if and only if its record is in storage: creating one is acknowledged after that, destroying one
after the record is gone.

So it is with a key in the secure element, which is made before its record is written and overwritten after its record
is gone. What lies in the element without a record is left over, and is overwritten before the next key is made there.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AbstractContextManager
from typing import Final

from edgeroot import engine
from edgeroot.abi.key_attributes import LOCATION_LOCAL_STORAGE, LOCATION_PRIMARY_SECURE_ELEMENT
from edgeroot.engine import EngineKey
from edgeroot.psa import KeyAttributes, KeyOrigin, PsaError, PsaStatus, Secret
from edgeroot.secure.partitions.crypto import generations, slow, volatile
from edgeroot.secure.partitions.crypto.names import id_of, is_user_id, is_volatile_id, key_name, unknown_key
from edgeroot.secure.partitions.crypto.ports import KeyElement, KeyStorage
from edgeroot.secure.partitions.crypto.record import KeyRecord, decode_record, encode_record

CACHED_KEYS: Final = 1024
_DOUBT_BYTES: Final = 8
_SWEPT_BYTES: Final = 8
SHARED_BYTES: Final = _DOUBT_BYTES + _SWEPT_BYTES + generations.SIZE_BYTES + volatile.SIZE_BYTES
"""How much memory the contexts share: a name in doubt, whether the element is clean, generations, volatile keys."""


class LoadedKey:
    """A key that a context has loaded. The engine's part is made when it is first asked for."""

    __slots__ = (
        "_engine",
        "_load",
        "attributes",
        "generation",
        "is_in_element",
        "location",
        "material",
        "name",
        "origin",
        "permitted",
        "private_is_slow",
        "public_is_slow",
        "slot",
    )

    def __init__(self, name: int, record: KeyRecord, slot: int, generation: int, load: slow.Load) -> None:
        self.name: Final = name
        self.location: Final = record.location
        self.is_in_element: Final = record.location == LOCATION_PRIMARY_SECURE_ELEMENT
        self.attributes: Final[KeyAttributes] = record.attributes
        self.material: Final[Secret] = record.material
        self.origin: Final = record.origin
        self.slot: Final = slot
        self.generation: Final = generation
        self.permitted: Final[set[tuple[int, int]]] = set()
        """Usage flag and algorithm of what the policy was found to permit."""
        self.private_is_slow: Final = self.is_in_element or slow.uses_private_slowly(record.attributes)
        self.public_is_slow: Final = self.is_in_element or slow.uses_public_slowly(record.attributes)
        self._load: Final = load
        self._engine: EngineKey | None = None

    @property
    def id(self) -> int:
        return id_of(self.name)

    @property
    def engine(self) -> EngineKey:
        """The key ready for use; DATA_CORRUPT if its material is no such key."""
        if self._engine is None:
            try:
                self._engine = self._load(self.attributes, self.material, self.location)
            except PsaError as error:
                raise PsaError(PsaStatus.DATA_CORRUPT, "the key's material is no key of its type") from error
        return self._engine


def require_material(key: LoadedKey) -> None:
    """NOT_SUPPORTED for a key whose material is in the secure element, and stays there."""
    if key.is_in_element:
        raise PsaError(PsaStatus.NOT_SUPPORTED, "keys of the secure element stay there")


class KeyStore:
    """One context's view of the keys. ``shared`` has SHARED_BYTES, all zero before the first context."""

    def __init__(
        self,
        shared: memoryview,
        lock: AbstractContextManager[object],
        storage: KeyStorage,
        *,
        element: KeyElement | None = None,
        cached_keys: int = CACHED_KEYS,
    ) -> None:
        after_swept = _DOUBT_BYTES + _SWEPT_BYTES
        after_generations = after_swept + generations.SIZE_BYTES
        # The name of a record that may be in storage though nobody was told so; 0 for none. It counts as absent.
        self._doubt = shared[:_DOUBT_BYTES].cast("Q")
        # Whether nothing is left over in the element; 0 as the partition starts, for the last one may have been killed.
        self._swept = shared[_DOUBT_BYTES:after_swept].cast("Q")
        self._generations = generations.Generations(shared[after_swept:after_generations], lock)
        self._volatile = volatile.VolatileKeys(shared[after_generations:SHARED_BYTES])
        self._lock = lock
        self._storage = storage
        self._element = element
        self.locations: Final = (
            (LOCATION_LOCAL_STORAGE,) if element is None else (LOCATION_LOCAL_STORAGE, LOCATION_PRIMARY_SECURE_ELEMENT)
        )
        self._cache: OrderedDict[int, LoadedKey] = OrderedDict()
        self._cached_keys = cached_keys
        self._generation = self._generations.read

    def find(self, owner: int, key_id: int) -> LoadedKey:
        """The owner's key; INVALID_HANDLE if there is none, DATA_CORRUPT if its record is unreadable."""
        name = owner << 32 | key_id
        key = self._cache.get(name)
        if key is not None and self._generation(key.slot) == key.generation:
            self._cache.move_to_end(name)
            return key
        self._cache.pop(name, None)
        key = self._load(name)
        if key is None:
            raise unknown_key()
        self._cache[name] = key
        if len(self._cache) > self._cached_keys:
            self._cache.popitem(last=False)
        return key

    def create(self, owner: int, key_id: int, key: KeyRecord) -> int:
        """Add a key and return its id: that of a persistent key, or 0 for a volatile key, which is given one.

        INVALID_ARGUMENT if a persistent key may not have the id, ALREADY_EXISTS if one has it, INSUFFICIENT_MEMORY if
        there is no room for another volatile key; the storage's statuses.
        """
        if key_id == 0:
            return self._create_volatile(owner, key)
        name = key_name(owner, key_id)
        with self._lock:
            self._check_free(key_id, name)
            with self._generations.change(self._generations.slot(name)):
                self._doubt[0] = name
                self._storage.set(name, encode_record(key))
                self._doubt[0] = 0
        return key_id

    def create_in_element(self, owner: int, key_id: int, attributes: KeyAttributes) -> int:
        """The same for a persistent key that is generated in the secure element; the element's statuses.

        Its context waits for the element, some tenths of a second: creating is all or nothing under the lock.
        """
        assert self._element is not None, "there is such a location only then"
        name = key_name(owner, key_id)
        with self._lock:
            self._check_free(key_id, name)
            self._sweep(self._element)
            self._swept[0] = 0  # until the record is there, or the key is gone again
            place = self._element.generate(name, attributes)
            with self._generations.change(self._generations.slot(name)):
                self._doubt[0] = name
                record = KeyRecord(attributes, place, LOCATION_PRIMARY_SECURE_ELEMENT, KeyOrigin.GENERATED)
                self._storage.set(name, encode_record(record))
                self._doubt[0] = 0
            self._swept[0] = 1
        return key_id

    def load(self, attributes: KeyAttributes, material: Secret, location: int) -> EngineKey:
        """A key ready for use, by the engine or in the element; PsaError as they raise it."""
        if location == LOCATION_LOCAL_STORAGE:
            return engine.load(attributes, material)
        if self._element is None:
            raise PsaError(PsaStatus.HARDWARE_FAILURE, "this secure world has no element any more")
        return self._element.load(attributes, material)

    def check_room(self, owner: int, key_id: int) -> None:
        """Raises what :meth:`create` would raise now; for whoever is about to do long work for the key."""
        with self._lock:
            if key_id == 0:
                self._volatile.next_name(owner)
            else:
                self._check_free(key_id, key_name(owner, key_id))

    def destroy(self, owner: int, key_id: int) -> None:
        """Remove a key; INVALID_HANDLE if there is none. No key at all (id 0) is destroyed with success."""
        if key_id == 0:
            return
        name = key_name(owner, key_id)
        with self._lock, self._generations.change(self._generations.slot(name)):
            if is_volatile_id(key_id):
                existed = self._volatile.remove(name)
            elif is_user_id(key_id):
                self._settle()
                in_element = self._element is not None and self._is_in_element(name)
                if in_element:
                    self._swept[0] = 0
                existed = self._storage.remove(name)
                if in_element and self._element is not None:
                    self._sweep(self._element)
            else:
                existed = False
        self.forget(owner, key_id)
        if not existed:
            raise unknown_key()

    def forget(self, owner: int, key_id: int) -> bool:
        """Drop this context's copy of a key; whether it had one."""
        return self._cache.pop(key_name(owner, key_id), None) is not None

    def _create_volatile(self, owner: int, key: KeyRecord) -> int:
        volatile.check_size(key)
        with self._lock:
            name = self._volatile.next_name(owner)
            with self._generations.change(self._generations.slot(name)):
                self._volatile.put(name, key)
        return id_of(name)

    def _check_free(self, key_id: int, name: int) -> None:
        if not is_user_id(key_id):
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "a persistent key has an id from 1 to 0x3fffffff")
        self._settle()
        if self._storage.exists(name):
            raise PsaError(PsaStatus.ALREADY_EXISTS)

    def _settle(self) -> None:
        """Remove what a failed creation may have left. No other can be begun before, so there is one at most."""
        if self._doubt[0]:
            self._storage.remove(self._doubt[0])
            self._doubt[0] = 0

    def _is_in_element(self, name: int) -> bool:
        """Of a record that cannot be read nobody knows: then one looks what is left over."""
        try:
            record = self._fetch(name)
        except PsaError as error:
            if error.status is PsaStatus.DATA_CORRUPT:
                return True
            raise
        return record is not None and record.location == LOCATION_PRIMARY_SECURE_ELEMENT

    def _sweep(self, element: KeyElement) -> None:
        """Overwrite the keys in the element that have no record. The caller holds the lock."""
        if self._swept[0]:
            return
        for uid, place in element.names():
            data = self._storage.get(uid)
            if data is None or not _is_record_of(data, place):
                element.destroy(place)
        self._swept[0] = 1

    def _load(self, name: int) -> LoadedKey | None:
        slot = self._generations.slot(name)
        generation = self._generation(slot)
        if generation % 2 == 0:
            fault = None
            record = None
            try:
                record = self._fetch(name)
            except PsaError as error:
                fault = error
            if self._generation(slot) == generation:
                if fault is not None:
                    raise fault
                return LoadedKey(name, record, slot, generation, self.load) if record else None
        with self._lock:  # a change was going on; now none is
            generation = self._generation(slot)
            record = self._fetch(name)
        return LoadedKey(name, record, slot, generation, self.load) if record else None

    def _fetch(self, name: int) -> KeyRecord | None:
        key_id = id_of(name)
        if is_volatile_id(key_id):
            return self._volatile.get(name)
        if not is_user_id(key_id) or name == self._doubt[0]:
            return None
        data = self._storage.get(name)
        return None if data is None else decode_record(data)


def _is_record_of(data: bytes, place: bytes) -> bool:
    """Whether the record is that of the key in the element; one that cannot be read is of none that could be used."""
    try:
        record = decode_record(data)
    except PsaError:
        return False
    return record.location == LOCATION_PRIMARY_SECURE_ELEMENT and record.material == place
