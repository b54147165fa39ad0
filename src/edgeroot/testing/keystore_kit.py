"""The contract of the key store, to be held against a store: a model in a dictionary, and a check that compares.

>>> check_keystore(store, seed=1)          # doctest: +SKIP

``store`` is anything with the two methods and the property of :class:`KeyStoreUnderTest`, empty at first. The check
raises AssertionError with what was done and how the store's answer differed from the model's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from edgeroot.keystore.reader import Reader
from edgeroot.keystore.records import KeyIdentity, KeyListing, KeyRecord, KeyState, StoredKey
from edgeroot.keystore.writes import (
    NOBODY,
    Claim,
    Commit,
    Finish,
    Insert,
    Mark,
    Outcome,
    Release,
    Remove,
    RemoveClient,
    Replace,
    Reserve,
    Result,
    SetProviderState,
    Unmark,
    Write,
)
from edgeroot.psa import Algorithm, KeyAttributes, KeyType, UsageFlags

AUTHENTICATORS: Final = (1, 3)
APPLICATIONS: Final = ("1000", "", "a\0b", "Zoë", "a")
PROVIDERS: Final = ("mbed-crypto-provider", "tpm-provider")
KEY_NAMES: Final = ("", "key", "key\0", "KEY", "ключ/密钥", "\U0001f511")
HOLDERS: Final = ("holder-a", "holder-b", "holder-c")
BOUNDS: Final = (0, 1, 3)
REFERENCES: Final = (b"", b"\x00\x01", b"reference", bytes(5000))
ATTRIBUTES: Final = (
    KeyAttributes(KeyType(0x7112), 256, UsageFlags.SIGN_HASH, Algorithm(0x06000609)),
    KeyAttributes(KeyType(0x2400), 128, UsageFlags.ENCRYPT | UsageFlags.DECRYPT, Algorithm(0x05500200)),
)


class KeyStoreUnderTest(Protocol):
    @property
    def reader(self) -> Reader: ...

    def apply(self, batch: Sequence[Write]) -> list[Outcome]: ...

    def reopen(self) -> None:
        """Ends the writer as a crash would, and starts another."""


_DONE: Final = Outcome(Result.DONE)


@dataclass(slots=True)
class KeyStoreModel:
    """What the store is to hold and to answer."""

    keys: dict[KeyIdentity, StoredKey] = field(default_factory=dict)
    provider_states: dict[str, bytes] = field(default_factory=dict)

    def copy(self) -> KeyStoreModel:
        return KeyStoreModel(dict(self.keys), dict(self.provider_states))

    def apply(self, batch: Sequence[Write]) -> list[Outcome]:
        appliers: Mapping[type[Write], Callable[[Any], Outcome]] = {
            Insert: lambda write: self._add(StoredKey(write.record, KeyState.LIVE, None), write.max_keys),
            Reserve: lambda write: self._add(StoredKey(write.record, KeyState.RESERVED, write.holder), write.max_keys),
            Remove: self._remove,
            Commit: self._commit,
            Release: lambda write: self._settle(
                self._is_held(write, KeyState.RESERVED), write.identity, None, held=True
            ),
            Mark: self._mark,
            Unmark: self._unmark,
            Finish: lambda write: self._settle(self._is_held(write, KeyState.MARKED), write.identity, None, held=True),
            Replace: self._replace,
            RemoveClient: self._remove_client,
            SetProviderState: self._set_provider_state,
            Claim: self._claim,
        }
        return [appliers[type(write)](write) for write in batch]

    def live(self) -> list[StoredKey]:
        return [stored for stored in self.keys.values() if stored.state is KeyState.LIVE]

    def _is_live(self, identity: KeyIdentity) -> bool:
        return identity in self.keys and self.keys[identity].state is KeyState.LIVE

    def _is_held(self, write: Commit | Release | Unmark | Finish, state: KeyState) -> bool:
        stored = self.keys.get(write.identity)
        return stored is not None and stored.state is state and stored.holder == write.holder

    def _settle(
        self, is_allowed: bool, identity: KeyIdentity, stored: StoredKey | None, *, held: bool = False
    ) -> Outcome:
        if not is_allowed:
            return Outcome(Result.CONFLICT if held else Result.DOES_NOT_EXIST)
        if stored is None:
            del self.keys[identity]
        else:
            self.keys[identity] = stored
        return _DONE

    def _add(self, stored: StoredKey, max_keys: int) -> Outcome:
        if stored.record.identity in self.keys:
            return Outcome(Result.ALREADY_EXISTS)
        owner = stored.record.identity[:2]
        if max_keys and sum(identity[:2] == owner for identity in self.keys) >= max_keys:
            return Outcome(Result.TOO_MANY)
        self.keys[stored.record.identity] = stored
        return _DONE

    def _commit(self, write: Commit) -> Outcome:
        record = KeyRecord(write.identity, write.reference, write.attributes)
        live = StoredKey(record, KeyState.LIVE, None)
        return self._settle(self._is_held(write, KeyState.RESERVED), write.identity, live, held=True)

    def _mark(self, write: Mark) -> Outcome:
        if not self._is_live(write.identity):
            return Outcome(Result.DOES_NOT_EXIST)
        marked = StoredKey(self.keys[write.identity].record, KeyState.MARKED, write.holder)
        self.keys[write.identity] = marked
        return Outcome(Result.DONE, stored=(marked,))

    def _unmark(self, write: Unmark) -> Outcome:
        if not self._is_held(write, KeyState.MARKED):
            return Outcome(Result.CONFLICT)
        self.keys[write.identity] = StoredKey(self.keys[write.identity].record, KeyState.LIVE, None)
        return _DONE

    def _replace(self, write: Replace) -> Outcome:
        if not self._is_live(write.identity):
            return Outcome(Result.DOES_NOT_EXIST)
        stored = self.keys[write.identity]
        if stored.record.reference != write.old_reference:
            return Outcome(Result.CONFLICT)
        self.keys[write.identity] = replace(stored, record=replace(stored.record, reference=write.new_reference))
        return _DONE

    def _remove(self, write: Remove) -> Outcome:
        if not self._is_live(write.identity):
            return Outcome(Result.DOES_NOT_EXIST)
        if self.keys[write.identity].record.reference != write.reference:
            return Outcome(Result.CONFLICT)
        del self.keys[write.identity]
        return _DONE

    def _remove_client(self, write: RemoveClient) -> Outcome:
        of_client = (write.authenticator, write.application, write.provider)
        going = [stored.record.identity for stored in self.live() if stored.record.identity[:3] == of_client]
        for identity in going:
            del self.keys[identity]
        return Outcome(Result.DONE, count=len(going))

    def _set_provider_state(self, write: SetProviderState) -> Outcome:
        self.provider_states[write.provider] = write.state
        return _DONE

    def _claim(self, write: Claim) -> Outcome:
        stored = self.keys.get(write.identity)
        if stored is None or stored.state is KeyState.LIVE or stored.holder != write.holder:
            return Outcome(Result.CONFLICT)
        self.keys[write.identity] = replace(stored, holder=write.next_holder)
        return _DONE


def random_write(rng: random.Random) -> Write:
    """Any write about few enough keys that they meet."""
    identity = KeyIdentity(
        rng.choice(AUTHENTICATORS), rng.choice(APPLICATIONS), rng.choice(PROVIDERS), rng.choice(KEY_NAMES)
    )
    reference, attributes, holder = rng.choice(REFERENCES), rng.choice(ATTRIBUTES), rng.choice(HOLDERS)
    record = KeyRecord(identity, reference, attributes)
    makers: Sequence[Callable[[], Write]] = (
        lambda: Insert(record),
        lambda: Insert(record, rng.choice(BOUNDS)),
        lambda: Remove(identity, reference),
        lambda: Reserve(record, holder, rng.choice(BOUNDS)),
        lambda: Commit(identity, holder, reference, attributes),
        lambda: Release(identity, holder),
        lambda: Mark(identity, holder),
        lambda: Unmark(identity, holder),
        lambda: Finish(identity, holder),
        lambda: Replace(identity, reference, rng.choice(REFERENCES)),
        lambda: RemoveClient(identity.authenticator, identity.application, identity.provider),
        lambda: SetProviderState(identity.provider, reference),
        lambda: Claim(identity, *rng.sample((*HOLDERS, NOBODY), 2)),
    )
    return rng.choice(makers)()


def random_batch(rng: random.Random, most_writes: int = 12) -> list[Write]:
    return [random_write(rng) for _ in range(rng.randint(1, most_writes))]


def check_keystore(store: KeyStoreUnderTest, *, seed: int, batches: int = 60) -> None:
    """Applies random batches, now and then after a crash, and compares everything a reader can see."""
    rng = random.Random(seed)
    model = KeyStoreModel()
    for _ in range(batches):
        if rng.random() < 0.1:
            store.reopen()
        batch = random_batch(rng)
        compare_outcomes(batch, store.apply(batch), model.apply(batch))
        compare_with_model(store.reader, model)


def compare_outcomes(batch: Sequence[Write], outcomes: Sequence[Outcome], expected: Sequence[Outcome]) -> None:
    assert len(outcomes) == len(batch), f"{len(outcomes)} outcomes for {len(batch)} writes"
    for write, outcome, model_outcome in zip(batch, outcomes, expected, strict=True):
        ours = (outcome.result, outcome.count, sorted(outcome.stored, key=_storage_order))
        models = (model_outcome.result, model_outcome.count, sorted(model_outcome.stored, key=_storage_order))
        assert ours == models, f"{write}: the store answers {outcome}, the model {model_outcome}"


def compare_with_model(reader: Reader, model: KeyStoreModel) -> None:
    """Everything a reader can see, for the names that :func:`random_write` chooses from."""
    for authenticator in AUTHENTICATORS:
        for application in APPLICATIONS:
            _compare_client(reader, model, authenticator, application)
        clients = {s.record.identity.application for s in model.live() if s.record.identity[0] == authenticator}
        _same(f"applications of {authenticator}", reader.list_applications(authenticator), sorted(clients, key=_utf8))
    everybody = {stored.record.identity.application for stored in model.live()}
    _same("all applications", reader.list_applications(), sorted(everybody, key=_utf8))
    for provider in PROVIDERS:
        _same(f"state of {provider}", reader.provider_state(provider), model.provider_states.get(provider))
    held = [stored for stored in model.keys.values() if stored.holder is not None]
    for holder in (*HOLDERS, NOBODY):
        pending = sorted(reader.pending(holder), key=_storage_order)
        _same(f"pending of {holder}", pending, sorted((s for s in held if s.holder == holder), key=_storage_order))
    _same("holders", reader.pending_holders(), sorted({stored.holder or NOBODY for stored in held}))


def _compare_client(reader: Reader, model: KeyStoreModel, authenticator: int, application: str) -> None:
    client = f"keys of {authenticator}, {application!r}"
    own = [stored.record for stored in model.live() if stored.record.identity[:2] == (authenticator, application)]
    listings = sorted(
        (KeyListing(record.identity, record.attributes) for record in own),
        key=lambda listing: (_utf8(listing.identity.provider), _utf8(listing.identity.key_name)),
    )
    _same(client, reader.list_keys(authenticator, application), listings)
    _same(f"the first of {client}", reader.list_keys(authenticator, application, limit=1), listings[:1])
    _same(f"number of {client}", reader.count_keys(authenticator, application), len(own))
    for provider in PROVIDERS:
        for key_name in KEY_NAMES:
            identity = KeyIdentity(authenticator, application, provider, key_name)
            stored = model.keys.get(identity)
            is_live = stored is not None and stored.state is KeyState.LIVE
            _same(f"find {identity}", reader.find(identity), stored.record if stored and is_live else None)
            _same(f"look_up {identity}", reader.look_up(identity), stored)
            _same(f"exists_any_state {identity}", reader.exists_any_state(identity), stored is not None)


def _same(what: str, ours: object, models: object) -> None:
    assert ours == models, f"{what}: the store says {ours}, the model {models}"


def _utf8(text: str) -> bytes:
    return text.encode()


def _storage_order(stored: StoredKey) -> tuple[int, bytes, bytes, bytes]:
    authenticator, application, provider, key_name = stored.record.identity
    return authenticator, application.encode(), provider.encode(), key_name.encode()
