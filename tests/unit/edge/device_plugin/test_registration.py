from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from edgeroot.edge.device_plugin.registration import (
    UNREAD_S,
    Pauses,
    Session,
    SocketIdentity,
    plugin_socket_name,
    socket_identity,
)

KUBELET = SocketIdentity(1, 10, 1000)
OWN = SocketIdentity(1, 11, 1001)


@pytest.fixture
def session() -> Session:
    return Session(KUBELET, OWN, 0.0)


@pytest.mark.parametrize(
    ("kubelet", "own", "why"),
    [
        (KUBELET, OWN, None),
        (None, OWN, "the kubelet is gone"),
        (None, None, "the kubelet is gone"),
        (replace(KUBELET, inode=12), None, "the kubelet has restarted"),
        (replace(KUBELET, changed_ns=2000), OWN, "the kubelet has restarted"),
        (KUBELET, None, "the plugin's socket was removed"),
        (KUBELET, replace(OWN, inode=13), "another has put a socket in the plugin's place"),
    ],
)
def test_why_a_registration_is_over(
    session: Session, kubelet: SocketIdentity | None, own: SocketIdentity | None, why: str | None
) -> None:
    assert session.why_over(kubelet=kubelet, own=own, streams=1, now_s=1.0) == why


def test_a_registration_is_over_when_nobody_reads_its_list_any_more(session: Session) -> None:
    def why(*, streams: int, now_s: float) -> str | None:
        return session.why_over(kubelet=KUBELET, own=OWN, streams=streams, now_s=now_s)

    assert why(streams=0, now_s=UNREAD_S) is None
    assert why(streams=1, now_s=100.0) is None
    assert why(streams=0, now_s=100.0 + UNREAD_S) is None
    assert why(streams=0, now_s=100.1 + UNREAD_S) == "the kubelet does not read the list of slots"


def test_pauses_grow_up_to_a_bound_and_begin_anew_after_what_has_lasted() -> None:
    pauses = Pauses()

    assert [pauses.after(0.5) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert [pauses.after(lasted_s) for lasted_s in (60.0, 0.0, 3600.0)] == [1, 2, 1]


def test_only_a_socket_has_an_identity_and_each_its_own(tmp_path: Path) -> None:
    path = tmp_path / "socket"

    assert socket_identity(path) is None
    path.touch()
    assert socket_identity(path) is None
    path.unlink()
    seen = set()
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            seen.add(socket_identity(path))
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(path)
        assert socket_identity(tmp_path / "link") is None
        path.unlink()

    assert len(seen) == 3


def test_each_resource_has_a_socket_of_its_own() -> None:
    assert plugin_socket_name("edgeroot.dev/parsec") == "edgeroot.dev-parsec.sock"
