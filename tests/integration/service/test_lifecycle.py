"""Starting and stopping: alone, after a crash, beside another service, under a service manager."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from edgeroot.client import Client, templates
from edgeroot.client.errors import EndpointError
from edgeroot.wire import operations as ops
from peers import PeersRoot, UpstreamService
from tests.support.clients import (
    DIGEST,
    ECDSA,
    all_gone,
    ask,
    connect,
    forked,
    generate_rsa,
    request,
    response,
    send,
    wait_until,
)
from tests.support.requirements import require_root
from tests.support.service import Service, running_service

ON_DISK = 'manager_type = "OnDisk"\nstore_path = "{}"'
SECOND_SOCKET = '[[listener]]\nlistener_type = "DomainSocket"\ntimeout = 1000\nsocket_path = "{}"\nname = "second"\n'


def end(service: Service) -> str:
    """The last words of a service that does not start."""
    service.start(wait=False)
    assert service.process is not None
    assert service.process.wait(30) > 0
    assert "Traceback" not in service.log()
    return service.log().splitlines()[-1]


# Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_being_served_is_answered_before_the_end(number: signal.Signals) -> None:
    with running_service(timeout_ms=5000) as service:
        with send(service, generate_rsa("slow")) as slow, connect(service) as kept, connect(service) as half:
            message = request(ops.Ping())
            half.sendall(message[:20])
            assert ask(service, ops.Ping()).status == 0  # so the others have been accepted
            service.signal(number)
            wait_until(lambda: not service.socket_path.exists(), "nobody can come any more")
            with pytest.raises(EndpointError):
                service.client().ping()
            half.sendall(message[20:])
            assert response(half).status == 0
            assert response(slow).status == 0
            kept.close()
        assert service.process is not None
        assert service.process.wait(30) == 0
        assert service.log().splitlines()[-1].endswith("stopped")
        assert not service.children()
        assert not service.store_path.with_name(service.store_path.name + "-wal").exists()

        service.start()
        with service.client() as client:
            assert [key.name for key in client.list_keys()] == ["slow"]


def test_everybody_who_has_connected_is_answered_before_the_end() -> None:
    """More than a worker accepts in one go, while one of the two has nothing to do."""
    with running_service() as service:
        workers = service.children("worker")
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        with ExitStack() as stack:
            asked = [stack.enter_context(send(service, ops.Ping())) for _ in range(200)]
            service.signal(signal.SIGTERM)
            wait_until(lambda: not service.socket_path.exists(), "nobody can come any more")
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
            assert [response(connection).status for connection in asked] == [0] * len(asked)
        assert service.process is not None
        assert service.process.wait(30) == 0


def test_a_second_word_ends_it_at_once() -> None:
    with running_service(timeout_ms=30_000) as service, connect(service):
        ask(service, ops.Ping())
        service.signal(signal.SIGTERM)
        wait_until(lambda: not service.socket_path.exists(), "it has heard")
        service.signal(signal.SIGTERM)
        assert service.process is not None
        assert service.process.wait(5) == 0


def test_the_next_service_may_start_while_the_last_one_ends() -> None:
    with running_service() as service:
        with service.client() as client:
            client.generate_key("key", templates.ecdsa_p256())
        old = service.process
        assert old is not None
        with send(service, generate_rsa("slow")) as slow:
            ask(service, ops.Ping())
            service.signal(signal.SIGTERM)
            service.start()
            assert response(slow).status == 0
        assert old.wait(30) == 0
        with service.client() as client:
            client.sign_hash("key", ECDSA, DIGEST)
        assert service.stop() == 0


# After a crash


def test_a_killed_supervisor_leaves_nothing_and_nothing_in_the_way() -> None:
    with running_service() as service:
        with service.client() as client:
            client.generate_key("key", templates.ecdsa_p256())
        for _ in range(3):
            children, killed = service.children(), service.process
            assert killed is not None
            service.signal(signal.SIGKILL)
            service.start()  # at once, while the last one's children may still be ending
            assert killed.wait(5) == -signal.SIGKILL
            wait_until(partial(all_gone, children), "the children are gone")
            with service.client() as client:
                client.sign_hash("key", ECDSA, DIGEST)
        assert "removing the socket that an earlier service left" in service.log()


def test_it_gives_up_when_its_parts_keep_ending() -> None:
    with running_service() as service:
        deadline_s = time.monotonic() + 20
        assert service.process is not None
        while service.process.poll() is None and time.monotonic() < deadline_s:
            for pid in service.children("helper"):
                with suppress(ProcessLookupError):  # which ends anyway
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        assert service.process.wait(10) == 1
        assert "too many processes end, giving up" in service.log()
        assert not service.socket_path.exists()


# What is in the way


def test_the_niceness_that_the_service_is_given_is_its_writers() -> None:
    def niceness(role: str) -> set[int]:
        return {os.getpriority(os.PRIO_PROCESS, pid) for pid in service.children(role)}

    require_root("have a service run before others")
    with running_service(start=False) as service:
        service.start(launcher=("nice", "-n", "-10"))
        assert (niceness("writer"), niceness("worker"), niceness("helper")) == ({-10}, {0}, {19})
        (writer,) = service.children("writer")
        os.kill(writer, signal.SIGKILL)
        wait_until(lambda: service.children("writer") not in ([], [writer]), "there is another writer")
        wait_until(lambda: niceness("writer") == {-10}, "the next writer has it as well")
    with running_service(start=False) as service:
        service.start(launcher=("nice", "-n", "5"))
        assert (niceness("writer"), niceness("worker")) == ({5}, {5})


def test_a_socket_file_that_is_something_else_is_refused() -> None:
    with running_service(start=False) as service:
        service.socket_path.write_text("mine")
        assert "is not a socket" in end(service)
        assert service.socket_path.read_text() == "mine"


def test_a_second_service_on_the_same_store_is_refused() -> None:
    with running_service() as service, running_service(start=False) as other:
        text = other.config_path.read_text()
        store = f"{other.folder}/store/"
        assert store in text
        other.config_path.write_text(text.replace(store, f"{service.folder}/store/"))
        last = end(other)
        assert str(service.store_path.parent) in last
        assert "two services" in last
        assert not other.socket_path.exists()
        with service.client() as client:
            client.generate_key("key", templates.ecdsa_p256())
            client.sign_hash("key", ECDSA, DIGEST)


def test_a_second_service_on_the_same_socket_is_refused() -> None:
    with running_service() as service, running_service(start=False) as other:
        text = other.config_path.read_text()
        other.config_path.write_text(text.replace(str(other.socket_path), str(service.socket_path)))
        last = end(other)
        assert str(service.socket_path) in last
        assert "another service answers" in last
        with service.client() as client:
            client.ping()


@pytest.mark.usefixtures("as_root")
def test_root_is_refused_unless_the_configuration_allows_it() -> None:
    with running_service(start=False) as service:
        allowing = service.config_path.read_text()
        service.config_path.write_text(allowing.replace("allow_root = true\n", ""))
        assert "does not run as root" in (last := end(service))
        assert "allow_root" in last
        assert not service.socket_path.exists()
        assert not service.store_path.parent.exists()

        service.config_path.write_text(allowing)
        service.start()
        assert ask(service, ops.Ping()).status == 0


def files(folder: Path) -> dict[Path, bytes | None]:
    """Everything below a folder; folders themselves have no content."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def on_disk(service: Service) -> Path:
    """Configure the key manager that has a folder instead of a file; the folder, which is not made."""
    folder = service.store_path.parent / "mappings"
    text = service.config_path.read_text()
    was = f'manager_type = "SQLite"\nsqlite_db_path = "{folder.parent}/kim.sqlite3"'
    assert was in text
    service.config_path.write_text(text.replace(was, ON_DISK.format(folder)))
    return folder


def test_keys_in_a_store_of_upstreams_service_are_left_to_it(peers_root: PeersRoot) -> None:
    del peers_root
    with UpstreamService() as upstream, running_service(start=False) as service:
        with Client(f"unix:{upstream.socket_path}") as client:
            client.generate_key("key", templates.ecdsa_p256())
        store = service.store_path.parent
        store.mkdir()
        shutil.copy(upstream.folder / "store.sqlite3", store / "kim.sqlite3")
        before = files(store)

        last = end(service)
        assert "with 1 key lies" in last
        assert "edgeroot migrate" in last
        assert before.items() <= files(store).items()
        assert not service.store_path.exists()
        assert not service.socket_path.exists()


def test_keys_in_a_folder_of_upstreams_service_are_left_to_it() -> None:
    with running_service(start=False) as service:
        folder = on_disk(service)
        record = folder / "cGFyc2VjLXRvb2w=" / "1" / "dG90bw=="  # base64 of application and key
        record.parent.mkdir(parents=True)
        record.write_bytes(bytes(46))
        before = files(folder.parent)

        assert "edgeroot migrate" in end(service)
        assert before.items() <= files(folder.parent).items()
        assert not folder.with_name("mappings.edgeroot").exists()


def test_a_folder_for_upstreams_keys_is_a_place_for_ours_beside_it() -> None:
    with running_service(start=False) as service:
        folder = on_disk(service)
        service.start()
        with service.client() as client:
            client.generate_key("key", templates.ecdsa_p256())
        service.kill()
        service.start()
        with service.client() as client:
            client.sign_hash("key", ECDSA, DIGEST)
        assert not folder.exists()
        assert folder.with_name("mappings.edgeroot").is_file()


# Under a service manager


@contextmanager
def manager_socket(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        yield manager


def heard(manager: socket.socket) -> list[str]:
    words = []
    while select.select([manager], [], [], 0)[0]:
        words.append(manager.recv(4096).decode().split("\n")[0])
    return words


def test_the_manager_is_told_how_far_it_is() -> None:
    with running_service(start=False) as service, manager_socket(service.folder / "notify") as manager:
        service.start(environment={"NOTIFY_SOCKET": str(service.folder / "notify")})
        wait_until(lambda: bool(select.select([manager], [], [], 0)[0]), "a word")
        assert heard(manager) == ["READY=1"]
        with service.client() as client:
            client.ping()

        at = len(service.log())
        service.signal(signal.SIGHUP)
        service.wait_for_log("Parsec is ready.", after=at)
        wait_until(lambda: heard(manager)[-1:] == ["READY=1"], "the end of the reload")

        service.config_path.write_text("nonsense")
        service.signal(signal.SIGHUP)
        service.wait_for_log("the configuration stays as it was")
        words: list[str] = []

        def complete() -> bool:
            words.extend(heard(manager))
            return len(words) == 2

        wait_until(complete, "the end of the failed reload")
        assert words == ["RELOADING=1", "READY=1"]
        assert service.stop() == 0
        assert heard(manager) == ["STOPPING=1"]


@contextmanager
def listening_socket(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(64)
        yield listener


def start_activated(service: Service, *sockets: socket.socket, names: str = "", wait: bool = True) -> None:
    """As the manager does it: descriptors from 3 on, and variables that name the process."""
    moves = " ".join(f"{3 + index}<&{one.fileno()}" for index, one in enumerate(sockets))
    script = f'LISTEN_PID=$$ LISTEN_FDS={len(sockets)} LISTEN_FDNAMES={names} exec "$@" {moves}'
    for one in sockets:
        assert one.fileno() > 9 or not moves
    service.start(launcher=["bash", "-c", script, "bash"], pass_fds=[one.fileno() for one in sockets], wait=wait)


def above_ten(one: socket.socket) -> socket.socket:
    """The same socket under a number that the shell does not move while it needs it."""
    import fcntl

    descriptor = fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 30)
    return socket.socket(fileno=descriptor)


def test_sockets_of_the_manager_are_served_and_left_to_it() -> None:
    with running_service(start=False, extra="") as service:
        second_path = service.folder / "run" / "second.sock"
        text = service.config_path.read_text().replace("[listener]", '[[listener]]\nname = "first"')
        service.config_path.write_text(text + SECOND_SOCKET.format(second_path))
        with listening_socket(service.socket_path) as first, listening_socket(second_path) as second:
            with forked(lambda: ask(service, ops.Ping()).status) as (early,):  # before the service is there
                with above_ten(first) as one, above_ten(second) as two:
                    start_activated(service, two, one, names="second:first")
                assert early.result() == 0
            for path in (service.socket_path, second_path):
                service.socket_path = path
                with service.client() as client:
                    client.ping()

            service.kill()
            with forked(lambda: ask(service, ops.Ping()).status) as (between,):  # who comes now waits for the next one
                time.sleep(0.1)
                with above_ten(first) as one, above_ten(second) as two:
                    start_activated(service, one, two, names="first:second")
                assert between.result() == 0

            at = len(service.log())
            service.signal(signal.SIGHUP)
            service.wait_for_log("Parsec is ready.", after=at)
            assert ask(service, ops.Ping()).status == 0
            assert service.stop() == 0
            assert second_path.exists()


def test_a_socket_of_the_manager_that_belongs_to_nobody_is_refused() -> None:
    with running_service(start=False) as service:
        text = service.config_path.read_text().replace("[listener]", '[[listener]]\nname = "first"')
        service.config_path.write_text(text + SECOND_SOCKET.format(service.folder / "run" / "second.sock"))
        with listening_socket(service.folder / "run" / "third.sock") as third, above_ten(third) as one:
            start_activated(service, one, names="third", wait=False)
            assert service.process is not None
            assert service.process.wait(30) > 0
        assert 'no listener is named "third"' in service.log().splitlines()[-1]
