"""The partition manager's loop: connections, channels, restarts and their counts, and what it withstands."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from edgeroot.abi.emulation import CHANNEL_CLOSED, CHANNEL_OPEN, FRAME, MANAGER_STATUS
from edgeroot.abi.ffa import FfaError, FunctionId, signed
from edgeroot.secure.runtime.frames import Received
from edgeroot.secure.spm.manifest import NORMAL_WORLD, Manifest
from edgeroot.secure.spm.users import UserTable, UserTableError
from tests.support.descriptors import no_descriptor_left
from tests.support.forked import become_nobody, exit_code_of
from tests.support.partition_manager import ManagerWorld, played_world
from tests.support.requirements import require_root

ONE = Manifest(
    name="one", id=0x8001, module="m", services=(), boot_order=1, callers=frozenset({NORMAL_WORLD, "two"}),
    execution_contexts=1,
)  # fmt: skip
ONE_IN_TWO = replace(ONE, execution_contexts=2)
TWO = Manifest(
    name="two", id=0x8002, module="m", services=(), boot_order=2, callers=frozenset({NORMAL_WORLD}),
    execution_contexts=0,
)  # fmt: skip


def code(answer: Received) -> FfaError:
    assert answer.frame[0] == FunctionId.ERROR
    assert answer.descriptors == []
    return FfaError(signed(answer.frame[2]))


def test_a_channel_joins_its_two_ends_and_nobody_else(tmp_path: Path) -> None:
    def play(world: ManagerWorld) -> None:
        world.stage.started().ready()
        [context] = world.stage.made[0].contexts
        user = world.connect()
        with user.open_channel(ONE.id) as channel:
            route, _, served = context.take_channel()
            with served:
                assert route == 1 << 16 | ONE.id
                channel.send(b"asked")
                assert served.recv(100) == b"asked"
                served.send(b"answered")
                assert channel.recv(100) == b"answered"
                channel.close()
                assert served.recv(100) == b""

    played_world(tmp_path, [ONE], play)


def test_it_is_ready_once_when_every_context_of_every_partition_is(tmp_path: Path) -> None:
    def play(world: ManagerWorld) -> None:
        one, two = world.stage.started(), world.stage.started()
        one.ready()
        two.contexts[0].ready()
        assert world.times_ready == 0
        two.contexts[1].ready()
        assert world.times_ready == 1
        states = {name: each["state"] for name, each in world.connect().status().items()}
        assert states == {"one": "ready", "two": "ready"}
        two.contexts[1].ready()

    world = played_world(tmp_path, [ONE, TWO], play, contexts=2)
    assert world.times_ready == 1


def test_channels_that_have_ended_are_counted_no_more(tmp_path: Path) -> None:
    def play(world: ManagerWorld) -> None:
        world.stage.started().ready()
        [context] = world.stage.made[0].contexts
        user = world.connect()
        ends = [(user.open_channel(ONE.id), context.take_channel()) for _ in range(3)]
        assert user.status()["one"]["channels"] == 3
        for left, (channel, (_, number, served)) in enumerate(reversed(ends)):
            channel.close()
            served.close()
            context.closed(number)
            assert user.status()["one"]["channels"] == 2 - left
            context.closed(number)
            assert user.status()["one"]["channels"] == 2 - left

    played_world(tmp_path, [ONE], play)


def test_a_user_may_open_any_number_of_channels_but_not_at_once(tmp_path: Path) -> None:
    def play(world: ManagerWorld) -> None:
        world.stage.started().ready()
        [context] = world.stage.made[0].contexts
        user, again = world.connect(), world.connect()

        def open_and_leave() -> int:
            user.open_channel(ONE.id).close()
            _, number, served = context.take_channel()
            served.close()
            return number

        for _ in range(300):
            context.closed(open_and_leave())
        numbers = [open_and_leave() for _ in range(256)]
        for line in (user, again):  # another connection of the same user is no way around
            assert code(line.call(CHANNEL_OPEN, ONE.id)) is FfaError.NO_MEMORY
        context.closed(numbers[17])
        open_and_leave()

    played_world(tmp_path, [ONE], play)


def test_nobody_else_says_that_a_channel_has_ended(tmp_path: Path) -> None:
    def play(world: ManagerWorld) -> None:
        one, two = world.stage.started(), world.stage.started()
        one.ready()
        two.ready()
        user = world.connect()
        with user.open_channel(ONE.id):
            _, number, served = one.contexts[0].take_channel()
            served.close()
            two.contexts[0].closed(number)
            assert code(user.call(CHANNEL_CLOSED, number)) is FfaError.NOT_SUPPORTED
            assert user.status()["one"]["channels"] == 1

    played_world(tmp_path, [ONE, TWO], play)


def test_a_user_is_told_to_come_again_and_a_partition_waits_for_one_that_starts(tmp_path: Path) -> None:
    def play(world: ManagerWorld) -> None:
        one, two = world.stage.started(), world.stage.started()
        [context] = two.contexts
        assert code(world.connect().call(CHANNEL_OPEN, ONE.id)) is FfaError.RETRY
        context.send(CHANNEL_OPEN, ONE.id)
        assert code(context.call(CHANNEL_OPEN, ONE.id)) is FfaError.RETRY  # one wish at a time
        one.contexts[0].send(FunctionId.MSG_WAIT)
        answer = context.receive()
        assert (answer.frame[0], answer.frame[8]) == (FunctionId.SUCCESS_32, 1)
        os.close(answer.descriptors[0])
        route, _, served = one.contexts[0].take_channel()
        served.close()
        assert route == TWO.id << 16 | ONE.id

    played_world(tmp_path, [ONE, TWO], play)


def test_a_partition_that_dies_is_started_anew_without_its_channels(tmp_path: Path) -> None:
    def play(world: ManagerWorld) -> None:
        world.stage.started().ready()
        first = world.stage.made[0]
        user = world.connect()
        with user.open_channel(ONE.id):
            first.contexts[0].take_channel()[2].close()
            first.end()
            second = world.stage.started()
            assert user.status()["one"]["state"] == "starting"
            second.ready()
            status = user.status()["one"]
            assert (status["state"], status["restarts"], status["channels"]) == ("ready", 1, 0)
            assert status["last_end"] == "was killed by SIGKILL"
            assert status["pid"] == second.popen.pid

    world = played_world(tmp_path, [ONE], play)
    assert world.times_ready == 1
    assert "manager: partition one was killed by SIGKILL; starting it anew in 0.0 s" in world.log_path.read_text()


def test_a_partition_that_hangs_as_it_starts_is_killed_and_started_anew(tmp_path: Path) -> None:
    def play(world: ManagerWorld) -> None:
        hanging = world.stage.started()
        hanging.contexts[0].ready()  # one of its two: that is not enough
        second = world.stage.started()
        assert hanging.popen.wait(10) == -signal.SIGKILL
        second.ready()
        status = world.connect().status()["one"]
        assert (status["state"], status["restarts"]) == ("ready", 1)

    world = played_world(tmp_path, [ONE_IN_TWO], play, start_s=0.2)
    assert "manager: partition one is not ready after 0.2 s: it is killed" in world.log_path.read_text()


def test_a_partition_that_is_ready_may_run_for_ever(tmp_path: Path) -> None:
    def play(world: ManagerWorld) -> None:
        world.stage.started().ready()
        hanging = world.stage.started()
        hanging.popen.wait(10)
        world.stage.started().ready()
        found = world.connect().status()
        assert (found["one"]["restarts"], found["two"]["restarts"]) == (0, 1)

    played_world(tmp_path, [ONE, TWO], play, start_s=0.2)


def test_a_start_that_fails_later_is_tried_again_and_the_first_one_is_told(tmp_path: Path) -> None:
    def play(world: ManagerWorld) -> None:
        world.stage.started().ready()
        world.stage.failures.append(OSError(11, "Resource temporarily unavailable"))
        world.stage.made[0].end()
        world.stage.started().ready()
        assert world.connect().status()["one"]["state"] == "ready"

    assert "partition one cannot be started ([Errno 11]" in played_world(tmp_path, [ONE], play).log_path.read_text()


def test_who_sends_no_whole_frames_is_dropped_alone(tmp_path: Path) -> None:
    def play(world: ManagerWorld) -> None:
        world.stage.started().ready()
        other = world.connect()
        for data in (b"\0", bytes(FRAME.size - 1), bytes(FRAME.size + 4097), b""):
            line = world.connect()
            line.socket.send(data)
            with pytest.raises(EOFError):
                line.receive()
        assert other.call(FunctionId.ID_GET).frame[2] == 1

    played_world(tmp_path, [ONE], play)


def test_descriptors_that_partitions_send_along_are_not_kept(tmp_path: Path) -> None:
    def play(world: ManagerWorld) -> None:
        world.stage.started().ready()
        [context] = world.stage.made[0].contexts
        readable, writable = os.pipe()
        context.closed(99, descriptors=[writable])
        context.send(FunctionId.MSG_WAIT, descriptors=[writable])
        context.settle()
        os.close(writable)
        assert os.read(readable, 1) == b""  # nobody can write any more
        os.close(readable)

    played_world(tmp_path, [ONE], play)


def test_what_a_partition_says_is_in_the_log_line_by_line(tmp_path: Path) -> None:
    def play(world: ManagerWorld) -> None:
        played = world.stage.started()
        os.write(played.says, b"first\nsecond \x1b[2J\nrest")
        played.ready()
        played.end()
        world.stage.started().ready()

    lines = played_world(tmp_path, [ONE], play).log_path.read_text().splitlines()
    said = [line.split(" ", 1)[1] for line in lines]
    assert {"one: first", "one: second ?[2J"} <= set(said)
    assert said[-1] == "manager: stopped"


def test_with_no_descriptor_left_a_newcomer_is_refused_and_the_others_are_served(tmp_path: Path) -> None:
    def play(world: ManagerWorld) -> None:
        world.stage.started().ready()
        user = world.connect()
        user.settle()
        newcomer = world.socket()
        with no_descriptor_left():
            newcomer.connect(str(world.path))
            assert newcomer.recv(1) == b""
            assert code(user.call(CHANNEL_OPEN, ONE.id)) is FfaError.NO_MEMORY
        user.open_channel(ONE.id).close()
        world.stage.made[0].contexts[0].take_channel()[2].close()

    played_world(tmp_path, [ONE], play)


@pytest.mark.parametrize("error", [UserTableError("it is damaged"), OSError(24, "Too many open files")])
def test_while_the_table_of_users_cannot_be_read_only_administrators_get_in(tmp_path: Path, error: Exception) -> None:
    def play(world: ManagerWorld) -> None:
        world.stage.started().ready()
        before = world.connect()
        before.settle()
        world.users = error
        newcomer = world.connect()
        assert newcomer.status()["one"]["state"] == "ready"
        assert code(newcomer.call(FunctionId.ID_GET)) is FfaError.DENIED
        assert before.call(FunctionId.ID_GET).frame[2] == 1

    played_world(tmp_path, [ONE], play)


def test_a_user_has_256_connections_at_most(tmp_path: Path) -> None:
    def play(world: ManagerWorld) -> None:
        world.stage.started().ready()
        lines = []
        for _ in range(256):
            lines.append(world.connect())
            lines[-1].settle()
        assert world.connect().socket.recv(1) == b""
        lines[7].socket.close()
        lines[-1].settle()
        world.connect().settle()

    played_world(tmp_path, [ONE], play)


def test_a_stranger_is_told_no_in_four_connections_at_most(tmp_path: Path) -> None:
    require_root("be another user")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)

    def play(world: ManagerWorld) -> None:
        world.stage.started().ready()

        def try_it() -> None:
            become_nobody()
            lines = [world.connect() for _ in range(4)]
            for line in lines:
                for function in (FunctionId.ID_GET, MANAGER_STATUS, CHANNEL_OPEN):
                    assert code(line.call(function, ONE.id)) is FfaError.DENIED
            assert world.connect().socket.recv(1) == b""

        assert exit_code_of(try_it) == 0

    world = played_world(tmp_path, [ONE], play)
    assert "manager: user 65534 is not in the table of users and is refused" in world.log_path.read_text()


def test_strangers_with_many_user_ids_leave_room_for_others(tmp_path: Path) -> None:
    require_root("be many users")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)

    def play(world: ManagerWorld) -> None:
        world.stage.started().ready()

        def try_it() -> None:
            def is_let_in(uid: int) -> bool:
                os.seteuid(uid)
                try:
                    line = world.connect()
                finally:
                    os.seteuid(0)
                try:
                    return code(line.call(FunctionId.ID_GET)) is FfaError.DENIED
                except (EOFError, ConnectionError):
                    return False

            let_in = [is_let_in(uid) for uid in range(61000, 61100)]
            assert let_in == [True] * 64 + [False] * 36

        assert exit_code_of(try_it) == 0
        world.connect().settle()

    played_world(tmp_path, [ONE], play)


def test_who_is_taken_from_the_table_gets_in_no_more(tmp_path: Path) -> None:
    def play(world: ManagerWorld) -> None:
        world.stage.started().ready()
        assert world.connect().call(FunctionId.ID_GET).frame[2] == 7
        world.users = UserTable()
        assert code(world.connect().call(FunctionId.ID_GET)) is FfaError.DENIED

    played_world(tmp_path, [ONE], play, users=UserTable({os.geteuid(): 7}, 8))
