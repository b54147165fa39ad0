"""The worker's cache of keys: what the store says, and the provider's parsed key with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edgeroot.keystore.generation import RAISES_OF_A_WRITE, Generations
from edgeroot.keystore.reader import Reader
from edgeroot.keystore.records import KeyIdentity, KeyRecord
from edgeroot.providers.api import LoadedKey, Provider, SteppedProvider
from edgeroot.psa import Algorithm, KeyAttributes, UsageFlags
from edgeroot.psa.policy import check_use
from edgeroot.service.statuses import raise_violation
from edgeroot.wire.status import ResponseStatus, WireError

DEFAULT_CAPACITY: Final = 8192  # of P-256 pairs, about 20 MB


class CachedKey:
    """A key as this worker knows it, good while the store's generation is the one it was read under."""

    __slots__ = ("_loaded", "attributes", "generation", "identity", "reference", "slot")

    def __init__(
        self, identity: KeyIdentity, reference: bytes, attributes: KeyAttributes, *, slot: int, generation: int
    ) -> None:
        self.identity = identity
        self.reference = reference
        self.attributes = attributes
        self.slot = slot
        self.generation = generation
        self._loaded: LoadedKey | None = None

    def loaded(self, provider: Provider | SteppedProvider) -> LoadedKey:
        """The provider's parsed key; parsed at the first use."""
        loaded = self._loaded
        if loaded is None:
            loaded = self._loaded = provider.load(self.reference, self.attributes)
        return loaded

    def require(self, usage: UsageFlags, algorithm: Algorithm) -> None:
        """Raises WireError unless the key's policy permits this use."""
        violation = check_use(self.attributes, usage, algorithm)
        if violation is not None:
            raise_violation(violation)


class KeyCache:
    """Names to keys. ``readers`` are the stores, by the index that the providers name."""

    def __init__(
        self, readers: Sequence[Reader], generations: Generations, *, capacity: int = DEFAULT_CAPACITY
    ) -> None:
        self._readers = readers
        self._generations = generations
        self._read = generations.read
        self._capacity = capacity
        self._keys: dict[KeyIdentity, CachedKey] = {}

    def find(self, identity: KeyIdentity, store: int) -> CachedKey:
        """The live key of this identity; WireError PsaErrorDoesNotExist if there is none."""
        key = self._keys.get(identity)
        if key is not None and key.generation == self._read(key.slot):
            return key
        return self._look_up(identity, store)

    def _look_up(self, identity: KeyIdentity, store: int) -> CachedKey:
        # The generation is read before the store: the writer raises it on both sides of its commit, so a record read
        # too early is cached under a generation that is over by the time the change is acknowledged.
        slot = self._generations.slot(identity)
        generation = self._read(slot)
        self._keys.pop(identity, None)
        record = self._readers[store].find(identity)
        if record is None:
            raise WireError(ResponseStatus.PSA_ERROR_DOES_NOT_EXIST)
        key = CachedKey(identity, record.reference, record.attributes, slot=slot, generation=generation)
        self._put(key)
        return key

    def _put(self, key: CachedKey) -> None:
        if len(self._keys) >= self._capacity:
            del self._keys[next(iter(self._keys))]
        self._keys[key.identity] = key

    def generation(self, identity: KeyIdentity) -> int:
        """To be read before a key is made, and given to :meth:`note` when it was."""
        return self._read(self._generations.slot(identity))

    def note(self, record: KeyRecord, before: int) -> None:
        """The store now holds this key, which was not there at generation ``before``.

        If nobody else has changed anything in its slot since, it needs no look-up.
        """
        slot = self._generations.slot(record.identity)
        generation = self._read(slot)
        if generation == before + RAISES_OF_A_WRITE:
            self._put(CachedKey(record.identity, record.reference, record.attributes, slot=slot, generation=generation))

    def exists(self, identity: KeyIdentity, store: int) -> bool:
        """Whether the name is taken, be it by a key that is still being created or destroyed."""
        key = self._keys.get(identity)
        if key is not None and key.generation == self._read(key.slot):
            return True
        return self._readers[store].exists_any_state(identity)

    def forget(self, identity: KeyIdentity) -> None:
        """Drop a key, and with it the parsed material."""
        self._keys.pop(identity, None)
