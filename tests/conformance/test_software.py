"""The software provider keeps the contract of providers."""

from __future__ import annotations

from pathlib import Path

from edgeroot.providers.api import Provider
from edgeroot.providers.software import SoftwareProviderType, SoftwareSettings
from edgeroot.testing.provider_kit import check_provider


def test_software_provider(tmp_path: Path) -> None:
    state: bytes | None = None

    def open_provider() -> Provider:
        nonlocal state
        provider = SoftwareProviderType().open(SoftwareSettings(), store_path=tmp_path / "keys.sqlite3")
        state = provider.start(state)
        return provider

    check_provider(open_provider)
