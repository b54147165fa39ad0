"""The secure element provider keeps the contract of providers, over emulated parts beneath Microchip's own library."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from edgeroot.providers.api import Provider
from edgeroot.testing.atecc import Model
from edgeroot.testing.provider_kit import check_provider
from tests.support.secure_element import on_a_bus, open_provider, personalised


@pytest.mark.parametrize("model", list(Model), ids=lambda model: model.name)
def test_secure_element_provider(model: Model, tmp_path: Path) -> None:
    def opened() -> Provider:
        provider = open_provider(model, tmp_path)
        provider.start(None)
        closing.callback(provider.close)
        return provider

    part = personalised(model)
    with ExitStack() as closing:
        closing.enter_context(on_a_bus(part))
        check_provider(opened)
    assert '"slots": {}' in next(tmp_path.glob("*-slots")).read_text(), "a slot is still taken"
