"""Decides certificate requests that come with our bootstrap tokens, one after another, for as long as it runs.

It asks for them again and again. A watch would have them sooner, but would wait for ever on a connection that died
without a word; and joining is rare.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Final, Protocol

from edgeroot.edge.enrolment.approval import Asked, Tokens, is_ours, settle
from edgeroot.edge.enrolment.errors import AwayError
from edgeroot.edge.enrolment.tokens import token_id_of

_PAUSE_S: Final = 1.0
_PAUSE_MAX_S: Final = 30.0
_SHARE: Final = 4
"""It pauses for so many times as long as it worked, so that many requests do not keep the API server busy."""
_log: Final = logging.getLogger(__name__)


class Requests(Tokens, Protocol):
    def requests(self) -> Iterable[Asked]:
        """Those that nobody has decided. AwayError."""

    def settled(self) -> Iterable[str]:
        """The users, with our tokens, whose requests are decided. AwayError."""


class Approver:
    def __init__(self, cluster: Requests) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="approver", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """It needs no farewell: what it was doing is taken up at the next start."""
        self._stop.set()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        is_swept = False
        while not self._stop.is_set():
            began_s = time.monotonic()
            failures = 0 if self.round() else failures + 1
            is_swept = is_swept or self.sweep()
            worked_s = time.monotonic() - began_s
            self._stop.wait(min(max(_PAUSE_S, _SHARE * worked_s) * 2 ** min(failures, 5), _PAUSE_MAX_S))

    def round(self) -> bool:
        """Decide what there is; whether all of it was decided. What fails does not hold up the rest."""
        is_done = True
        try:
            asked = [one for one in self._cluster.requests() if is_ours(one)]
        except AwayError as error:
            _log.warning("certificate requests wait: %s", error)
            return False
        for one in asked:
            try:
                _log.info("%s", settle(one, self._cluster))
            except AwayError as error:
                _log.warning("certificate request %s waits: %s", one.name, error)
                is_done = False
        return is_done

    def sweep(self) -> bool:
        """End the tokens of decided requests: whoever ran before was perhaps killed in between."""
        try:
            for user in self._cluster.settled():
                if (token_id := token_id_of(user)) is not None:
                    self._cluster.drop(token_id)
        except AwayError as error:
            _log.warning("tokens of decided requests wait for their end: %s", error)
            return False
        return True
