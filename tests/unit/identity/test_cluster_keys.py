from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeroot.auth import AuthenticationError
from edgeroot.auth.key_set import KeySetError
from edgeroot.identity import cluster_keys
from edgeroot.identity.api_server import AwayError
from edgeroot.identity.cluster_keys import ClusterKeys
from tests.support.tokens import Issuer


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Source:
    """The API server as far as keys go. ``away`` is an outage."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.away = False
        self.document: bytes | None = None
        self.asked = 0

    def __call__(self) -> bytes:
        self.asked += 1
        if self.away:
            raise AwayError("the API server is away")
        return self.document or json.dumps(self.issuer.key_set()).encode()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(cluster_keys, "monotonic", found)
    return found


@pytest.fixture
def source() -> Source:
    return Source(Issuer())


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    before = os.umask(0o022)
    yield tmp_path / "jwks.json"
    os.umask(before)


def has(keys: ClusterKeys, key_id: str) -> bool:
    try:
        keys.find(key_id)
    except AuthenticationError:
        return False
    return True


def test_the_key_set_is_asked_for_once_and_then_known(clock: Clock, source: Source) -> None:
    keys = ClusterKeys(None, source)
    assert source.asked == 0

    for _ in range(10):
        clock.now_s += 10
        assert has(keys, "key-0")
    assert source.asked == 1


def test_a_new_key_is_found_but_made_up_ids_do_not_make_us_ask_all_the_time(clock: Clock, source: Source) -> None:
    keys = ClusterKeys(None, source)
    has(keys, "key-0")
    clock.now_s += 60

    for number in range(100):
        assert not has(keys, f"made-up-{number}")
    assert source.asked == 2

    source.issuer.rotate()
    assert not has(keys, "key-1")
    clock.now_s += 2
    assert has(keys, "key-1")
    assert source.asked == 3


def test_a_key_that_was_taken_away_is_trusted_for_five_minutes_at_most(clock: Clock, source: Source) -> None:
    keys = ClusterKeys(None, source)
    has(keys, "key-0")
    source.issuer.rotate()
    del source.issuer.keys["key-0"]

    clock.now_s += 299
    assert has(keys, "key-0")
    clock.now_s += 1
    assert not has(keys, "key-0")
    assert has(keys, "key-1")


def test_the_last_good_set_outlasts_an_outage_and_what_is_no_key_set(
    clock: Clock, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    keys = ClusterKeys(None, source)
    has(keys, "key-0")

    source.away = True
    for _ in range(3):
        clock.now_s += 1000
        assert has(keys, "key-0")
    source.away = False
    source.document = b'{"keys":[]}'
    clock.now_s += 1000
    assert has(keys, "key-0")

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "no newer key set of the cluster: the API server is away",
        "no newer key set of the cluster: the key set has no key that tokens can be checked with",
    ]


def test_it_outlasts_a_restart_in_its_file(clock: Clock, source: Source, file: Path) -> None:
    assert has(ClusterKeys(file, source), "key-0")
    source.away = True

    again = ClusterKeys(file, source)

    assert has(again, "key-0")
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in file.parent.iterdir()] == ["jwks.json"]


def test_the_file_is_replaced_when_there_are_new_keys_and_not_otherwise(
    clock: Clock, source: Source, file: Path
) -> None:
    keys = ClusterKeys(file, source)
    has(keys, "key-0")
    first = file.stat().st_ino
    clock.now_s += 300
    has(keys, "key-0")
    assert file.stat().st_ino == first

    source.issuer.rotate()
    clock.now_s += 300
    has(keys, "key-1")

    assert json.loads(file.read_bytes()) == source.issuer.key_set()


def test_a_file_that_cannot_be_written_is_no_reason_to_refuse(
    clock: Clock, source: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert has(ClusterKeys(tmp_path / "missing" / "jwks.json", source), "key-0")
    assert "cannot keep the cluster's key set" in caplog.text


def test_without_any_key_set_the_refusal_says_why(clock: Clock, source: Source, file: Path) -> None:
    source.away = True
    with pytest.raises(AuthenticationError, match=r"no key set.*the API server is away"):
        ClusterKeys(file, source).find("key-0")
    with pytest.raises(AuthenticationError, match=r"no key set.*there is no file"):
        ClusterKeys(file, None).find("key-0")


def test_the_operators_file_is_read_again_when_it_changes(file: Path) -> None:
    issuer = Issuer()
    keys = ClusterKeys(issuer.write_key_set(file), None)
    assert has(keys, "key-0")

    issuer.rotate()
    assert not has(keys, "key-1")
    issuer.write_key_set(file.with_name("new")).replace(file)
    assert has(keys, "key-1")

    file.write_text("half of it")
    assert has(keys, "key-1")
    file.unlink()
    assert has(keys, "key-1")


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_a_file_that_others_could_have_written_is_not_believed(file: Path, mode: int) -> None:
    Issuer().write_key_set(file).chmod(mode)

    with pytest.raises(AuthenticationError, match="others could write it"):
        ClusterKeys(file, None).find("key-0")


def test_neither_is_another_users(file: Path, as_root: None) -> None:
    os.chown(Issuer().write_key_set(file), 12345, 0)

    with pytest.raises(AuthenticationError, match="others could write it"):
        ClusterKeys(file, None).find("key-0")


def test_nor_something_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(AuthenticationError, match=r"directory|no file"):
        ClusterKeys(tmp_path, None).find("key-0")


def test_a_key_set_that_comes_by_itself_is_taken(clock: Clock, source: Source, file: Path) -> None:
    source.away = True
    keys = ClusterKeys(file, source)
    assert not has(keys, "key-0")

    keys.take(json.dumps(source.issuer.key_set()).encode())
    assert has(keys, "key-0")
    with pytest.raises(KeySetError):
        keys.take(b"{}")
    assert has(keys, "key-0")
