from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import settings

from peers import PeersRoot, PeersUnavailableError, UpstreamService
from tests.support.requirements import require_root, unavailable
from tests.support.service import Service, running_service

pytest_plugins = ["tests.support.cluster"]

DEFAULT_ROUNDS = 20

# The same examples in every run: what fails in CI fails at home.
settings.register_profile("edgeroot", derandomize=True, deadline=None, database=None, print_blob=False)
settings.load_profile("edgeroot")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rounds",
        type=int,
        default=DEFAULT_ROUNDS,
        metavar="N",
        help=f"how often tests that repeat an experiment do so (default {DEFAULT_ROUNDS}); also scales property tests",
    )


def pytest_configure(config: pytest.Config) -> None:
    rounds: int = config.getoption("--rounds")
    if rounds < 1:
        raise pytest.UsageError("--rounds must be at least 1")
    settings.register_profile("rounds", settings.get_profile("edgeroot"), max_examples=5 * rounds)
    settings.load_profile("rounds")


@pytest.hookimpl(tryfirst=True)  # before -m chooses by these markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        names = getattr(item, "fixturenames", ())
        if "rounds" in names:
            item.add_marker(pytest.mark.rounds)
        if "peers_root" in names:
            item.add_marker(pytest.mark.peers)
        if {"cluster", "kubelet_cluster"} & set(names) or item.path.parent.name == "cluster":
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def rounds(request: pytest.FixtureRequest) -> int:
    """How often to repeat an experiment; every test that asks for it is part of `make soak`."""
    value: int = request.config.getoption("--rounds")
    return value


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that are the same in every run of this test."""
    return random.Random(request.node.nodeid)


@pytest.fixture(scope="session")
def peers_root() -> PeersRoot:
    """The genuine upstream programs; with this fixture a test may call ``peers.run_parsec_tool``."""
    try:
        return PeersRoot.ready()
    except PeersUnavailableError as error:
        unavailable(str(error))


@pytest.fixture(scope="module")
def upstream_service(peers_root: PeersRoot) -> Iterator[UpstreamService]:
    """Upstream's own service with its default settings, one for the tests of a module."""
    with UpstreamService() as service:
        yield service


@pytest.fixture
def as_root() -> None:
    """For tests that act as several users."""
    require_root("act as several users")


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Our own service with its default settings, one for the tests of a module."""
    with running_service() as running:
        yield running
