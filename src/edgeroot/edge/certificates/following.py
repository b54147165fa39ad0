"""Objects of the cluster that are looked at again when they change, and when their time has come."""

from __future__ import annotations

import heapq
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, TypeAlias

import httpx2
import msgspec
from lightkube import ApiError
from lightkube.core.exceptions import ConfigError

TROUBLE: Final = (ApiError, httpx2.HTTPError, httpx2.StreamError, OSError, msgspec.MsgspecError, ConfigError)
"""What goes wrong with the API server, or on the way to it."""
Object: TypeAlias = Mapping[str, Any]
Change: TypeAlias = tuple[str, Object]
_RETRY_S: Final = 5.0
_log: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class Agenda:
    """Which objects there are, and when each is looked at again. Pure: times are passed in."""

    objects: dict[str, Object] = field(default_factory=dict)
    _due: list[tuple[float, str]] = field(default_factory=list)
    _when: dict[str, float] = field(default_factory=dict)

    def take(self, change: Change, now_s: float, *, is_news: Callable[[Object | None, Object], bool]) -> None:
        """An object as a watch gives it. Only news moves it forward: our own writes come back here, too."""
        kind, found = change
        key = f"{found['metadata'].get('namespace', '')}/{found['metadata']['name']}"
        if kind == "DELETED":
            self.objects.pop(key, None)
            self._when.pop(key, None)
            return
        before = self.objects.get(key)
        self.objects[key] = found
        if before is None or is_news(before, found):
            self.plan(key, now_s)

    def plan(self, key: str, when_s: float) -> None:
        self._when[key] = when_s
        heapq.heappush(self._due, (when_s, key))

    def next_due(self, now_s: float) -> str | None:
        """The object whose time has come; it has to be planned anew."""
        while self._due and self._due[0][0] <= now_s:
            when_s, key = heapq.heappop(self._due)
            if self._when.get(key) == when_s:
                del self._when[key]
                return key
        return None

    def pause_s(self, now_s: float, longest_s: float) -> float:
        return min(longest_s, max(0.0, self._due[0][0] - now_s)) if self._due else longest_s


class Follower:
    """Watches in a thread of its own, and hands the changes over."""

    def __init__(self, watch: Callable[[], Any], name: str) -> None:
        """``watch`` begins a watch that gives what there is, and then what changes (lightkube's)."""
        self._watch = watch
        self._changes: queue.SimpleQueue[Change] = queue.SimpleQueue()
        self._name = name

    def start(self) -> None:
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def changes(self, longest_s: float) -> list[Change]:
        """What has arrived, after waiting so long for the first of it at most."""
        found = []
        try:
            found.append(self._changes.get(timeout=longest_s))
            while True:
                found.append(self._changes.get_nowait())
        except queue.Empty:
            return found

    def _run(self) -> None:
        while True:
            try:
                for kind, found in self._watch():
                    self._changes.put((str(kind), found.to_dict()))
            except TROUBLE as error:
                _log.warning("%s cannot be followed: %s", self._name, error)
            threading.Event().wait(_RETRY_S)


def run(
    follower: Follower,
    look: Callable[[Object], float],
    *,
    is_news: Callable[[Object | None, Object], bool],
    stopped: Callable[[], bool],
    pause_s: float = 1.0,
) -> None:
    """Look at each object when it is new, when there is news of it, and when the last look said.

    Trouble with the API server is told and tried again; nothing else is caught.
    """
    agenda = Agenda()
    follower.start()
    while not stopped():
        for change in follower.changes(agenda.pause_s(monotonic(), pause_s)):
            agenda.take(change, monotonic(), is_news=is_news)
        while (key := agenda.next_due(monotonic())) is not None and not stopped():
            try:
                next_s = look(agenda.objects[key])
            except TROUBLE as error:
                _log.warning("%s: the API server: %s", key, error)
                next_s = _RETRY_S
            agenda.plan(key, monotonic() + next_s)
