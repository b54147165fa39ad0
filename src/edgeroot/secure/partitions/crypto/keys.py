"""The keys of all sources: volatile ones in shared memory, persistent ones in the storage partition.

Every context of the partition has one store over the same memory and storage, and keeps the keys that it has loaded. A
persistent key exists if and only if its record is in storage: creating one is acknowledged after that, destroying one
after the record is gone.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AbstractContextManager
from typing import Final

from edgeroot import engine
from edgeroot.engine import EngineKey
from edgeroot.psa import KeyAttributes, PsaError, PsaStatus, Secret
from edgeroot.secure.partitions.crypto import generations, slow, volatile
from edgeroot.secure.partitions.crypto.names import id_of, is_user_id, is_volatile_id, key_name, unknown_key
from edgeroot.secure.partitions.crypto.ports import KeyStorage
from edgeroot.secure.partitions.crypto.record import KeyRecord, decode_record, encode_record

CACHED_KEYS: Final = 1024
_DOUBT_BYTES: Final = 8
SHARED_BYTES: Final = _DOUBT_BYTES + generations.SIZE_BYTES + volatile.SIZE_BYTES
"""How much memory the contexts share: a name in doubt, the generations, the volatile keys."""


class LoadedKey:
    """A key that a context has loaded. The engine's part is made when it is first asked for."""

    __slots__ = (
        "_engine",
        "attributes",
        "generation",
        "material",
        "name",
        "permitted",
        "private_is_slow",
        "public_is_slow",
        "slot",
    )

    def __init__(self, name: int, record: KeyRecord, slot: int, generation: int) -> None:
        self.name: Final = name
        self.attributes: Final[KeyAttributes] = record.attributes
        self.material: Final[Secret] = record.material
        self.slot: Final = slot
        self.generation: Final = generation
        self.permitted: Final[set[tuple[int, int]]] = set()
        """Usage flag and algorithm of what the policy was found to permit."""
        self.private_is_slow: Final = slow.uses_private_slowly(record.attributes)
        self.public_is_slow: Final = slow.uses_public_slowly(record.attributes)
        self._engine: EngineKey | None = None

    @property
    def id(self) -> int:
        return id_of(self.name)

    @property
    def engine(self) -> EngineKey:
        """The key ready for use; DATA_CORRUPT if its material is no such key."""
        if self._engine is None:
            try:
                self._engine = engine.load(self.attributes, self.material)
            except PsaError as error:
                raise PsaError(PsaStatus.DATA_CORRUPT, "the key's material is no key of its type") from error
        return self._engine


class KeyStore:
    """One context's view of the keys. ``shared`` has SHARED_BYTES, all zero before the first context."""

    def __init__(
        self,
        shared: memoryview,
        lock: AbstractContextManager[object],
        storage: KeyStorage,
        *,
        cached_keys: int = CACHED_KEYS,
    ) -> None:
        after_generations = _DOUBT_BYTES + generations.SIZE_BYTES
        # The name of a record that may be in storage though nobody was told so; 0 for none. It counts as absent.
        self._doubt = shared[:_DOUBT_BYTES].cast("Q")
        self._generations = generations.Generations(shared[_DOUBT_BYTES:after_generations], lock)
        self._volatile = volatile.VolatileKeys(shared[after_generations:SHARED_BYTES])
        self._lock = lock
        self._storage = storage
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
                existed = self._storage.remove(name)
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
                return LoadedKey(name, record, slot, generation) if record else None
        with self._lock:  # a change was going on; now none is
            generation = self._generation(slot)
            record = self._fetch(name)
        return LoadedKey(name, record, slot, generation) if record else None

    def _fetch(self, name: int) -> KeyRecord | None:
        key_id = id_of(name)
        if is_volatile_id(key_id):
            return self._volatile.get(name)
        if not is_user_id(key_id) or name == self._doubt[0]:
            return None
        data = self._storage.get(name)
        return None if data is None else decode_record(data)
