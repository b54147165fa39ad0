"""What the emulated secure world keeps out, tried as an attacker would. As root: each partition has its own user."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeroot.abi.emulation import FRAME, memory_slots
from edgeroot.abi.ffa import FfaError, FunctionId, signed
from edgeroot.abi.services import CRYPTO
from edgeroot.tee.api import TeeError
from edgeroot.tee.transports.emulated import ManagerConnection
from tests.support.requirements import require_root
from tests.support.world import World, descendants, running_world

ALICE, BOB, MALLORY = 60301, 60302, 60303
_STORAGE_SET = (7).to_bytes(8, "little")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    require_root("act as several users")
    with running_world(allow=[str(ALICE), str(BOB), "0"]) as running:
        yield running


def as_user(uid: int, world: World, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python as another user, with ``path`` for the manager's socket."""
    prelude = f"""
        import os, socket, sys
        from pathlib import Path
        from edgeroot.abi.services import *
        from edgeroot.tee.api import *
        from edgeroot.tee.transports.emulated import *
        path = Path({str(world.socket)!r})
        os.setgroups([]); os.setresgid({uid}, {uid}, {uid}); os.setresuid({uid}, {uid}, {uid})
    """
    source = textwrap.dedent(prelude) + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=60)


def partition_pids(world: World, name: str) -> list[int]:
    """The partition's own processes, without the sandbox around them."""
    return [
        pid
        for pid in descendants(world.partition(name)["pid"])
        if Path(f"/proc/{pid}/comm").read_text().startswith("edgeroot-")
    ]


def storage_set(uid: int, data: bytes) -> bytes:
    return uid.to_bytes(8, "little") + len(data).to_bytes(8, "little") + bytes(4) + data


def storage_get(uid: int, size: int = 64) -> bytes:
    return uid.to_bytes(8, "little") + bytes(8) + size.to_bytes(8, "little")


def test_every_measure_is_in_force(world: World) -> None:
    missing = [one for one in world.status()["not_in_force"] if "swap" not in one]
    assert missing == []


@pytest.mark.parametrize("name", ["storage", "crypto", "attestation", "firmware-update"])
def test_partitions_have_given_up_everything_else(world: World, name: str) -> None:
    users = {one["user"] for one in world.status()["partitions"]}
    assert len(users) == 4
    for pid in partition_pids(world, name):
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
        assert set(status["Uid"].split()) == {str(world.partition(name)["user"])}
        assert int(status["NoNewPrivs"]) == 1
        assert int(status["CapEff"], 16) == 0
        assert set(status["Groups"].split()) <= {str(world.partition(name)["user"])}
        [core] = [one for one in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core file" in one]
        assert core.split()[4:6] == ["0", "0"]
        for kind in ("net", "pid", "mnt", "ipc", "user"):
            assert Path(f"/proc/{pid}/ns/{kind}").readlink() != Path(f"/proc/self/ns/{kind}").readlink()
    serving = partition_pids(world, name)[-1]
    assert "Seccomp:\t2" in Path(f"/proc/{serving}/status").read_text()


def test_an_unlisted_user_is_refused(world: World) -> None:
    done = as_user(MALLORY, world, "EmulatedTransport(path)")
    assert done.returncode != 0
    assert "the secure world refuses this user" in done.stderr


@pytest.mark.parametrize("name", ["crypto", "storage"])
def test_a_callers_user_reads_no_partitions_memory(world: World, name: str) -> None:
    for pid in partition_pids(world, name):
        for attack in (f"open('/proc/{pid}/mem', 'rb')", f"open('/proc/{pid}/environ', 'rb').read()"):
            done = as_user(ALICE, world, attack)
            assert "PermissionError" in done.stderr, attack


def test_a_callers_user_attaches_no_debugger(world: World) -> None:
    [pid, *_] = partition_pids(world, "crypto")
    code = f"""
        from ctypes import CDLL, get_errno
        assert CDLL(None, use_errno=True).ptrace(16, {pid}, 0, 0) == -1  # PTRACE_ATTACH
        print(get_errno())
    """
    done = as_user(ALICE, world, code)
    assert done.stdout.split() == ["1"], done.stderr  # EPERM


@pytest.mark.parametrize("place", ["device-secret", "users.json", "partitions/storage/log", "counters/storage/storage"])
def test_a_callers_user_opens_no_file_of_the_secure_world(world: World, place: str) -> None:
    assert (world.state / place).exists()
    done = as_user(ALICE, world, f"open({str(world.state / place)!r}, 'rb')")
    assert "PermissionError" in done.stderr


def test_a_callers_user_does_not_replace_the_socket(world: World) -> None:
    for attack in ("path.unlink()", "path.rename(path.with_name('x'))", "path.with_name('other').touch()"):
        assert "PermissionError" in as_user(ALICE, world, attack).stderr


def test_a_socket_of_somebody_else_is_told_no_secret(tmp_path: Path) -> None:
    """A client that is led to another user's socket finds out before it says anything."""
    require_root("act as several users")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    os.chown(tmp_path, MALLORY, MALLORY)
    path = tmp_path / "spm.sock"
    code = f"""
        import os, socket
        os.setresuid({MALLORY}, {MALLORY}, {MALLORY})
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind({str(path)!r})
        listener.listen()
        print("ready", flush=True)
        connection, _ = listener.accept()
        print(len(connection.recv(100)))
    """
    trap = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert trap.stdout is not None
    assert trap.stdout.readline() == "ready\n"
    with pytest.raises(TeeError, match=f"belongs to user {MALLORY}"):
        ManagerConnection(path)
    assert trap.communicate(timeout=20)[0] == "0\n"


def test_a_forged_source_id_is_denied(world: World) -> None:
    with world.transport() as transport:
        channel, _ = transport.find(CRYPTO)
        for source in (transport.own_id + 1, 0, 0x8000, 0x8001):
            forged = (FunctionId.MSG_SEND_DIRECT_REQ_32, source << 16 | channel.endpoint_id, 0, 0xFF0000, 0, 0, 0, 0, 5)
            channel._socket.setblocking(True)  # the attacker uses the raw socket
            channel._socket.send(FRAME.pack(*forged))
            answer = FRAME.unpack(channel._socket.recv(FRAME.size))
            assert (answer[0], signed(answer[2]), answer[8]) == (FunctionId.ERROR, FfaError.DENIED, 5)
        channel.close()


def test_nobody_reaches_a_partition_that_does_not_list_him(world: World) -> None:
    connection = ManagerConnection(world.socket)
    connection.hello()
    for endpoint in (0x8000, 0x9000, 1, 0):
        with pytest.raises(TeeError):
            connection.open_channel(endpoint)
    connection.close()


def test_another_sources_handle_is_not_found(world: World) -> None:
    code = """
        transport = EmulatedTransport(path)
        channel, interface = transport.find(CRYPTO)
        buffer = channel.share(4096)
        print(buffer.handle, flush=True)
        sys.stdin.read()
    """
    victim = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_prelude(ALICE, world)) + textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert victim.stdout is not None
    handle = int(victim.stdout.readline())
    attack = f"""
        from edgeroot.abi.ts_rpc import *
        transport = EmulatedTransport(path)
        channel, interface = transport.find(CRYPTO)
        print(channel.exchange(memory_retrieve_request({handle}))[1] != 0)
        print(channel.exchange(call_request(Call(interface, 0x010c, {handle}, 4)))[1] != 0)
        try:
            transport._manager.reclaim({handle})
        except TeeError as error:
            print(error)
    """
    done = as_user(BOB, world, attack)
    assert done.stdout.splitlines()[:2] == ["True", "True"], done.stderr
    assert "INVALID_PARAMETERS" in done.stdout
    victim.communicate("", timeout=20)


def _prelude(uid: int, world: World) -> str:
    return f"""
        import os, sys
        from pathlib import Path
        from edgeroot.abi.services import *
        from edgeroot.tee.transports.emulated import *
        path = Path({str(world.socket)!r})
        os.setgroups([]); os.setresgid({uid}, {uid}, {uid}); os.setresuid({uid}, {uid}, {uid})
    """


def test_another_sources_keys_and_objects_do_not_exist(world: World) -> None:
    make = f"""
        from edgeroot.abi.key_attributes import AbiKeyAttributes
        from edgeroot.abi.crypto import OPERATIONS
        from edgeroot.abi import crypto_messages as m
        transport = EmulatedTransport(path)
        crypto = transport.open_session(CRYPTO)
        asked = AbiKeyAttributes(
            key_type=0x7112, key_bits=256, lifetime=1, key_id=5, usage=0x1001, algorithm=0x06000609
        )
        print(crypto.call(0x0101, OPERATIONS[0x0101].request.encode(m.GenerateKeyRequest(asked)))[0])
        storage = transport.open_session(PROTECTED_STORAGE)
        print(storage.call(0x100, {storage_set(9, b"a secret of one workload")!r})[0])
    """
    assert as_user(ALICE, world, make).stdout.split() == ["0", "0"]
    look = f"""
        transport = EmulatedTransport(path)
        crypto = transport.open_session(CRYPTO)
        for opcode in (0x0102, 0x0105, 0x0106, 0x010f):
            print(crypto.call(opcode, (5).to_bytes(4, "little"))[0])
        storage = transport.open_session(PROTECTED_STORAGE)
        print(storage.call(0x101, {storage_get(9)!r})[0])
        print(storage.call(0x103, {(9).to_bytes(8, "little")!r})[0])
    """
    assert as_user(BOB, world, look).stdout.split() == ["-136"] * 4 + ["-140"] * 2
    still = f"""
        storage = EmulatedTransport(path).open_session(PROTECTED_STORAGE)
        print(storage.call(0x101, {storage_get(9)!r}))
    """
    assert "a secret of one workload" in as_user(ALICE, world, still).stdout


def test_slots_run_out_for_who_takes_them_alone(world: World) -> None:
    hog = """
        transport = EmulatedTransport(path)
        channel, interface = transport.find(CRYPTO)
        taken = 0
        try:
            while taken < 10000:
                channel.share(4096)
                taken += 1
        except TeeError as error:
            print(taken, error)
    """
    done = as_user(BOB, world, hog)
    assert done.stdout.startswith(f"{memory_slots(len(os.sched_getaffinity(0)))} "), done.stderr
    assert (
        as_user(
            ALICE, world, "print(EmulatedTransport(path).open_session(CRYPTO).call(0x10c, b'\\x04\\0\\0\\0')[0])"
        ).stdout
        == "0\n"
    )


def test_operation_contexts_of_another_channel_are_safe(world: World) -> None:
    """Eleven set-ups recycle the oldest of their own channel, and of no other."""
    with world.transport() as transport:
        victim, hog = transport.open_session(CRYPTO), transport.open_session(CRYPTO)
        status, handle = victim.call(0x0201, bytes.fromhex("09000002"))
        assert status == 0
        handles = [hog.call(0x0201, bytes.fromhex("09000002"))[1] for _ in range(11)]
        assert hog.call(0x0203, handles[0])[0] == -137
        assert hog.call(0x0203, handles[1])[0] == 0
        assert victim.call(0x0203, handle)[0] == 0
        victim.close()
        hog.close()


def test_memory_that_can_shrink_is_refused(world: World) -> None:
    """Otherwise its owner could end the partition with SIGBUS."""
    with world.transport() as transport:
        channel, _ = transport.find(CRYPTO)
        unsealed = os.memfd_create("unsealed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(unsealed, 4096)
        with pytest.raises(TeeError, match="INVALID_PARAMETERS"):
            transport._manager.share(unsealed, page_count=1, sender=transport.own_id, receiver=channel.endpoint_id)
        os.close(unsealed)
        channel.close()


def test_memory_changed_during_the_call_is_not_seen(world: World) -> None:
    """The request is copied once before it is checked: whatever it becomes afterwards, one of the two was served."""
    with world.transport() as transport:
        session = transport.open_session(CRYPTO)
        stop = threading.Event()

        def spoil() -> None:
            while not stop.is_set():
                session._buffer.map[:4] = b"\xff\xff\xff\xff"
                session._buffer.map[:4] = b"\x20\0\0\0"

        thread = threading.Thread(target=spoil)
        thread.start()
        try:
            for _ in range(300):
                try:
                    status, response = session.call(0x010C, b"\x20\0\0\0")
                except TeeError:
                    continue  # the larger number was seen
                assert status == 0
                assert len(response) == 36
        finally:
            stop.set()
            thread.join()
        session.close()
    assert world.partition("crypto")["restarts"] == 0


# As code inside a partition


ATTACKS = {
    "open a network socket": "import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "open a Unix socket": "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
    "run a program": "import os; os.execv('/bin/sh', ['sh', '-c', 'true'])",
    "start a program": "import os; os.posix_spawn('/usr/bin/true', ['true'], {})",
    "see processes": "import os; os.listdir('/proc')",
    "see another partition's storage": "import os; os.listdir('/counters') if not os.path.exists('/flash') else 1/0",
    "see the home of users": "import os; os.listdir('/home')",
    "read the passwords": "open('/etc/shadow').read()",
    "write code": f"open({str(Path(sys.prefix) / 'pyvenv.cfg')!r}, 'a')",
    "make a name space": "import ctypes, os; os.close(0); ctypes.CDLL(None).unshare(0x10000000); os.write(2, b'alive')",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_a_compromised_partition_does_not(attack: str, tmp_path: Path) -> None:
    """The sandbox of the crypto partition, around code of an attacker."""
    require_root("give a partition a user of its own")
    code = f"""
        import os, sys
        from pathlib import Path
        from edgeroot.confinement.partition import confine, protect
        from edgeroot.confinement import seccomp
        program = bytes.fromhex(sys.argv[1])
        protect("test")
        refused = confine(read=map(Path, sys.argv[2:]), write=[], system_calls=program)
        assert not refused, refused
        try:
            {attack_of(attack)}
        except (OSError, PermissionError) as error:
            os.write(2, b"refused")
            os._exit(7)
        os.write(2, b"did it")
        os._exit(0)
    """
    from edgeroot.confinement.partition import system_call_filter
    from edgeroot.secure.spm.sandbox import SandboxSpec, readable, spawn

    reading, writing = os.pipe()
    arguments = [
        sys.executable,
        "-I",
        "-c",
        textwrap.dedent(code),
        system_call_filter().hex(),
        *readable(sys.executable),
    ]
    process = spawn(SandboxSpec(name="test", user_id=65510), arguments, pass_fds=(), stderr=writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    code_of_end = process.wait(30)
    assert "did it" not in said
    assert code_of_end != 0
    assert "refused" in said or code_of_end in (-31, 128 + 31), (
        said
    )  # 31: SIGSYS, the end of who tries something hostile


def attack_of(name: str) -> str:
    return ATTACKS[name]
