"""What the plugin counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from edgeroot.edge.device_plugin.errors import PluginError


class Metrics:
    """No name of a pod, a key or an application is among them."""

    def __init__(self) -> None:
        self._registry: Final = CollectorRegistry()
        self.slots: Final = Gauge("edgeroot_slots", "Slots that the kubelet is told of.", registry=self._registry)
        self.healthy: Final = Gauge("edgeroot_slots_healthy", "Of these, the healthy ones.", registry=self._registry)
        self.allocations: Final = Counter(
            "edgeroot_slot_allocations", "Slots given to containers.", registry=self._registry
        )
        self.registrations: Final = Counter(
            "edgeroot_kubelet_registrations", "Registrations that the kubelet has taken.", registry=self._registry
        )

    @contextmanager
    def served(self, address: str | None) -> Iterator[None]:
        """Serve them at ``HOST:PORT``, if there is one; PluginError if that cannot be."""
        if address is None:
            yield
            return
        host, port = _parse(address)
        try:
            server, thread = start_http_server(port, host, self._registry)
        except OSError as error:
            raise PluginError(f"metrics cannot be served at {address}: {error.strerror or error}") from error
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _parse(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
        raise PluginError(f"{address!r} is no address for metrics: write HOST:PORT, such as 127.0.0.1:9110")
    return host.removeprefix("[").removesuffix("]"), int(port)
