"""Carrying a plan out: keys into our store beside upstream's, which is then noted as taken over.

Interrupted at any moment it can be run again: what is there already is found to be the same. Until the note is
written, which is last, the service does not start on the store.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edgeroot.daemon.config import KeyManagerConfig, ServiceConfig
from edgeroot.keystore.database import adopt, adopted_store, create_store, store_path_for
from edgeroot.keystore.generation import Generations
from edgeroot.keystore.reader import Reader
from edgeroot.keystore.records import KeyRecord, KeyStoreError
from edgeroot.keystore.writer import Writer
from edgeroot.keystore.writes import Insert, Result, SetProviderState, Write
from edgeroot.migration.errors import MigrationError
from edgeroot.migration.key_file import StoredMaterial, decode_key_file, file_name
from edgeroot.migration.plan import Planner, Step, Taken, Target
from edgeroot.migration.records import read_records
from edgeroot.providers.api import ProviderType
from edgeroot.psa import PsaError

_BATCH: Final = 500
_CONNECT_S: Final = 1.0


def check_stopped(config: ServiceConfig) -> None:
    """MigrationError if a service answers at one of the configured sockets: what it changes now would be lost."""
    for listener in config.listeners:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_CONNECT_S)
            try:
                probe.connect(str(listener.socket_path))
            except OSError:
                continue
        raise MigrationError(f"a service answers at {listener.socket_path}: stop it first")


class StoreMigration:
    """The keys of one key manager."""

    def __init__(
        self, config: ServiceConfig, manager: KeyManagerConfig, types: Mapping[str, ProviderType], key_files: Path
    ) -> None:
        """``key_files`` is the folder with Mbed TLS's key files, which was upstream's working directory."""
        self.source = manager.path
        self.store = store_path_for(manager.path)
        self._key_files = key_files
        self._targets = [
            Target(
                one.name,
                one.wire_id,
                types[one.provider_type],
                types[one.provider_type].open(one.settings, store_path=self.store),
            )
            for one in config.providers
            if one.key_info_manager == manager.name
        ]
        self._authenticators = [one.auth_type for one in config.authenticators]

    @property
    def is_done(self) -> bool:
        """Whether it was taken over before."""
        return adopted_store(self.store) is not None

    def plan(self) -> list[Step]:
        """A step for each key. MigrationError if the store cannot be read at all."""
        planner = Planner(self._targets, authenticators=self._authenticators, material=self._material)
        try:
            return [planner.step(record) for record in read_records(self.source)]
        finally:
            for target in self._targets:
                target.provider.close()

    def carry_out(self, steps: Sequence[Step]) -> None:
        """Store what can be taken over.

        MigrationError if a name is another key's here or a back end fails, KeyStoreError.
        """
        try:
            self._store(steps)
        except PsaError as error:
            raise MigrationError(error.detail or error.status.name) from error
        adopt(self.store, str(self.source))

    def _store(self, steps: Sequence[Step]) -> None:
        taken = [step.taken for step in steps if step.taken is not None]
        create_store(self.store)
        with self._writer() as writer:
            self._start_providers(writer, {id(one.target): one.target for one in taken}.values())
            for first in range(0, len(taken), _BATCH):
                self._write(writer, [Insert(one) for one in self._missing(taken[first : first + _BATCH])])

    def _material(self, key_id: int) -> StoredMaterial:
        path = self._key_files / file_name(key_id)
        try:
            return decode_key_file(path.read_bytes())
        except OSError as error:
            raise MigrationError(
                f"its key file {path} cannot be read ({error.strerror}): say with --key-files where they are"
            ) from error

    @contextmanager
    def _writer(self) -> Iterator[Writer]:
        writer = Writer.open(self.store, Generations(bytearray(Generations.size_bytes())))
        try:
            yield writer
        finally:
            writer.close()

    def _start_providers(self, writer: Writer, targets: Iterable[Target]) -> None:
        for target in targets:
            reader = Reader.open(self.store)
            try:
                before = reader.provider_state(target.name)
            finally:
                reader.close()
            after = target.provider.start(before)
            if after is not None and after != before:
                self._write(writer, [SetProviderState(target.name, after)])

    def _missing(self, taken: Sequence[Taken]) -> list[KeyRecord]:
        """Those that are not here yet, as records."""
        records = []
        reader = Reader.open(self.store)
        try:
            for one in taken:
                present = reader.find(one.identity)
                if present is None:
                    records.append(_record(one))
                elif not _is_same(one, present):
                    raise MigrationError(
                        f"{self.store} has another key with the name {one.identity.key_name!r} of application "
                        f"{one.identity.application!r}: destroy the one of the two that is not wanted"
                    )
        finally:
            reader.close()
        return records

    def _write(self, writer: Writer, writes: Sequence[Write]) -> None:
        for outcome in writer.apply(writes):
            if outcome.result is not Result.DONE:
                raise KeyStoreError(outcome.detail or f"the store refused a key: {outcome.result.name}")


def _record(taken: Taken) -> KeyRecord:
    """What is to be stored; the back end knows the key as its provider's when this returns."""
    if taken.material is None:
        taken.target.provider.adopt(taken.reference)
        return KeyRecord(taken.identity, taken.reference, taken.attributes)
    created = taken.target.provider.create(None, taken.attributes, taken.material)
    return KeyRecord(taken.identity, created.reference, created.attributes)


def _is_same(taken: Taken, present: KeyRecord) -> bool:
    if present.attributes != taken.attributes:
        return False
    if taken.material is None:
        return present.reference == taken.reference
    provider = taken.target.provider
    ours = provider.export_key(provider.load(present.reference, present.attributes))
    theirs = provider.create(None, taken.attributes, taken.material)
    return ours == provider.export_key(provider.load(theirs.reference, theirs.attributes))
