"""Objects of the cluster that are looked at again when they change, and when their time has come."""

from __future__ import annotations

import heapq
import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any, Final, Protocol, TypeAlias

import httpx2
import msgspec
from lightkube import ApiError, Client
from lightkube.core.exceptions import ConfigError
from lightkube.core.resource import NamespacedResource

# KeyError: lightkube's for a refusal without a content type.
TROUBLE: Final = (ApiError, httpx2.HTTPError, httpx2.StreamError, OSError, msgspec.MsgspecError, ConfigError, KeyError)
"""What goes wrong with the API server, or on the way to it."""
Object: TypeAlias = Mapping[str, Any]
LISTED: Final = "LISTED"
"""A change that says: these are all there are."""
Change: TypeAlias = tuple[str, Sequence[Object]]
_CHUNK: Final = 500
_RETRY_S: Final = 5.0
# A stream that has broken in a way that nobody notices is not followed for longer.
_WATCH_S: Final = 300
_log: Final = logging.getLogger(__name__)


class _Typed(Protocol):
    """A resource that lightkube has a class for; others are mappings."""

    def to_dict(self) -> dict[str, Any]: ...


class Objects(dict[str, Object]):
    """Those that there are, by ``namespace/name``, or by name where there is no namespace."""

    def take(self, change: Change) -> list[str]:
        """The keys of those that are new or have changed."""
        kind, found = change
        changed = {key_of(one): one for one in found}
        if kind == LISTED:
            for key in set(self) - set(changed):
                del self[key]
        if kind == "DELETED":
            for key in changed:
                self.pop(key, None)
            return []
        self.update(changed)
        return list(changed)


def key_of(found: Object) -> str:
    namespace, name = found["metadata"].get("namespace"), str(found["metadata"]["name"])
    return f"{namespace}/{name}" if namespace else name


@dataclass(slots=True)
class Agenda:
    """When each object is looked at again. Pure: times are passed in."""

    objects: Objects = field(default_factory=Objects)
    _due: list[tuple[float, str]] = field(default_factory=list)
    _when: dict[str, float] = field(default_factory=dict)

    def take(self, change: Change, now_s: float, *, is_news: Callable[[Object | None, Object], bool]) -> None:
        """Only news moves an object forward: what we write ourselves comes back here, too."""
        before = dict(self.objects)
        for key in self.objects.take(change):
            if is_news(before.get(key), self.objects[key]):
                self.plan(key, now_s)

    def plan(self, key: str, when_s: float) -> None:
        self._when[key] = when_s
        heapq.heappush(self._due, (when_s, key))

    def next_due(self, now_s: float) -> str | None:
        """An object whose time has come; whoever looks at it plans it anew."""
        while self._due and self._due[0][0] <= now_s:
            when_s, key = heapq.heappop(self._due)
            if self._when.get(key) == when_s:
                del self._when[key]
                if key in self.objects:
                    return key
        return None

    def pause_s(self, now_s: float, longest_s: float) -> float:
        return min(longest_s, max(0.0, self._due[0][0] - now_s)) if self._due else longest_s


class Follower:
    """Lists and watches one kind of object in a thread of its own, and hands the changes over."""

    def __init__(self, client: Client, kind: type[Any], *, fields: Mapping[str, str] | None = None) -> None:
        """Of all namespaces; ``fields`` is a field selector."""
        self._client = client
        self._kind = kind
        self._where: dict[str, Any] = {"fields": dict(fields)} if fields else {}
        if issubclass(kind, NamespacedResource):
            self._where["namespace"] = "*"
        self._changes: queue.SimpleQueue[Change] = queue.SimpleQueue()

    def start(self) -> None:
        threading.Thread(target=self._run, name=self._kind.__name__, daemon=True).start()

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
                listed = self._client.list(self._kind, chunk_size=_CHUNK, **self._where)
                self._changes.put((LISTED, [_as_object(one) for one in listed]))
                watched = self._client.watch(
                    self._kind, resource_version=listed.resourceVersion, server_timeout=_WATCH_S, **self._where
                )
                for kind, found in watched:
                    self._changes.put((str(kind), [_as_object(found)]))
            except TROUBLE as error:
                _log.warning("%s: listed again soon, for %s", self._kind.__name__, error)
            sleep(_RETRY_S)


def run(
    follower: Follower,
    look: Callable[[Object], float],
    *,
    is_news: Callable[[Object | None, Object], bool],
    stopped: Callable[[], bool],
    pause_s: float = 1.0,
) -> None:
    """Look at each object when there is news of it, and again after as many seconds as the last look said.

    Trouble with the API server is told, and tried again.
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


def _as_object(found: Object | _Typed) -> Object:
    return found if isinstance(found, Mapping) else found.to_dict()
