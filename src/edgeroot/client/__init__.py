"""A client of Parsec services, synchronous (:class:`Client`) and asynchronous (:class:`AsyncClient`).

What is heavy is loaded when it is first asked for: asyncio with ``AsyncClient``, the package ``cryptography`` with key
objects.
"""

from typing import TYPE_CHECKING

from edgeroot.client import errors as errors
from edgeroot.client import templates as templates
from edgeroot.client.auth import Credentials as Credentials
from edgeroot.client.auth import DirectAuth as DirectAuth
from edgeroot.client.auth import NoAuth as NoAuth
from edgeroot.client.auth import Token as Token
from edgeroot.client.auth import TokenFile as TokenFile
from edgeroot.client.auth import UnixPeerCredentials as UnixPeerCredentials
from edgeroot.client.blocking import Client as Client

if TYPE_CHECKING:
    from edgeroot.client.asynchronous import AsyncClient as AsyncClient


def __getattr__(name: str) -> object:
    if name == "AsyncClient":
        from edgeroot.client.asynchronous import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
