from __future__ import annotations

import pytest

from edgeroot.client.endpoint import socket_path
from edgeroot.client.errors import EndpointError


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("unix:/run/a.sock", "/run/a.sock"),
        ("unix:///run/a.sock", "/run/a.sock"),
        ("unix:/run/with%20space", "/run/with space"),
    ],
)
def test_a_unix_endpoint_names_a_path(endpoint: str, path: str) -> None:
    assert socket_path(endpoint) == path


@pytest.mark.parametrize(
    "endpoint", ["/run/a.sock", "tcp://host:1", "unix", "unix:run/a.sock", "unix://host/a.sock", "unix:", ""]
)
def test_any_other_endpoint_is_refused_with_what_to_write(endpoint: str) -> None:
    with pytest.raises(EndpointError, match="write unix:/path/to/socket"):
        socket_path(endpoint)


def test_argument_then_environment_then_the_well_known_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PARSEC_SERVICE_ENDPOINT", raising=False)
    assert socket_path() == "/run/parsec/parsec.sock"
    monkeypatch.setenv("PARSEC_SERVICE_ENDPOINT", "unix:/from/environment")
    assert socket_path() == "/from/environment"
    assert socket_path("unix:/from/argument") == "/from/argument"


def test_a_bad_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARSEC_SERVICE_ENDPOINT", "http://host")
    with pytest.raises(EndpointError, match=r"PARSEC_SERVICE_ENDPOINT is 'http://host'"):
        socket_path()
