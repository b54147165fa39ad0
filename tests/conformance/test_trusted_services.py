"""The Trusted Services provider keeps the contract of providers, over a real emulated secure world."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edgeroot.providers.api import Provider
from edgeroot.providers.trusted_services import TrustedServicesProviderType, TrustedServicesSettings
from edgeroot.testing.provider_kit import check_provider
from tests.support.world import World, running_world


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_world() as running:
        yield running


def test_trusted_services_provider(world: World, tmp_path: Path) -> None:
    def open_provider() -> Provider:
        settings = TrustedServicesSettings(socket_path=world.socket)
        provider = TrustedServicesProviderType().open(settings, store_path=tmp_path / "keys.sqlite3")
        provider.start(None)
        closing.callback(provider.close)
        return provider

    with ExitStack() as closing:
        check_provider(open_provider, algorithms_per_row=4)
