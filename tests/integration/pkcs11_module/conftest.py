from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pkcs11_module import Programs, module
from tests.support.service import Service, running_service


@pytest.fixture(scope="package")
def key_service() -> Iterator[Service]:
    module()
    with running_service() as running:
        yield running


@pytest.fixture
def programs(key_service: Service, tmp_path: Path) -> Iterator[Programs]:
    """With a service that has no keys yet."""
    tmp_path.chmod(0o755)
    yield Programs(key_service, tmp_path)
    with key_service.client() as client:
        for one in client.list_keys():
            client.destroy_key(one.name)
