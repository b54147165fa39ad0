"""Being known to the kubelet, and noticing when that is over.

The kubelet forgets its plugins when it restarts: it empties the folder of their sockets and makes its own anew. It
does not come back to a plugin whose list it lost in another way either. In all these cases the plugin serves a new
socket and registers again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from edgeroot.edge.device_plugin.errors import PluginError
from edgeroot.edge.device_plugin.metrics import Metrics
from edgeroot.edge.device_plugin.service import DevicePlugin
from edgeroot.kubelet.contract.generated import device_plugin_pb2 as contract
from edgeroot.kubelet.contract.generated.device_plugin_pb2_grpc import (
    RegistrationStub,
    add_DevicePluginServicer_to_server,
)

API_VERSION: Final = "v1beta1"
KUBELET_SOCKET: Final = "kubelet.sock"
UNREAD_S: Final = 10.0
"""A plugin whose list nobody reads for so long is not known any more."""
_LOOK_S: Final = 1.0
_REGISTER_TIMEOUT_S: Final = 10.0
_CONCURRENT_CALLS: Final = 64
_PAUSE_MIN_S: Final = 1.0
_PAUSE_MAX_S: Final = 30.0
_LASTED_S: Final = 60.0
# Of the peer's address gRPC makes a name that servers written in Go may refuse.
_CHANNEL_OPTIONS: Final = (("grpc.default_authority", "localhost"),)
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SocketIdentity:
    """Which file it is. Numbers of files are used again, times are not."""

    device: int
    inode: int
    changed_ns: int


def socket_identity(path: Path) -> SocketIdentity | None:
    """None if no socket is there."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISSOCK(found.st_mode):
        return None
    return SocketIdentity(found.st_dev, found.st_ino, found.st_ctime_ns)


@dataclass(slots=True)
class Session:
    """A registration: with which kubelet, over which socket, and when its list was last seen to be read."""

    kubelet: SocketIdentity
    own: SocketIdentity
    read_at_s: float

    def why_over(
        self, *, kubelet: SocketIdentity | None, own: SocketIdentity | None, streams: int, now_s: float
    ) -> str | None:
        """A reason to register again, None while there is none."""
        if kubelet != self.kubelet:
            return "the kubelet is gone" if kubelet is None else "the kubelet has restarted"
        if own != self.own:
            return (
                "the plugin's socket was removed" if own is None else "another has put a socket in the plugin's place"
            )
        if streams:
            self.read_at_s = now_s
        if now_s - self.read_at_s > UNREAD_S:
            return "the kubelet does not read the list of slots"
        return None


class Pauses:
    """Seconds before the next try: doubled each time, from the beginning after a session that has lasted."""

    def __init__(self) -> None:
        self._next_s = _PAUSE_MIN_S

    def after(self, lasted_s: float) -> float:
        pause_s = _PAUSE_MIN_S if lasted_s >= _LASTED_S else self._next_s
        self._next_s = min(2 * pause_s, _PAUSE_MAX_S)
        return pause_s


class Registrar:
    """Keeps a plugin registered in ``folder``, with a new server for each registration."""

    def __init__(self, *, folder: Path, resource: str, metrics: Metrics, plugin: Callable[[], DevicePlugin]) -> None:
        self._folder = folder
        self._resource = resource
        self._metrics = metrics
        self._plugin = plugin
        self._socket = folder / plugin_socket_name(resource)

    async def run(self) -> None:
        """Runs until it is cancelled."""
        pauses = Pauses()
        waits = False
        while True:
            kubelet = socket_identity(self._folder / KUBELET_SOCKET)
            if kubelet is None:
                if not waits:
                    _log.info("waiting for the kubelet's socket %s", self._folder / KUBELET_SOCKET)
                waits = True
                await asyncio.sleep(_LOOK_S)
                continue
            waits = False
            begun_s = time.monotonic()
            try:
                why = await self._session(kubelet)
            except grpc.aio.AioRpcError as error:
                why = f"the kubelet does not take the registration ({error.details() or error.code().name})"
            except PluginError as error:
                why = str(error)
            pause_s = pauses.after(time.monotonic() - begun_s)
            _log.warning("%s: registering again in %g s", why, pause_s)
            await asyncio.sleep(pause_s)

    async def _session(self, kubelet: SocketIdentity) -> str:
        """Serve and register; why it was over."""
        plugin = self._plugin()
        server = grpc.aio.server(maximum_concurrent_rpcs=_CONCURRENT_CALLS)
        add_DevicePluginServicer_to_server(plugin, server)
        own = await start_on(server, self._socket)
        try:
            await self._register()
            plugin.registered = True
            self._metrics.registrations.inc()
            _log.info("the kubelet knows %s", self._resource)
            session = Session(kubelet, own, time.monotonic())
            while True:
                await asyncio.sleep(_LOOK_S)
                why = session.why_over(
                    kubelet=socket_identity(self._folder / KUBELET_SOCKET),
                    own=socket_identity(self._socket),
                    streams=plugin.streams,
                    now_s=time.monotonic(),
                )
                if why:
                    return why
        finally:
            # Ends the lists that somebody reads as well.
            await server.stop(None)

    async def _register(self) -> None:
        request = contract.RegisterRequest(
            version=API_VERSION,
            endpoint=self._socket.name,
            resource_name=self._resource,
            options=contract.DevicePluginOptions(),
        )
        async with channel_to(self._folder / KUBELET_SOCKET) as channel:
            await RegistrationStub(channel).Register(request, timeout=_REGISTER_TIMEOUT_S)


def plugin_socket_name(resource: str) -> str:
    return f"{resource.replace('/', '-')}.sock"


def channel_to(path: Path) -> grpc.aio.Channel:
    """A channel over a Unix socket; nothing is sent yet."""
    return grpc.aio.insecure_channel(f"unix:{path}", options=_CHANNEL_OPTIONS)


async def start_on(server: grpc.aio.Server, path: Path, *, group: int | None = None) -> SocketIdentity:
    """Have a server take calls at a socket of root's, and of a group's if there is one; PluginError if it cannot.

    What lies there is replaced if it is a socket, for then it is a dead process's.
    """
    try:
        _remove_socket(path)
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        _give_to(path, group)
    except (OSError, RuntimeError) as error:
        await server.stop(None)
        raise PluginError(f"{path} cannot be served ({error}): may this user write there?") from error
    identity = socket_identity(path)
    if identity is None:
        await server.stop(None)
        raise PluginError(f"{path} was removed at once: does the kubelet restart?")
    return identity


def _remove_socket(path: Path) -> None:
    if socket_identity(path) is not None:
        path.unlink()


def _give_to(path: Path, group: int | None) -> None:
    """To connect takes the right to write, which at first only the owner has."""
    if group is not None:
        os.chown(path, -1, group)
    path.chmod(0o600 if group is None else 0o660)
