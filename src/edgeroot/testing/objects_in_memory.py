"""Protected storage and tokens for providers that have none, to try the service without a secure world."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import count
from typing import Final, cast

from edgeroot.providers.api import Capabilities, Capability, Function, LoadedKey, ObjectInfo, Provider
from edgeroot.psa import KeyAttributes, PsaError, PsaStatus, Secret

_MARK: Final = b"object "
_WRITE_ONCE: Final = 1
_FUNCTIONS: Final = (
    Function.PS_SET | Function.PS_GET | Function.PS_GET_INFO | Function.PS_REMOVE | Function.INITIAL_ATTEST_GET_TOKEN
)


class ObjectsInMemory(Provider):
    """To be inherited from before a provider: what is no object of this one's is the other's.

    ``lost`` names methods whose next call does its work and then loses its answer (COMMUNICATION_FAILURE).
    """

    @cached_property
    def objects(self) -> dict[bytes, tuple[bytes, int]]:
        """Data and flags, by reference."""
        return {}

    @cached_property
    def lost(self) -> list[str]:
        """See above."""
        return []

    @cached_property
    def before_set(self) -> list[Callable[[], None]]:
        """Called once each, at the beginning of ``set_object``."""
        return []

    @cached_property
    def _numbers(self) -> Iterator[int]:
        return count()

    @property
    def _others(self) -> Provider:
        return cast(Provider, super())

    def capabilities(self) -> Capabilities:
        others = self._others.capabilities()
        return Capabilities(others.generation, (*others.rows, Capability(_FUNCTIONS)))

    def plan_object(self) -> bytes:
        return _MARK + b"%d" % next(self._numbers)

    def set_object(self, reference: bytes, data: Secret, flags: int) -> None:
        while self.before_set:
            self.before_set.pop()()
        if flags & ~_WRITE_ONCE:
            raise PsaError(PsaStatus.NOT_SUPPORTED)
        self._require_changeable(reference)
        self.objects[reference] = bytes(data), flags
        self._answer("set_object")

    def get_object(self, key: LoadedKey, offset: int, size: int) -> Secret:
        data, _ = self._object(key)
        if offset > len(data):
            raise PsaError(PsaStatus.INVALID_ARGUMENT)
        return Secret(data[offset : offset + size if size else None])

    def get_object_info(self, key: LoadedKey) -> ObjectInfo:
        data, flags = self._object(key)
        return ObjectInfo(len(data), len(data), flags)

    def attestation_token(self, challenge: bytes) -> bytes:
        if len(challenge) not in (32, 48, 64):
            raise PsaError(PsaStatus.INVALID_ARGUMENT)
        return b"token for " + challenge

    def destroy(self, reference: bytes) -> None:
        if not reference.startswith(_MARK):
            self._others.destroy(reference)
            return
        self._require_changeable(reference)
        self.objects.pop(reference, None)
        self._answer("destroy")

    def exists(self, reference: bytes) -> bool:
        return reference in self.objects if reference.startswith(_MARK) else self._others.exists(reference)

    def load(self, reference: bytes, attributes: KeyAttributes) -> LoadedKey:
        if reference.startswith(_MARK):
            return LoadedKey(reference, attributes)
        return self._others.load(reference, attributes)

    def _object(self, key: LoadedKey) -> tuple[bytes, int]:
        if key.reference not in self.objects:
            raise PsaError(PsaStatus.DOES_NOT_EXIST)
        return self.objects[key.reference]

    def _require_changeable(self, reference: bytes) -> None:
        if self.objects.get(reference, (b"", 0))[1] & _WRITE_ONCE:
            raise PsaError(PsaStatus.NOT_PERMITTED)

    def _answer(self, method: str) -> None:
        if method in self.lost:
            self.lost.remove(method)
            raise PsaError(PsaStatus.COMMUNICATION_FAILURE)
