from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest

from edgeroot.daemon.places import PlaceError, Places, become, choose, make, service_user
from tests.support.clients import as_user

SOMEBODY = 31005
ROOT = 0


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Made under the strictest umask."""
    places = Places(tmp_path / "run" / "parsec.sock", tmp_path / "lib" / "state")
    before = os.umask(0o077)
    try:
        make(places)
    finally:
        os.umask(before)
    return places


@pytest.mark.parametrize(
    ("uid", "environment", "socket", "state"),
    [
        (0, {"XDG_RUNTIME_DIR": "/r"}, "/run/edgeroot/parsec.sock", "/var/lib/edgeroot"),
        (7, {"XDG_RUNTIME_DIR": "/r", "XDG_STATE_HOME": "/s"}, "/r/edgeroot/parsec.sock", "/s/edgeroot"),
        (7, {"XDG_RUNTIME_DIR": "/r", "HOME": "/h"}, "/r/edgeroot/parsec.sock", "/h/.local/state/edgeroot"),
    ],
)
def test_the_usual_places(
    uid: int, environment: dict[str, str], socket: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "geteuid", lambda: uid)

    assert choose(None, None) == Places(Path(socket), Path(state))
    assert choose(Path("/mine/s"), Path("/mine/k")) == Places(Path("/mine/s"), Path("/mine/k"))


def test_a_user_without_a_runtime_directory_is_told_what_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 7)

    with pytest.raises(PlaceError, match="--socket"):
        choose(None, None)


def test_keys_are_closed_and_the_socket_can_be_reached_whatever_the_umask(places: Places) -> None:
    assert stat.S_IMODE(places.state.stat().st_mode) == 0o700
    assert stat.S_IMODE(places.socket.parent.stat().st_mode) == 0o755


@pytest.mark.parametrize("which", ["socket", "state"])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, which: str) -> None:
    (tmp_path / which).touch()

    with pytest.raises(PlaceError, match=f"cannot make {tmp_path / which}"):
        make(Places(tmp_path / "socket" / "s", tmp_path / "state"))


@pytest.mark.usefixtures("as_root")
def test_the_service_becomes_the_user_who_has_the_keys_already(places: Places) -> None:
    os.chown(places.state, SOMEBODY, SOMEBODY)

    assert service_user(places, None) == (SOMEBODY, SOMEBODY)


@pytest.mark.usefixtures("as_root")
def test_or_a_user_who_is_named_or_nobody_has_an_account_for(places: Places) -> None:
    nobody = pwd.getpwnam("nobody")
    uid, _ = service_user(places, None)

    assert service_user(places, "nobody") == (nobody.pw_uid, nobody.pw_gid)
    assert uid != ROOT


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(("name", "advice"), [("root", "another one"), ("no-such-user", "useradd")])
def test_nobody_becomes_root_or_a_user_who_is_not_there(places: Places, name: str, advice: str) -> None:
    with pytest.raises(PlaceError, match=advice):
        service_user(places, name)


@pytest.mark.usefixtures("as_root")
def test_root_is_given_up_for_good_and_the_places_change_hands(places: Places) -> None:
    def in_a_process_of_its_own() -> tuple[tuple[int, int, int], tuple[int, int, int], list[int]]:
        become(places, (SOMEBODY, SOMEBODY))
        return os.getresuid(), os.getresgid(), os.getgroups()

    assert as_user(ROOT, in_a_process_of_its_own) == ((SOMEBODY,) * 3, (SOMEBODY,) * 3, [])
    assert {path.stat().st_uid for path in (places.state, places.socket.parent)} == {SOMEBODY}


@pytest.mark.usefixtures("as_root")
def test_a_folder_of_somebody_else_or_with_something_in_it_stays_theirs(places: Places) -> None:
    (places.socket.parent / "theirs").touch()

    with pytest.raises(PlaceError, match="not empty"):
        become(places, (SOMEBODY, SOMEBODY))
    assert os.getuid() == ROOT
    assert places.socket.parent.stat().st_uid == ROOT
