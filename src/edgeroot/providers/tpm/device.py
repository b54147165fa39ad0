"""The TPM in use: one connection with a primary key, a session and a few loaded keys, made anew when it breaks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from edgeroot.evidence.tpm_structures import Alg, Curve, MalformedError, Public, RsaPublic
from edgeroot.providers.tpm.capabilities import Inventory
from edgeroot.providers.tpm.connection import Connection, Hierarchy, Primary
from edgeroot.providers.tpm.errors import TpmError
from edgeroot.providers.tpm.reference import SecretReference
from edgeroot.providers.tpm.templates import (
    ATTESTATION_ECC,
    ENDORSEMENT_HANDLE,
    ENDORSEMENT_RSA,
    STORAGE_ECC,
    STORAGE_HANDLE,
    STORAGE_RSA,
    UPSTREAM_RSA,
    is_storage_key,
)
from edgeroot.psa import PsaError, PsaStatus

_T = TypeVar("_T")
_LOADED_SESSIONS: Final = 0x02000000
_TRANSIENT_OBJECTS: Final = 0x80000000
_ENDORSEMENT: Final = b"endorsement key"
_ATTESTATION: Final = b"attestation key"
_UPSTREAM: Final = b"upstream's storage key"


class Lock(Protocol):
    """What keeps the processes of a service from waiting for each other's connection."""

    def acquire(self, wait_s: float) -> None: ...

    def release(self) -> None: ...


class Opened:
    """A connection that is ready, with what is loaded over it: keys leave in the order in which they were used."""

    def __init__(self, connection: Connection, primary: Primary, inventory: Inventory, *, owner_auth: bytes) -> None:
        self.connection: Final = connection
        self._owner_auth = owner_auth
        self.primary: Final = primary
        self.inventory: Final = inventory
        slots = inventory.transient_slots - (0 if primary.persistent else 1)
        self._capacity = max(1, slots)
        self._loaded: OrderedDict[bytes, int] = OrderedDict()
        self._endorsement: Primary | None = None  # that which persists
        self._primaries: dict[bytes, Primary] = {}

    def key(self, reference: SecretReference, auth: bytes) -> int:
        """The handle of this key, for this operation only."""
        parent = self._upstreams_parent() if reference.auth else self.primary.handle
        return self._held(
            reference.private + auth,
            lambda: self.connection.load(parent, reference.private, bytes(reference.public), auth),
        )

    def _upstreams_parent(self) -> int:
        """The primary key whose children upstream's keys are, made for a while."""
        template = UPSTREAM_RSA[256 if self.connection.has_aes(256) else 128]
        return self._made(_UPSTREAM, self._owner_auth, template, Hierarchy.OWNER).handle

    def endorsement(self, auth: bytes) -> Primary:
        """The endorsement key by the TCG's template: the persistent one if there is, else made for a while."""
        if self._endorsement is None and _ENDORSEMENT not in self._loaded:
            found = self.connection.persistent(ENDORSEMENT_HANDLE)
            if found is not None and _is_by_template(found):
                self._endorsement = found
        return self._endorsement or self._made(_ENDORSEMENT, auth, ENDORSEMENT_RSA)

    def attestation_key(self, auth: bytes) -> Primary:
        """The key that signs quotes and certificates, made for a while."""
        return self._made(_ATTESTATION, auth, ATTESTATION_ECC)

    def _made(
        self, which: bytes, auth: bytes, template: Public, hierarchy: Hierarchy = Hierarchy.ENDORSEMENT
    ) -> Primary:
        """A primary key; ``auth`` is the hierarchy's."""

        def make() -> int:
            made = self.connection.create_primary(hierarchy, auth, bytes(template))
            self._primaries[which] = made
            return made.handle

        self._held(which, make)
        return self._primaries[which]

    def make_room(self) -> bool:
        """Flush the key that was not used for longest; whether there was one."""
        if not self._loaded:
            return False
        _, handle = self._loaded.popitem(last=False)
        self.connection.flush(handle)
        return True

    def flush_all(self) -> None:
        """Leave nothing behind in the TPM."""
        while self.make_room():
            pass
        self.connection.end_session()
        if not self.primary.persistent:
            self.connection.flush(self.primary.handle)

    def _held(self, which: bytes, load: Callable[[], int]) -> int:
        handle = self._loaded.get(which)
        if handle is None:
            while len(self._loaded) >= self._capacity:
                self.make_room()
            handle = self._loaded[which] = load()
        else:
            self._loaded.move_to_end(which)
        return handle


class TpmDevice:
    """Runs operations on a TPM that may be reset or go away in between."""

    def __init__(self, connect: Callable[[], Connection], *, lock: Lock | None, lock_wait_s: float) -> None:
        """With a ``lock`` the TPM has room for one connection: whatever is loaded in it then is ours, or left over."""
        self._connect = connect
        self._lock = lock
        self._lock_wait_s = lock_wait_s
        self._opened: Opened | None = None
        self._owner_auth = b""
        self._name = b""

    def start(self, *, owner_auth: bytes, name: bytes, lock_wait_s: float) -> tuple[bytes, Inventory]:
        """Connect, and disconnect again: the primary key's name, which must be ``name`` if there is one."""
        self._owner_auth, self._name = owner_auth, name
        try:
            opened = self._open(lock_wait_s)
            self._name = opened.primary.name
            return self._name, opened.inventory
        finally:
            self.close()

    def resume(self, *, owner_auth: bytes, name: bytes) -> None:
        """Take up what an earlier start found, without a connection."""
        self._owner_auth, self._name = owner_auth, name

    def run(self, operation: Callable[[Opened], _T]) -> _T:
        """Do this, twice if the TPM has forgotten in between what was loaded, or if the connection broke."""
        try:
            return self._attempt(operation)
        except TpmError as error:
            if error.status == PsaStatus.CORRUPTION_DETECTED:
                self._give_up()  # for the session's two ends no longer agree
                raise
            if not (error.is_lost_connection or error.is_lost_state):
                raise
            self._give_up()
        return self._attempt(operation)

    def close(self) -> None:
        """Disconnect and leave nothing behind; the next operation connects again."""
        opened, self._opened = self._opened, None
        if opened is not None:
            try:
                opened.flush_all()
            except TpmError:
                pass  # with the TPM or its manager gone, so is what was loaded
            opened.connection.close()
        if self._lock is not None:
            self._lock.release()

    def _give_up(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.connection.close()

    def _attempt(self, operation: Callable[[Opened], _T]) -> _T:
        opened = self._opened or self._open(self._lock_wait_s)
        while True:
            try:
                return operation(opened)
            except TpmError as error:
                if not (error.is_full and opened.make_room()):
                    raise

    def _open(self, lock_wait_s: float) -> Opened:
        if self._lock is not None:
            self._lock.acquire(lock_wait_s)
        try:
            self._opened = self._prepared(self._connect())
        except BaseException:
            if self._lock is not None:
                self._lock.release()
            raise
        return self._opened

    def _prepared(self, connection: Connection) -> Opened:
        try:
            if self._lock is not None:
                _clean(connection)
            inventory = Inventory.of(connection)
            primary = self._find_primary(connection, inventory)
            connection.start_session(primary)
        except BaseException:
            connection.close()
            raise
        return Opened(connection, primary, inventory, owner_auth=self._owner_auth)

    def _find_primary(self, connection: Connection, inventory: Inventory) -> Primary:
        for primary in self._candidates(connection, inventory):
            if self._name in (b"", primary.name):
                return primary
            if not primary.persistent:
                connection.flush(primary.handle)
        raise PsaError(
            PsaStatus.DATA_INVALID,
            "the TPM was cleared, or it is another one: its primary key is not that of the stored keys, "
            "which nothing can bring back. To begin anew, move the key store away",
        )

    def _candidates(self, connection: Connection, inventory: Inventory) -> Iterator[Primary]:
        persistent = connection.persistent(STORAGE_HANDLE)
        if persistent is not None and _can_have_children(persistent):
            yield persistent
        if {Alg.ECC, Alg.ECDH} <= inventory.algorithms and Curve.NIST_P256 in inventory.curves:
            yield connection.create_primary(Hierarchy.OWNER, self._owner_auth, bytes(STORAGE_ECC))
        if Alg.RSA in inventory.algorithms:
            yield connection.create_primary(Hierarchy.OWNER, self._owner_auth, bytes(STORAGE_RSA))


def _is_by_template(primary: Primary) -> bool:
    try:
        public = Public.from_bytes(primary.public)
    except MalformedError:
        return False
    detail = public.detail
    return (
        isinstance(detail, RsaPublic)
        and replace(public, detail=replace(detail, modulus=bytes(len(detail.modulus)))) == ENDORSEMENT_RSA
    )


def _can_have_children(primary: Primary) -> bool:
    try:
        return is_storage_key(Public.from_bytes(primary.public))
    except MalformedError:
        return False


def _clean(connection: Connection) -> None:
    """Flush what a process that died left behind: nobody else can be connected."""
    connection.startup()
    for first in (_LOADED_SESSIONS, _TRANSIENT_OBJECTS):
        for handle in connection.handles(first):
            connection.flush_stale(handle)
