"""Where there was no compiler, the same service runs on Python's own socket calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import edgeroot
from edgeroot.client import templates
from edgeroot.psa import Hash
from edgeroot.wire import operations as ops
from edgeroot.wire.status import ResponseStatus
from tests.support.clients import ALICE, DIGEST, ECDSA, as_user, ask, connect, read_to_end, request, response, send
from tests.support.service import running_service


@pytest.fixture
def python_alone(tmp_path: Path) -> dict[str, str]:
    """The environment in which the package has no compiled module."""
    assert edgeroot.__file__ is not None
    shutil.copytree(
        Path(edgeroot.__file__).parent, tmp_path / "edgeroot", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    code = "from edgeroot.daemon import exchange; print(exchange.IS_NATIVE)"
    asked = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, check=True
    )
    assert asked.stdout == b"False\n"
    return environment


def test_the_service_works_without_its_native_module(python_alone: dict[str, str]) -> None:
    with running_service(start=False, timeout_ms=300) as service:
        service.start(environment=python_alone)
        for keep in (True, False):
            with service.client(keep_connection=keep) as client:
                client.generate_key("key", templates.ecdsa_p256())
                signature = client.sign_hash("key", ECDSA, DIGEST)
                client.verify_hash("key", ECDSA, DIGEST, signature)
                assert len(client.generate_random(1 << 20)) == 1 << 20
                client.destroy_key("key")
        for _ in range(3):
            assert ask(service, ops.Ping()).status == ResponseStatus.SUCCESS
        others = as_user(ALICE, lambda: ask(service, ops.ListKeys()).status)
        assert others == ResponseStatus.SUCCESS
        with connect(service) as slow:
            message = request(ops.Ping())
            slow.sendall(message[:20])
            time.sleep(0.05)
            slow.sendall(message[20:])
            assert response(slow).status == ResponseStatus.SUCCESS
        with connect(service) as silent:
            assert response(silent).status == ResponseStatus.CONNECTION_ERROR
        with send(service, ops.PsaHashCompute(Hash.SHA_256, bytes(20_000))) as large:
            assert response(large).status == ResponseStatus.SUCCESS
        gone = send(service, ops.Ping())
        gone.close()
        with connect(service) as rubbish:
            rubbish.sendall(b"rubbish" * 10)
            assert read_to_end(rubbish)
        assert service.stop() == 0
