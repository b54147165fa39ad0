"""MACs in several parts (PSA Crypto API 1.2, clause 10.3.2)."""

from __future__ import annotations

from typing import Protocol

from edgeroot.engine.cipher import CipherKey
from edgeroot.engine.errors import bad_state, invalid_argument
from edgeroot.engine.key import EngineKey
from edgeroot.engine.mac import HmacKey, compare
from edgeroot.psa import Algorithm


class MacContext(Protocol):
    """What computes a MAC of what it is fed, cut to the algorithm's length."""

    def update(self, data: bytes) -> None: ...

    def finalize(self) -> bytes: ...


class MacOperation:
    """A MAC under way, to be computed (``sign``) or verified."""

    __slots__ = ("_context", "_sign")

    def __init__(self, context: MacContext, *, sign: bool) -> None:
        self._context: MacContext | None = context
        self._sign = sign

    def update(self, data: bytes) -> None:
        self._active().update(data)

    def sign_finish(self) -> bytes:
        """BAD_STATE for an operation that was set up to verify."""
        return self._finish(sign=True)

    def verify_finish(self, mac: bytes) -> None:
        """INVALID_SIGNATURE if the MAC is another; the operation has ended in either case."""
        compare(self._finish(sign=False), mac)

    def _finish(self, *, sign: bool) -> bytes:
        context = self._active()
        if self._sign != sign:
            raise bad_state("the operation was set up for the other direction")
        self._context = None
        return context.finalize()

    def _active(self) -> MacContext:
        if self._context is None:
            raise bad_state("the MAC is finished")
        return self._context


def mac_setup(key: EngineKey, alg: Algorithm, *, sign: bool) -> MacOperation:
    """INVALID_ARGUMENT if the key cannot work with the algorithm, NOT_SUPPORTED if nobody can."""
    if not alg.is_mac:
        raise invalid_argument(f"{alg!r} is no MAC")
    if not isinstance(key, (HmacKey, CipherKey)):
        raise invalid_argument(f"a key of type {key.attributes.key_type!r} cannot compute a MAC")
    return MacOperation(key.mac_context(alg), sign=sign)
