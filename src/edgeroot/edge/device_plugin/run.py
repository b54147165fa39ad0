"""The plugin as a process: health, registration, and who holds what, until a signal ends it."""

from __future__ import annotations

import asyncio
import grp
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from edgeroot.edge.device_plugin.devices import Devices
from edgeroot.edge.device_plugin.errors import PluginError
from edgeroot.edge.device_plugin.health import Rules, SlotHealth
from edgeroot.edge.device_plugin.holders import SlotHolders
from edgeroot.edge.device_plugin.metrics import Metrics
from edgeroot.edge.device_plugin.probe import find_slots, one_round
from edgeroot.edge.device_plugin.registration import Registrar, channel_to, plugin_socket_name, start_on
from edgeroot.edge.device_plugin.service import REGISTERED_KEY, DevicePlugin
from edgeroot.kubelet.contract.generated import device_plugin_pb2 as contract
from edgeroot.kubelet.contract.generated.device_plugin_pb2_grpc import DevicePluginStub
from edgeroot.kubelet.contract.generated.pod_resources_pb2_grpc import add_PodResourcesListerServicer_to_server

_CHECK_TIMEOUT_S: Final = 5.0
_HOLDERS_CALLS: Final = 64
_PATH_BYTES_MAX: Final = 107  # of sun_path, unix(7), less the zero at its end
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``host_slot_directory`` is what the kubelet calls ``slot_directory``; ``slots`` is None for those that are there.

    Raises PluginError for paths that no socket can have, and for a resource that cannot be one.
    """

    resource: str
    slot_directory: Path
    host_slot_directory: Path
    kubelet_directory: Path
    slots: int | None = None
    holders_socket: Path | None = None
    holders_group: str | None = None
    metrics_address: str | None = None
    ping_interval_s: float = 5.0

    def __post_init__(self) -> None:
        domain, slash, name = self.resource.partition("/")
        if not (domain and slash and name) or "/" in name or "\0" in self.resource:
            raise PluginError(f"{self.resource!r} is no extended resource: write DOMAIN/NAME")
        for path in (self.plugin_socket, self.holders_socket):
            if path is not None and len(bytes(path)) > _PATH_BYTES_MAX:
                raise PluginError(f"{path} is too long for a socket: choose a folder with a shorter path")
        if self.holders_group is not None and self.holders_socket is None:
            raise PluginError("--holders-group is for --holders-socket: give that too")

    @property
    def plugins_directory(self) -> Path:
        return self.kubelet_directory / "device-plugins"

    @property
    def plugin_socket(self) -> Path:
        return self.plugins_directory / plugin_socket_name(self.resource)

    @property
    def pod_resources_socket(self) -> Path:
        return self.kubelet_directory / "pod-resources" / "kubelet.sock"


def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. PluginError."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_until_signalled(settings))


def check(settings: Settings) -> None:
    """PluginError unless a plugin serves here and the kubelet has taken its registration."""
    asyncio.run(_check(settings))


async def _until_signalled(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Until ``stop`` is set. PluginError if it cannot begin."""
    metrics, devices, health = Metrics(), Devices(), SlotHealth(Rules())
    registrar = Registrar(
        folder=settings.plugins_directory,
        resource=settings.resource,
        metrics=metrics,
        plugin=lambda: DevicePlugin(
            resource=settings.resource,
            slot_directory=settings.slot_directory,
            host_slot_directory=settings.host_slot_directory,
            devices=devices,
            metrics=metrics,
        ),
    )
    with metrics.served(settings.metrics_address):
        async with _holders(settings):
            # Before the kubelet hears of a list, it is a true one.
            await _look(settings, health, devices, metrics)
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(_keep_looking(settings, health, devices, metrics)),
                    tasks.create_task(registrar.run()),
                ]
                await stop.wait()
                for task in running:
                    task.cancel()


async def _keep_looking(settings: Settings, health: SlotHealth, devices: Devices, metrics: Metrics) -> None:
    while True:
        await asyncio.sleep(settings.ping_interval_s)
        await _look(settings, health, devices, metrics)


async def _look(settings: Settings, health: SlotHealth, devices: Devices, metrics: Metrics) -> None:
    """A round of pings, and what comes of it."""
    slots = find_slots(settings.slot_directory, settings.slots)
    await one_round(health, slots, settings.slot_directory)
    healthy = health.healthy
    if devices.show(tuple((slot, slot in healthy) for slot in slots)):
        metrics.slots.set(len(slots))
        metrics.healthy.set(len(healthy))
        _log.info("%d of %d slots are healthy", len(healthy), len(slots))
        if not slots:
            _log.warning("no slots in %s: does the service run, and with slots?", settings.slot_directory)
        for slot in slots:
            if slot not in healthy:
                _log.warning("%s does not answer", slot.socket(settings.slot_directory))


@asynccontextmanager
async def _holders(settings: Settings) -> AsyncIterator[None]:
    """Serve who holds which slot, if that is asked for."""
    if settings.holders_socket is None:
        yield
        return
    group = None if settings.holders_group is None else group_number(settings.holders_group)
    server = grpc.aio.server(maximum_concurrent_rpcs=_HOLDERS_CALLS)
    holders = SlotHolders(settings.pod_resources_socket, settings.resource)
    add_PodResourcesListerServicer_to_server(holders, server)
    await start_on(server, settings.holders_socket, group=group)
    try:
        yield
    finally:
        await server.stop(None)


def group_number(name: str) -> int:
    """The group of a name or a number; PluginError."""
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise PluginError(f"there is no group {name}: make one, or give a number") from error


async def _check(settings: Settings) -> None:
    async with channel_to(settings.plugin_socket) as channel:
        call = DevicePluginStub(channel).GetDevicePluginOptions(contract.Empty(), timeout=_CHECK_TIMEOUT_S)
        try:
            await call
            metadata = await call.trailing_metadata()
        except grpc.aio.AioRpcError as error:
            raise PluginError(f"no plugin answers on {settings.plugin_socket}: see its log") from error
    if REGISTERED_KEY not in dict(metadata):
        raise PluginError("the kubelet has not taken the plugin's registration: see the plugin's log")
