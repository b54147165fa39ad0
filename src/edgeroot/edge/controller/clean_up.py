"""Takes our marks from every node, for who uninstalls: nobody else would take the taints away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lightkube import AsyncClient
from lightkube.resources import core_v1

from edgeroot.edge.controller.actions import release
from edgeroot.edge.controller.cluster import CONFLICT, NOT_FOUND, TROUBLE, Cluster, code_of
from edgeroot.edge.controller.objects import node_of
from edgeroot.edge.controller.records import Node

_TRIES: Final = 5


async def clean_up(connect: Callable[[], AsyncClient]) -> int:
    """How many nodes bore marks. While a controller runs it puts them on again: stop it first."""
    client = connect()
    freed = 0
    try:
        cluster = Cluster(client, None, "")
        async for found in client.list(core_v1.Node, chunk_size=250):
            freed += await _free(cluster, node_of(found, None))
    finally:
        await client.close()
    return freed


async def _free(cluster: Cluster, node: Node) -> bool:
    """Whether it bore marks."""
    for left in reversed(range(_TRIES)):
        patch = release(node)
        if patch is None:
            return False
        try:
            await cluster.patch_node(node.name, patch)
            return True
        except TROUBLE as error:
            if code_of(error) == NOT_FOUND:
                return False
            if code_of(error) != CONFLICT or not left:
                raise
        node = await cluster.get_node(node.name)
    return False
