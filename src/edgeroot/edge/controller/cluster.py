"""The API server, over lightkube: lists that are followed, and the few writes."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, Never, TypeVar

import httpx2
import msgspec
from lightkube import ApiError, AsyncClient
from lightkube.core.exceptions import ConfigError
from lightkube.core.resource import GlobalResource
from lightkube.resources import core_v1
from lightkube.resources.coordination_v1 import Lease
from lightkube.types import PatchType

from edgeroot.edge.controller.actions import Announcement, Document
from edgeroot.edge.controller.lease import Record
from edgeroot.edge.controller.names import FIELD_MANAGER
from edgeroot.edge.controller.objects import edge_of, event_of, lease_of, node_of, record_of
from edgeroot.edge.controller.records import EdgeNode, Node, Selector
from edgeroot.edge.kinds import EdgeNode as EdgeNodes

TIMEOUT_S: Final = 5.0
"""Of an exchange. What a replica asked for before it lost its lease is decided before another one has it."""
# KeyError: lightkube's for a refusal without a content type.
TROUBLE: Final = (httpx2.HTTPError, httpx2.StreamError, OSError, msgspec.MsgspecError, ConfigError, KeyError)
"""What goes wrong with the API server, or on the way to it."""
CONFLICT: Final = 409
NOT_FOUND: Final = 404
_CHUNK: Final = 250
_RESYNC_S: Final = 900.0
_FIRST_DELAY_S: Final = 0.5
_LONGEST_DELAY_S: Final = 15.0

_Found = TypeVar("_Found", bound=GlobalResource)
_Kept = TypeVar("_Kept", Node, EdgeNode)
_log = logging.getLogger(__name__)


def code_of(error: BaseException) -> int:
    """The HTTP status of a refusal; 0 if it is none."""
    if isinstance(error, ApiError):
        return error.status.code or 0
    return error.response.status_code if isinstance(error, httpx2.HTTPStatusError) else 0


def words_of(error: BaseException) -> str:
    """What went wrong, on a line: some exceptions have no words of their own."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener(Generic[_Kept]):
    """Who is told of a kind of object. ``listed`` gets all that there are."""

    listed: Callable[[Iterable[_Kept]], None]
    put: Callable[[_Kept], None]
    dropped: Callable[[str], None]
    troubled: Callable[[BaseException], None]


class Cluster:
    """One pool of connections. What exchanges raise is in TROUBLE."""

    def __init__(self, client: AsyncClient, selector: Selector | None, reporter: str) -> None:
        self._client = client
        self._selector = selector
        self._reporter = reporter

    def _node(self, found: core_v1.Node) -> Node:
        return node_of(found, self._selector)

    async def follow_nodes(self, listener: Listener[Node]) -> Never:
        await self._follow(core_v1.Node, self._node, listener)

    async def follow_edges(self, listener: Listener[EdgeNode]) -> Never:
        await self._follow(EdgeNodes, edge_of, listener)

    async def _follow(self, kind: type[_Found], read: Callable[[_Found], _Kept], listener: Listener[_Kept]) -> Never:
        """List, watch, and after any trouble list again: a store that was restored went back without a word.

        From time to time it is listed without any, for not every restored store breaks a watch.
        """
        failures = 0
        while True:
            try:
                version = await self._list(kind, read, listener)
                failures = 0
                async with asyncio.timeout(_RESYNC_S * random.uniform(0.8, 1.2)):
                    await self._watch(kind, read, listener, version=version)
            except TimeoutError:
                continue
            except TROUBLE as error:
                listener.troubled(error)
                delay_s = random.uniform(0.5, 1) * min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(failures, 10))
                failures += 1
                _log.warning("%s: listed again in %.1f s, for %s", kind.__name__, delay_s, words_of(error))
                await asyncio.sleep(delay_s)

    async def _list(self, kind: type[_Found], read: Callable[[_Found], _Kept], listener: Listener[_Kept]) -> str:
        """Tell of all there are; the version to watch from."""
        found = self._client.list(kind, chunk_size=_CHUNK)
        kept = [read(one) async for one in found]
        listener.listed(kept)
        return found.resourceVersion

    async def _watch(
        self, kind: type[_Found], read: Callable[[_Found], _Kept], listener: Listener[_Kept], *, version: str
    ) -> None:
        """Tell of changes, until there is trouble. A stream that the server ends in order is taken up where it was."""
        server_timeout_s = int(random.uniform(240, 480))
        async for change, found in self._client.watch(kind, resource_version=version, server_timeout=server_timeout_s):
            one = read(found)
            if change == "DELETED":
                listener.dropped(one.name)
            else:
                listener.put(one)

    async def get_node(self, name: str) -> Node:
        return self._node(await self._client.get(core_v1.Node, name))

    async def get_edge(self, name: str) -> EdgeNode:
        return edge_of(await self._client.get(EdgeNodes, name))

    async def patch_node(self, name: str, document: Document) -> Node:
        patched = await self._client.patch(
            core_v1.Node, name, document, patch_type=PatchType.MERGE, field_manager=FIELD_MANAGER
        )
        return self._node(patched)

    async def patch_status(self, name: str, document: Document) -> EdgeNode:
        patched = await self._client.patch(
            EdgeNodes.Status, name, document, patch_type=PatchType.MERGE, field_manager=FIELD_MANAGER
        )
        return edge_of(patched)

    async def announce(self, announcement: Announcement, now_s: float) -> None:
        await self._client.create(event_of(announcement, now_s, self._reporter))

    async def get_lease(self, name: str, namespace: str) -> Record | None:
        """None if there is none."""
        try:
            return record_of(await self._client.get(Lease, name, namespace=namespace))
        except ApiError as error:
            if code_of(error) == NOT_FOUND:
                return None
            raise

    async def write_lease(self, record: Record, *, name: str, namespace: str, now_s: float) -> None:
        """Create it, or replace what was read; refused with CONFLICT if another replica was faster."""
        lease = lease_of(record, name=name, namespace=namespace, now_s=now_s)
        if record.version:
            await self._client.replace(lease)
        else:
            await self._client.create(lease)
