"""Where a cluster runs: on this machine's own loopback network, or in a small machine made of namespaces."""

from __future__ import annotations

import os
import random
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Protocol

from peers.root import PeersUnavailableError

_START_TIMEOUT_S: Final = 20.0
_STEP_S: Final = 0.01
_CGROUPS: Final = Path("/sys/fs/cgroup")
_OWN_FOLDERS: Final[Mapping[str, str]] = {"lib": "/var/lib", "log": "/var/log", "run": "/run"}
# What a kubelet would set for the whole machine (it leaves alone what has these values already).
_KERNEL_SETTINGS: Final[Mapping[str, str]] = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


class Machine(Protocol):
    """Runs programs. ``address`` is where they listen, and where they are reached from outside too.

    ``programs`` is where a program in there finds the folder of those that were built.
    """

    address: str
    programs: Path

    def run(self, command: Sequence[str], *, log: IO[bytes], env: Mapping[str, str]) -> Running: ...

    def stop(self) -> None: ...


class Running:
    """A program that runs. ``pid`` is the program's own, as this side sees it."""

    def __init__(self, launcher: subprocess.Popen[bytes], pid: int) -> None:
        self.pid = pid
        self._launcher = launcher

    def alive(self) -> bool:
        return self._launcher.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
            if number != signal.SIGSTOP:
                # A launcher stops and goes on with what it launched, but would not see it end while it is stopped.
                self._launcher.send_signal(signal.SIGCONT)

    def wait(self, timeout_s: float) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired while it runs on."""
        return self._launcher.wait(timeout_s)


class LoopbackMachine:
    """This machine, on an address of its loopback network that nobody else uses, so every port is free there."""

    def __init__(self, programs: Path, ports: Sequence[int]) -> None:
        self.programs = programs
        self.address = _free_loopback_address(ports)

    def run(self, command: Sequence[str], *, log: IO[bytes], env: Mapping[str, str]) -> Running:
        # It ends with the thread that started it: what is killed leaves nothing behind.
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **env},
            start_new_session=True,
        )
        return Running(process, process.pid)

    def stop(self) -> None:
        """Nothing of it is to be put away."""


def _free_loopback_address(ports: Sequence[int]) -> str:
    for _ in range(100):
        address = ".".join(["127", *(str(random.randint(2, 253)) for _ in range(3))])
        with suppress(OSError):
            for port in ports:
                with socket.socket() as probe:
                    probe.bind((address, port))
            return address
    raise PeersUnavailableError(f"something listens on one of the ports {ports} of every loopback address")


class NamespacedMachine:
    """A machine of namespaces on this one: its own processes, mounts and network, and some folders of its own.

    Its ``/run``, ``/var/lib`` and ``/var/log`` are ``run``, ``lib`` and ``log`` in ``folder`` (which therefore may not
    lie in one of them); all else is this machine's. A pair of network devices joins the two. All of it is gone when
    its first process ends, which dies with the thread that made it.
    """

    def __init__(self, folder: Path, programs: Path, *, own_addresses: Sequence[str] = ()) -> None:
        self.folder = folder
        self.programs = Path("/run/programs")
        for name in ("lib", "log", "run", "run/programs"):
            (folder / name).mkdir()
        number = _free_number()
        # Of the addresses for benchmarks of networks (RFC 2544).
        self.outer_address = f"198.18.{number}.1"
        self.address = f"198.18.{number}.2"
        self.pod_network = f"198.19.{number}.0/24"
        self._device = f"edgeroot{number}"
        self._first = self._start(programs)
        try:
            self._join_networks(own_addresses)
        except BaseException:
            self.stop()
            raise

    def run(self, command: Sequence[str], *, log: IO[bytes], env: Mapping[str, str]) -> Running:
        launcher = subprocess.Popen(
            self.command(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **env}
        )
        return Running(launcher, _child(launcher))

    def command(self, command: Sequence[str]) -> list[str]:
        """The command that runs a program in there."""
        inside = ["--mount", "--pid", "--net", "--ipc", "--uts"]
        return ["nsenter", "--target", str(self._first.pid), *inside, "--wd=/", "--", *command]

    def stop(self) -> None:
        """End every process of it; its mounts and its network go with them."""
        groups = _container_groups(self._first.pid) if self._first.alive() else set()
        self._first.signal(signal.SIGKILL)
        self._first.wait(_START_TIMEOUT_S)
        _remove_groups(groups)

    def _start(self, programs: Path) -> Running:
        settings = self.folder / "kernel-settings"
        lines = ["set -e", "mount --make-rshared /", "mount -t proc proc /proc"]
        for name, value in _KERNEL_SETTINGS.items():
            (settings / name).parent.mkdir(parents=True, exist_ok=True)
            (settings / name).write_text(value + "\n")
            lines.append(f"mount --bind {shlex.quote(str(settings / name))} /proc/sys/{name}")
        # The programs first, for they may lie where a folder of the machine's own will cover them.
        places = {programs: self.folder / "run/programs"}
        places |= {self.folder / name: Path(place) for name, place in _OWN_FOLDERS.items()}
        for source, place in places.items():
            lines.append(f"mount --rbind {shlex.quote(str(source))} {shlex.quote(str(place))}")
        lines += [
            "ip link set lo up",
            "echo 1 >/proc/sys/net/ipv4/ip_forward",
            # Ignored, so that whoever ends without a parent is reaped at once: this is process 1 in there.
            "trap '' CHLD",
            "touch /run/ready",
            "exec sleep infinity",
        ]
        isolation = ["--mount", "--pid", "--net", "--ipc", "--uts", "--propagation", "private"]
        with (self.folder / "machine.log").open("wb") as log:
            launcher = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--"]
                + ["unshare", *isolation, "--fork", "--kill-child", "--", "sh", "-c", "\n".join(lines)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        first = Running(launcher, _child(launcher))
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not (self.folder / "run/ready").exists():
            if not first.alive() or time.monotonic() > deadline_s:
                first.signal(signal.SIGKILL)
                said = (self.folder / "machine.log").read_text().strip()
                raise PeersUnavailableError(f"no machine of namespaces can be made here: {said}")
            time.sleep(_STEP_S)
        return first

    def _join_networks(self, own_addresses: Sequence[str]) -> None:
        inner = f"{self._device}i"
        for command in (
            *(self.command(["ip", "address", "add", f"{address}/32", "dev", "lo"]) for address in own_addresses),
            ["ip", "link", "add", self._device, "type", "veth", "peer", "name", inner, "netns", str(self._first.pid)],
            ["ip", "address", "add", f"{self.outer_address}/30", "dev", self._device],
            ["ip", "link", "set", self._device, "up"],
            self.command(["ip", "address", "add", f"{self.address}/30", "dev", inner]),
            self.command(["ip", "link", "set", inner, "up"]),
            self.command(["ip", "route", "add", "default", "via", self.outer_address]),
            ["ip", "route", "add", self.pod_network, "via", self.address],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise PeersUnavailableError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


def _free_number() -> int:
    """One that no other machine of namespaces here has in its addresses."""
    taken = {path.name for path in Path("/sys/class/net").iterdir()}
    free = [number for number in range(1, 255) if f"edgeroot{number}" not in taken]
    if not free:
        raise PeersUnavailableError("too many clusters run here: `ip link` shows their devices, edgeroot1 and so on")
    return random.choice(free)


def _container_groups(first: int) -> set[str]:
    """The paths of the control groups that containerd made for containers, of all that descends from this process."""
    parents: dict[int, int] = {}
    groups: dict[int, set[str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            process = int(folder.name)
            parents[process] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            paths = {line.split(":", 2)[2] for line in (folder / "cgroup").read_text().splitlines()}
            groups[process] = {path for path in paths if path.startswith("/k8s.io/")}
    found: set[str] = set()
    for process, own in groups.items():
        ancestor = process
        while ancestor not in {0, first}:
            ancestor = parents.get(ancestor, 0)
        if ancestor == first:
            found |= own
    return found


def _remove_groups(paths: Iterable[str]) -> None:
    """Remove control groups that runc can no longer remove, and the folder that they were in if it is empty now."""
    for path in [*paths, "/k8s.io"]:
        # One tree in version 2, one for each controller in version 1, and both in a hybrid.
        for tree in (_CGROUPS, *_CGROUPS.iterdir()):
            with suppress(OSError):  # it is not in this tree, or something is in it, of another cluster
                (tree / path.lstrip("/")).rmdir()


def _child(launcher: subprocess.Popen[bytes]) -> int:
    """The one child of a process that was just started, or the process itself if it ends without one."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
    while launcher.poll() is None:
        with suppress(FileNotFoundError):
            if found := children.read_text().split():
                return int(found[0])
        time.sleep(_STEP_S)
    return launcher.pid
