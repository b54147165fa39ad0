"""The agent's one write into the cluster: the inventory of its own EdgeNode."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httpx2
import msgspec
from lightkube import ApiError, AsyncClient, KubeConfig
from lightkube.core.exceptions import ConfigError
from lightkube.types import PatchType

from edgeroot.edge.kinds import EdgeNode

FIELD_MANAGER: Final = "edgeroot-agent"
TIMEOUT_S: Final = 10.0
_NOT_FOUND: Final = 404
# KeyError: lightkube's for a refusal without a content type.
_TROUBLE: Final = (ApiError, httpx2.HTTPError, httpx2.StreamError, OSError, msgspec.MsgspecError, ConfigError, KeyError)


class ReportError(Exception):
    """The API server has not taken it; the message says why."""


async def apply_status(document: dict[str, Any]) -> None:
    """Server-side apply on the status. ReportError.

    The account's token is read anew each time, as it is replaced from time to time.
    """
    name = document["metadata"]["name"]
    try:
        client = AsyncClient(KubeConfig.from_env().get(), timeout=httpx2.Timeout(TIMEOUT_S))
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await client.patch(
                    EdgeNode.Status,
                    name,
                    document,
                    patch_type=PatchType.APPLY,
                    field_manager=FIELD_MANAGER,
                    force=True,
                )
        finally:
            await client.close()
    except ApiError as error:
        if error.status.code == _NOT_FOUND:
            raise ReportError(f"there is no EdgeNode {name} yet") from error
        raise ReportError(f"the API server refuses ({error.status.code}): {error}") from error
    except _TROUBLE as error:
        raise ReportError(f"the API server: {type(error).__name__}: {error}") from error
