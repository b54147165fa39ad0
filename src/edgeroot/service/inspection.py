"""Whether back ends still have what the store says that they keep: looked at one by one, and told once.

A back end may lose keys that this service knows nothing of: somebody clears a token, or takes an old disk. Whoever
uses such a key is told; but it may be wanted only in a year, and until then there may still be a backup. Its record is
kept, because the back end may get the key back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Final

from edgeroot.keystore.reader import Reader
from edgeroot.keystore.records import KeyIdentity, KeyStoreError
from edgeroot.psa import PsaError
from edgeroot.service.mounted import MountedProvider
from edgeroot.wire.operations import AuthType

_log: Final = logging.getLogger(__name__)
_PAGE: Final = 64
_REMEMBERED: Final = 10_000  # so that a back end that has lost everything does not cost memory without bound


class Inspection:
    """Goes round the keys and objects of one provider, again and again, one with each step."""

    def __init__(
        self, mounted: MountedProvider, reader: Reader, *, tell: Callable[[int], None], log_details: bool
    ) -> None:
        """``tell`` is given the number of missing ones whenever it may have changed."""
        self._mounted = mounted
        self._reader = reader
        self._tell = tell
        self._log_details = log_details
        self._round = self._identities()
        self._missing: set[KeyIdentity] = set()  # in this round
        self._known: set[KeyIdentity] = set()  # in the last one

    def step(self) -> None:
        """Look at the next one, and begin again after the last."""
        try:
            self._step()
        except KeyStoreError:
            self._round = self._identities()  # whoever needs the store says what is wrong with it

    def _step(self) -> None:
        identity = next(self._round, None)
        if identity is None:
            self._round = self._identities()
            self._known, self._missing = self._missing, set()
        elif self._is_missing(identity):
            if identity not in self._known:
                self._report(identity)
            if len(self._missing) < _REMEMBERED:
                self._missing.add(identity)
        self._tell(max(len(self._known), len(self._missing)))

    def _is_missing(self, identity: KeyIdentity) -> bool:
        """Whether the back end says so; one that does not answer says nothing."""
        record = self._reader.find(identity)
        if record is None:  # destroyed since it was listed
            return False
        try:
            if self._mounted.provider.exists(record.reference):
                return False
        except PsaError:
            return identity in self._known
        # What was destroyed, or made anew, while the back end was asked is not missing.
        return self._reader.find(identity) == record

    def _report(self, identity: KeyIdentity) -> None:
        kind = "a key" if identity.provider == self._mounted.name else "an object"
        whose = f": {identity.key_name!r} of {identity.application!r}" if self._log_details else ""
        _log.error("the back end of provider %s has lost %s; its record is kept%s", self._mounted.name, kind, whose)

    def _identities(self) -> Iterator[KeyIdentity]:
        """All of them, in pages, so that no read of the store lasts long."""
        for authenticator in AuthType:
            for application in self._reader.list_applications(authenticator):
                for name in (self._mounted.name, self._mounted.objects_name):
                    yield from self._owned(authenticator, application, name)

    def _owned(self, authenticator: int, application: str, name: str) -> Iterator[KeyIdentity]:
        after: str | None = None
        while page := self._reader.list_page(authenticator, application, name, after=after, limit=_PAGE):
            for key_name, _ in page:
                yield KeyIdentity(authenticator, application, name, key_name)
            after = page[-1][0]
