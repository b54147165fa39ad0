"""The peers themselves: genuine tool against genuine service, before either meets edgeroot."""

from __future__ import annotations

import pytest

from peers import PeersRoot, PeersUnavailableError, UpstreamService, run_parsec_tool


def test_the_genuine_tool_pings_the_genuine_service(upstream_service: UpstreamService) -> None:
    result = run_parsec_tool(upstream_service.socket_path, "ping")

    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "1.0"


def test_the_tool_runs_as_the_user_asked_for(upstream_service: UpstreamService) -> None:
    created = run_parsec_tool(upstream_service.socket_path, "create-ecc-key", "-k", "mine", uid=4321)
    assert created.returncode == 0, created.stderr

    owner = run_parsec_tool(upstream_service.socket_path, "list-keys", uid=4321)
    stranger = run_parsec_tool(upstream_service.socket_path, "list-keys", uid=4322)

    assert "mine" in owner.stdout
    assert "mine" not in stranger.stdout


def test_a_service_that_cannot_start_is_reported_with_its_words(peers_root: PeersRoot) -> None:
    with pytest.raises(PeersUnavailableError, match="no_such_setting"), UpstreamService(settings="no_such_setting = ]"):
        pass


def test_nothing_is_left_of_a_stopped_service(peers_root: PeersRoot) -> None:
    with UpstreamService(idle_sleep_ms=1) as service:
        folder = service.folder
        assert run_parsec_tool(service.socket_path, "ping").returncode == 0

    assert not folder.exists()
    with pytest.raises(RuntimeError, match="not running"):
        service.pid  # noqa: B018 - reading it is what must fail
