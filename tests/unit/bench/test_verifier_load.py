"""The verifier's load generator, with a real verifier: it counts what is judged, and tells what is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.fleet import endorse
from bench.verifier_client import AnswerError, Head, percentile, read_head
from bench.verifier_load import Devices, growth, serving

ENDORSED = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verifier")
    endorse(folder / "fleet.db", ENDORSED)
    return folder


@pytest.fixture(scope="module")
def devices(folder: Path) -> Iterator[Devices]:
    with serving(folder) as (server, port):
        yield Devices(server, port, ENDORSED)


def test_a_closed_loop_finds_out_what_the_verifier_can_do(devices: Devices) -> None:
    report = devices.drive(connections=4, seconds=0.5, warm_up_s=0.1)
    assert report.errors == {}
    assert report.ok > 0
    assert report.rate > 0
    assert 0 < report.p50_us <= report.p99_us <= report.max_us
    assert 0 < report.making_s < report.cpu_s
    assert min(devices.resident_mb) > 1


def test_with_a_rate_every_iteration_that_is_due_is_counted(devices: Devices) -> None:
    report = devices.drive(connections=20, seconds=1.0, warm_up_s=0.2, rate=20)
    assert report.errors == {}
    assert 19 <= report.ok <= 21


def test_what_comes_too_late_counts_from_when_it_was_due(devices: Devices) -> None:
    """One connection cannot keep up with this rate, so that the last iterations wait for all of those before."""
    report = devices.drive(connections=1, seconds=0.1, warm_up_s=0, rate=2000)
    assert report.ok == 200
    assert report.p99_us > 0.5e6 * (report.seconds - 0.1)


def test_a_device_that_is_not_endorsed_is_an_error(folder: Path) -> None:
    with serving(folder) as (server, port):
        report = Devices(server, port, ENDORSED + 1).drive(connections=1, seconds=0.5, warm_up_s=0, rate=44)
    assert report.errors == {"a result that is not affirming": 2}
    assert report.ok == 20


def test_heads_are_read() -> None:
    head = b"HTTP/1.1 201 Created\r\nContent-Length:  7\r\nlocation: session/ab\r\n\r\n"
    assert read_head(head) == Head(201, 7, b"session/ab")
    with pytest.raises(AnswerError):
        read_head(b"HTTP/1.1 204 No Content\r\n\r\n")


def test_percentiles() -> None:
    ordered = [float(one) for one in range(1, 101)]
    assert [percentile(ordered, share) for share in (0.5, 0.99, 1)] == [50, 99, 100]
    assert percentile([7.0], 0.99) == 7
    assert percentile([], 0.5) == 0


def test_growth_is_from_the_first_third_to_the_last() -> None:
    assert growth([100, 100, 500, 105, 100, 115]) == pytest.approx(0.075)
    assert growth([1, 2]) == 0
