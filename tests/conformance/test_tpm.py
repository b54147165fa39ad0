"""The TPM provider keeps the contract of providers, over the genuine swtpm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeroot.providers.tpm import TpmProvider, TpmProviderType, TpmSettings
from edgeroot.testing.provider_kit import check_provider
from tests.support.swtpm import running_swtpm


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[TpmProvider]:
    with running_swtpm(tmp_path / "tpm") as swtpm:
        provider = TpmProviderType().open(TpmSettings(swtpm.tcti), store_path=tmp_path / "keys.sqlite3")
        provider.start(None)
        yield provider
        provider.close()


def test_tpm_provider(provider: TpmProvider) -> None:
    # A TPM has one owner at a time, and this swtpm one connection, so that both instances are the same.
    check_provider(lambda: provider, algorithms_per_row=2, oaep_labels=(b"", b"label\0"))
