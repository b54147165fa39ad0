"""Nobody delays anybody: idle, slow and greedy clients of one user, and what another user notices of them."""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from edgeroot.client import Client, templates
from edgeroot.wire import operations as ops
from edgeroot.wire.status import ResponseStatus
from tests.support.clients import (
    ALICE,
    BOB,
    DIGEST,
    ECDSA,
    acting_as,
    as_user,
    ask,
    clients_of_every_worker,
    connect,
    forked,
    generate_rsa,
    read_to_end,
    request,
    response,
    send,
    settle,
    wait_until,
    worker_connections,
)
from tests.support.descriptors import room_for_descriptors
from tests.support.service import Service, running_service

pytestmark = pytest.mark.usefixtures("as_root")

BOUND = 256
PATIENCE_S = 1.0  # whatever one user does, another one's ping is answered in this time
DRIBBLERS = 64
PING = request(ops.Ping())


def ping_for(service: Service, duration_s: float) -> float:
    """Pings on new connections all the time; the longest that one of them took."""
    worst_s = 0.0
    with service.client(keep_connection=False, timeout_s=10.0) as client:
        end_s = time.monotonic() + duration_s
        while time.monotonic() < end_s:
            begun_s = time.monotonic()
            client.ping()
            worst_s = max(worst_s, time.monotonic() - begun_s)
            time.sleep(0.002)
    return worst_s


def is_closed(connection: socket.socket) -> bool:
    """Whether the service has closed it; an answer that nobody asked for fails the test."""
    if not select.select([connection], [], [], 0)[0]:
        return False
    try:
        assert connection.recv(1) == b""
    except ConnectionResetError:
        pass
    return True


def all_closed(connections: list[socket.socket]) -> bool:
    return all(is_closed(connection) for connection in connections)


def test_a_user_has_256_connections_and_not_one_more() -> None:
    with (
        running_service(timeout_ms=30_000) as service,
        forked(lambda: ping_for(service, 1.5), uid=BOB) as (bob,),
        ExitStack() as stack,
    ):
        with acting_as(ALICE):
            held = [stack.enter_context(connect(service)) for _ in range(BOUND)]
        settle(service)
        with acting_as(ALICE):
            more = [stack.enter_context(connect(service)) for _ in range(300 - BOUND)]
        wait_until(partial(all_closed, more), "the others are closed")
        assert not any(is_closed(connection) for connection in held)

        held.pop().close()
        settle(service)
        with acting_as(ALICE):
            again = stack.enter_context(connect(service))
            again.sendall(request(ops.Ping()))
        assert response(again).status == 0
        assert bob.result() < PATIENCE_S


def test_the_bound_holds_for_those_who_come_at_once() -> None:
    """Two workers may each take the last place at the same time, and no more than that."""
    bound, workers = 8, 2
    with (
        running_service(
            core=f"thread_pool_size = {workers}",
            listener=f"max_connections_per_user = {bound}",
            timeout_ms=30_000,
        ) as service,
        ExitStack() as stack,
    ):
        with acting_as(ALICE):
            crowd = [stack.enter_context(connect(service)) for _ in range(64)]
        settle(service)
        left = sum(not is_closed(connection) for connection in crowd)
        assert bound <= left < bound + workers


def test_two_thousand_idle_connections_of_several_users_delay_nobody() -> None:
    users, of_each = range(BOB + 1, BOB + 9), 250
    with (
        room_for_descriptors(3000),
        running_service(timeout_ms=30_000) as service,
        forked(lambda: ping_for(service, 2.0), uid=BOB) as (bob,),
        ExitStack() as stack,
    ):
        for uid in users:
            with acting_as(uid):
                for _ in range(of_each):
                    stack.enter_context(connect(service))
        settle(service)
        assert sum(worker_connections(service).values()) >= len(users) * of_each
        assert bob.result() < PATIENCE_S


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"", ResponseStatus.CONNECTION_ERROR),
        (PING[:20], ResponseStatus.CONNECTION_ERROR),
        (PING[:22] + b"\xff" * 4 + PING[26:36], ResponseStatus.BODY_SIZE_EXCEEDS_LIMIT),
    ],
    ids=["nothing", "half a header", "a body of 4 GiB"],
)
def test_what_cannot_become_a_request_any_more_is_answered_at_once(message: bytes, status: ResponseStatus) -> None:
    with running_service(timeout_ms=30_000) as service, connect(service) as connection:
        connection.sendall(message)
        if status == ResponseStatus.CONNECTION_ERROR:
            connection.shutdown(socket.SHUT_WR)
        connection.settimeout(PATIENCE_S)
        assert response(connection).status == status


def test_a_request_has_to_arrive_within_the_timeout_as_a_whole() -> None:
    with running_service(timeout_ms=1000) as service:

        def dribble() -> list[tuple[float, int]]:
            message = request(ops.Ping())
            begun_s = time.monotonic()
            with ExitStack() as stack:
                pending = {stack.enter_context(connect(service)) for _ in range(DRIBBLERS)}
                answers = []
                for byte in message:
                    for connection in pending:
                        with suppress(BrokenPipeError):
                            connection.send(bytes([byte]))
                    for connection in select.select(list(pending), [], [], 0)[0]:
                        answers.append((time.monotonic() - begun_s, int(response(connection).status)))
                        pending.remove(connection)
                    if not pending:
                        break
                    time.sleep(0.1)
            return answers

        with forked(dribble, uid=ALICE) as (alice,), forked(lambda: ping_for(service, 2.0), uid=BOB) as (bob,):
            answers = alice.result()
            assert bob.result() < PATIENCE_S
        assert len(answers) == DRIBBLERS
        assert {status for _, status in answers} == {ResponseStatus.CONNECTION_ERROR}
        assert min(after_s for after_s, _ in answers) > 0.8
        assert max(after_s for after_s, _ in answers) < 3.0


def test_who_does_not_take_the_answer_is_dropped() -> None:
    size_bytes = 1 << 20
    with running_service(timeout_ms=500) as service:

        def ask_and_wait() -> list[int]:
            with ExitStack() as stack:
                asked = []
                for _ in range(8):
                    connection = stack.enter_context(connect(service))
                    connection.sendall(request(ops.PsaGenerateRandom(size_bytes)))
                    asked.append(connection)
                time.sleep(2.0)
                return [len(read_to_end(connection)) for connection in asked]

        with forked(ask_and_wait, uid=ALICE) as (alice,), forked(lambda: ping_for(service, 2.0), uid=BOB) as (bob,):
            assert bob.result() < PATIENCE_S
            lengths = alice.result()
        assert all(0 < length < size_bytes for length in lengths)
        # Who takes it as it comes gets all of it.
        assert len(ask(service, ops.PsaGenerateRandom(size_bytes)).body) > size_bytes


def answered(connection: socket.socket) -> bool:
    """Whether a readable connection has an answer to read, and not just its end."""
    try:
        return connection.recv(1, socket.MSG_PEEK) != b""
    except ConnectionResetError:  # closed with the request unread
        return False


def test_one_user_fills_the_queue_and_others_are_served() -> None:
    with running_service() as service:

        def overload() -> int:
            with ExitStack() as stack:
                asked = [stack.enter_context(send(service, generate_rsa(f"a{n}"))) for n in range(64)]
                time.sleep(0.3)
                early = sum(bool(select.select([connection], [], [], 0)[0]) for connection in asked)
                # The bound counts all workers: whoever the next one meets, it is one too many.
                beyond = [stack.enter_context(send(service, generate_rsa(f"b{n}"))) for n in range(early + 4)]
                refused: set[int] = set()

                def look() -> bool:
                    if len(beyond) < 400:  # some of the early ones have been answered since they were counted
                        beyond.append(stack.enter_context(send(service, generate_rsa(f"b{len(beyond)}"))))
                    for one in beyond:  # a readable one was refused, or took the place of one of the early ones
                        if select.select([one], [], [], 0)[0] and not answered(one):
                            refused.add(one.fileno())
                    return len(refused) >= 4

                wait_until(look, "some are refused without a reply")
                with service.client() as client:  # what does not have to wait is served
                    client.ping()
                    client.generate_key("small", templates.ecdsa_p256())
                    client.sign_hash("small", ECDSA, DIGEST)
                os.read(done, 1)
                return len(refused)

        done, tell = os.pipe()
        with forked(overload, uid=ALICE) as (alice,):
            time.sleep(1.0)

            def work() -> float:
                with service.client() as client:
                    worst_s = 0.0
                    client.generate_key("key", templates.ecdsa_p256())
                    for _ in range(300):
                        begun_s = time.monotonic()
                        client.sign_hash("key", ECDSA, DIGEST)
                        worst_s = max(worst_s, time.monotonic() - begun_s)
                    client.generate_key("slow", templates.rsa_signing(2048))  # in turn with the other user's 64
                    return worst_s

            assert as_user(BOB, work) < PATIENCE_S
            os.write(tell, b"!")
            assert alice.result() >= 4
        os.close(done)
        os.close(tell)


def test_the_queue_of_a_user_has_the_configured_length() -> None:
    length = 3
    with running_service(listener=f"max_queued_requests_per_user = {length}", core="thread_pool_size = 1") as service:

        def overload() -> list[int]:
            with ExitStack() as stack:
                asked = [stack.enter_context(send(service, generate_rsa(f"a{n}"))) for n in range(4 * length)]
                return [len(read_to_end(connection)) for connection in asked]

        lengths = as_user(ALICE, overload)
        # Which of them are taken depends on whose bytes are there first. A job or two may be done, and its place free,
        # before the last request is there.
        assert length <= sum(size_bytes > 0 for size_bytes in lengths) <= length + 2
        # The places are free again.
        assert as_user(ALICE, lambda: ask(service, generate_rsa("again", 1024)).status) == ResponseStatus.SUCCESS
        with service.client() as client:
            client.ping()


def test_what_takes_longer_than_the_execution_timeout_is_answered_and_leaves_nothing() -> None:
    count = 16
    with running_service(core="execution_timeout = 400") as service:
        begun_s = time.monotonic()
        with ExitStack() as stack:
            asked = [stack.enter_context(send(service, generate_rsa(f"key-{n}"))) for n in range(count)]
            statuses = {n: response(connection).status for n, connection in enumerate(asked)}
        assert time.monotonic() - begun_s < 5.0
        assert set(statuses.values()) <= {ResponseStatus.SUCCESS, ResponseStatus.CONNECTION_ERROR}
        late = [n for n, status in statuses.items() if status == ResponseStatus.CONNECTION_ERROR]
        assert late
        with service.client() as client:
            client.generate_key("then", templates.ecdsa_p256())
            assert client.can_do_crypto(ops.CheckType.USE, templates.ecdsa_p256())
            wait_until(lambda: _is_idle(service), "the helpers have nothing to do")
            names = {key.name for key in client.list_keys()}
        assert names == {"then"} | {f"key-{n}" for n, status in statuses.items() if not status}
        assert service.log().count("status=ConnectionError") == len(late)  # each has its audit line


def test_jobs_of_clients_that_have_gone_are_dropped() -> None:
    count = 16
    with running_service() as service:
        with ExitStack() as stack:
            for n in range(count):
                stack.enter_context(send(service, generate_rsa(f"key-{n}")))
            with service.client() as client:
                client.generate_key("among", templates.ecdsa_p256())
        wait_until(lambda: _is_idle(service), "the helpers have nothing to do")
        with service.client() as client:
            made = [key.name for key in client.list_keys() if key.name != "among"]
        # What a helper had begun is finished; the others are not even tried.
        assert len(made) <= 2 * len(service.children("helper"))


def _is_idle(service: Service) -> bool:
    def ticks() -> list[str]:
        return [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11] for pid in helpers]

    helpers = service.children("helper")
    before = ticks()
    time.sleep(0.2)
    return ticks() == before


def test_slow_work_has_one_process_for_each_core_and_gives_way_to_all_else() -> None:
    with running_service() as service:
        priorities = [os.getpriority(os.PRIO_PROCESS, pid) for pid in service.children("helper")]
        assert priorities == [19] * len(os.sched_getaffinity(0))


def test_a_helper_that_crashes_takes_one_request_with_it(rng: random.Random) -> None:
    with running_service() as service, service.client() as client:
        for round_ in range(3):
            with forked(*[partial(ask, service, generate_rsa(f"{round_}-{n}")) for n in range(4)]) as running:
                time.sleep(rng.uniform(0.1, 0.3))
                os.kill(rng.choice(service.children("helper")), signal.SIGKILL)
                client.generate_key(f"meanwhile-{round_}", templates.ecdsa_p256())
                statuses = [one.result().status for one in running]
            assert sum(status != 0 for status in statuses) <= 1, service.log()
            assert set(statuses) <= {ResponseStatus.SUCCESS, ResponseStatus.PSA_ERROR_COMMUNICATION_FAILURE}
            listed = {key.name for key in client.list_keys()}
            for n, status in enumerate(statuses):
                assert (f"{round_}-{n}" in listed) == (status == 0)
        wait_until(lambda: len(service.children("helper")) == len(os.sched_getaffinity(0)), "the helpers are back")
        assert all(ask(service, generate_rsa(f"again-{n}", 2048)).status == 0 for n in range(4))


def test_all_helpers_crash_at_once() -> None:
    with running_service() as service:
        with forked(*[partial(ask, service, generate_rsa(f"key-{n}")) for n in range(4)]) as running:
            time.sleep(0.2)
            for pid in service.children("helper"):
                os.kill(pid, signal.SIGKILL)
            statuses = [one.result().status for one in running]
        assert set(statuses) <= {ResponseStatus.SUCCESS, ResponseStatus.PSA_ERROR_COMMUNICATION_FAILURE}
        assert statuses.count(ResponseStatus.SUCCESS) >= 2


def test_a_worker_that_crashes_takes_its_own_connections_with_it() -> None:
    with (
        running_service(core="thread_pool_size = 3", timeout_ms=30_000) as service,
        clients_of_every_worker(service) as clients,
    ):
        before = worker_connections(service)
        victim = max(before, key=lambda pid: before[pid])
        others = {pid: count for pid, count in before.items() if pid != victim}
        lost = before[victim] - min(before.values())
        held = [connection for client in clients for connection in _kept(client)]
        os.kill(victim, signal.SIGKILL)
        wait_until(
            lambda: victim not in service.children("worker") and len(service.children("worker")) == 3, "a new worker"
        )
        closed = [connection for connection in held if is_closed(connection)]
        assert 0 < len(closed) < len(held)
        assert len(closed) >= lost
        assert {pid: count for pid, count in worker_connections(service).items() if pid in others} == others
        for client in clients:  # those that lost their connection come back with another
            client.ping()


def _kept(client: Client) -> list[socket.socket]:
    return [connection for connection, _ in client._transport._kept._idle]  # type: ignore[attr-defined] # no other way to tell which connections live


def test_connections_of_a_crashed_worker_do_not_count_for_ever() -> None:
    bound = 8
    with (
        running_service(listener=f"max_connections_per_user = {bound}", timeout_ms=30_000) as service,
        ExitStack() as stack,
    ):
        for _ in range(2):
            with acting_as(ALICE):
                held = [stack.enter_context(connect(service)) for _ in range(bound)]
            settle(service)
            assert not any(is_closed(connection) for connection in held)
            for pid in service.children("worker"):
                os.kill(pid, signal.SIGKILL)
            wait_until(partial(all_closed, held), "the workers are gone")
            settle(service)


def test_out_of_descriptors_it_waits_and_recovers() -> None:
    with running_service(start=False, timeout_ms=1000) as service:
        service.start(launcher=["prlimit", "--nofile=40:40"])
        with ExitStack() as stack:
            with acting_as(ALICE):
                held = [stack.enter_context(connect(service)) for _ in range(120)]
            # Each of them is answered that it has not sent a request in time, however long it had to wait in line.
            assert {response(connection).status for connection in held} == {ResponseStatus.CONNECTION_ERROR}
        assert ask(service, ops.Ping()).status == 0
        assert 0 < service.log().count("cannot accept a connection") < 200
        assert len(service.children("worker")) == len(os.sched_getaffinity(0))


def test_busy_kept_connections_leave_room_for_new_ones() -> None:
    def hammer(service: Service) -> int:
        count = 0
        with service.client() as client:
            end_s = time.monotonic() + 2.0
            while time.monotonic() < end_s:
                client.ping()
                count += 1
        return count

    with (
        running_service(core="thread_pool_size = 2") as service,
        forked(*[partial(hammer, service)] * 6, uid=ALICE) as busy,
    ):
        with forked(partial(ping_for, service, 1.5), uid=BOB) as (bob,):
            assert bob.result() < PATIENCE_S
        assert min(one.result() for one in busy) > 100
