from __future__ import annotations

from pathlib import Path

import pytest

from edgeroot.tee.places import WorldPlaces, choose_world, world_beside, world_socket


def test_root_has_the_systems_places() -> None:
    assert choose_world({"XDG_RUNTIME_DIR": "/run/user/0"}, is_root=True) == WorldPlaces(
        Path("/var/lib/edgeroot-secure-world"), Path("/run/edgeroot-secure-world")
    )


@pytest.mark.parametrize(
    ("environment", "state"),
    [
        ({"HOME": "/home/me"}, "/home/me/.local/state"),
        ({"HOME": "/home/me", "XDG_STATE_HOME": "/data"}, "/data"),
        ({"HOME": "/home/me", "XDG_STATE_HOME": ""}, "/home/me/.local/state"),
    ],
)
def test_a_user_has_those_of_the_xdg_base_directories(environment: dict[str, str], state: str) -> None:
    chosen = choose_world({**environment, "XDG_RUNTIME_DIR": "/run/user/7"}, is_root=False)
    assert chosen == WorldPlaces(Path(state, "edgeroot-secure-world"), Path("/run/user/7/edgeroot-secure-world"))


def test_without_a_runtime_directory_a_user_has_none() -> None:
    assert choose_world({"HOME": "/home/me"}, is_root=False) is None


def test_keys_elsewhere_have_their_secure_world_beside_them() -> None:
    one, other = world_beside(Path("/srv/a/keys")), world_beside(Path("/srv/b/keys"))
    assert one.state == Path("/srv/a/keys-secure-world")
    assert len({one.state, other.state}) == len({one.socket, other.socket}) == 2


def test_the_socket_is_what_the_environment_names_else_the_usual_one() -> None:
    assert world_socket({"EDGEROOT_SECURE_WORLD": "/x/spm.sock"}, is_root=True) == Path("/x/spm.sock")
    assert world_socket({}, is_root=True) == Path("/run/edgeroot-secure-world/spm.sock")
    assert world_socket({}, is_root=False) == Path("/run/edgeroot-secure-world/spm.sock")
    assert world_socket({"XDG_RUNTIME_DIR": "/r"}, is_root=False) == Path("/r/edgeroot-secure-world/spm.sock")
