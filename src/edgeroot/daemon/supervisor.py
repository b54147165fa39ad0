"""The parent of all: forks writers, helpers and workers, connects them, starts them anew, reloads, stops.

It touches no request and, once it has forked, no key. What it holds open are the listening sockets: they outlive every
worker and every reload.
"""

from __future__ import annotations

import logging
import mmap
import os
import selectors
import signal
import socket
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

from edgeroot.daemon import assembly
from edgeroot.daemon.assembly import Service, StartError
from edgeroot.daemon.children import Child, spawn
from edgeroot.daemon.config import ConfigError, ServiceConfig
from edgeroot.daemon.control import ControlLine, Peer, Role, SupervisorGoneError, connect
from edgeroot.daemon.metrics_endpoint import Door
from edgeroot.daemon.metrics_keeper import MetricsKeeper, Present
from edgeroot.daemon.notify import Notifier
from edgeroot.daemon.sockets import Listener, ListenError, bind
from edgeroot.daemon.writer_process import write_through
from edgeroot.keystore.database import store_path_for
from edgeroot.keystore.generation import Generations
from edgeroot.keystore.lease import FileLock
from edgeroot.keystore.records import KeyStoreError
from edgeroot.keystore.writer import Writer
from edgeroot.keystore.writes import Outcome, Write
from edgeroot.providers.api import ProviderType

_log: Final = logging.getLogger(__name__)
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_HANDOVER_S: Final = 5.0
_HANDOVER_STEP_S: Final = 0.02
_RESTARTS: Final = 20
_RESTART_WINDOW_S: Final = 10.0
_DRAIN_EXTRA_S: Final = 5.0
_GIVING_BACK_S: Final = 2.0
# So that a host has its next job from a worker while the worker still passes on the outcome of the last; and so that
# the identity process, which waits for others, waits for several at once.
_CHANNELS: Final = {Role.HOST: 2, Role.IDENTITY: 4}


@dataclass(slots=True)
class Crew:
    """The processes of one configuration. Writers are not among them: they belong to their stores."""

    service: Service
    listeners: tuple[Listener, ...]
    metrics_door: Door | None = None  # opened for this configuration, if it has metrics at a place of their own
    workers: dict[int, Child] = field(default_factory=dict)
    helpers: dict[int, Child] = field(default_factory=dict)
    hosts: dict[int, Child] = field(default_factory=dict)  # by the index of the provider
    scouts: dict[int, Child] = field(default_factory=dict)  # one at most
    identities: dict[int, Child] = field(default_factory=dict)  # one at most: where tokens are accepted
    draining_until_s: float | None = None

    def children(self) -> list[Child]:
        return [*self.workers.values(), *self.others()]

    def doers(self) -> list[Child]:
        """Whoever works for the workers."""
        return [*self.helpers.values(), *self.hosts.values(), *self.identities.values()]

    def others(self) -> list[Child]:
        """Whoever ends after the workers."""
        return [*self.doers(), *self.scouts.values()]


class Supervisor:
    """Runs a service until it is told to stop."""

    def __init__(
        self,
        config: ServiceConfig,
        *,
        types: dict[str, ProviderType],
        reload: Callable[[], ServiceConfig],
        inherited: dict[Path, Listener],
        notifier: Notifier,
    ) -> None:
        self._types = types
        self._reload_config = reload
        self._inherited = inherited
        self._notifier = notifier
        self._generations = Generations(mmap.mmap(-1, Generations.size_bytes()))
        self._locks: dict[Path, FileLock] = {}
        self._writers: dict[Path, Child] = {}
        self._old: list[Crew] = []
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._signals: set[int] = set()
        self._deaths: deque[float] = deque()
        self._failed = False
        self._metrics = MetricsKeeper(self._selector, self._look)
        self._crew = self._assemble(config, ())

    @property
    def has_neighbour(self) -> bool:
        """Whether a back end's own processes are this user's."""
        return any(mounted.provider.is_neighbour() for mounted in self._crew.service.providers)

    # Life

    def run(self) -> int:
        """Serve until a signal says stop; returns the exit code."""
        self._catch_signals()
        try:
            self._metrics.serve(self._crew.service.config.metrics, self._crew.metrics_door)
            self._launch(self._crew)
            self._announce_ready()
            while not self._signals.intersection(_STOP_SIGNALS) and not self._failed:
                self._wait(None if not self._old else 0.2)
                if signal.SIGHUP in self._signals:
                    self._signals.discard(signal.SIGHUP)
                    self._reload()
                self._retire()
        finally:
            self._stop()
        return 1 if self._failed else 0

    def _announce_ready(self) -> None:
        while not all(child.ready for child in [*self._crew.children(), *self._writers.values()]):
            self._wait(None)
            if self._failed or self._signals.intersection(_STOP_SIGNALS):
                return
        slots: Counter[Path] = Counter()
        for config in self._crew.service.config.listeners:
            if config.slot is None:
                _log.info("listening on unix:%s", config.socket_path)
            else:
                slots[config.socket_path.parents[1]] += 1
        for folder, count in slots.items():
            _log.info("listening at %d slots in unix:%s", count, folder)
        _log.info("Parsec is ready.")
        self._notifier.ready()

    def _catch_signals(self) -> None:
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (*_STOP_SIGNALS, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda _number, _frame: None)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def _wait(self, timeout_s: float | None) -> None:
        for key, _ in self._selector.select(self._metrics.bounded(timeout_s)):
            if key.fileobj is self._woken:
                self._signals.update(self._woken.recv(4096))
            elif isinstance(key.data, Child):
                self._hear(key.data)
            else:
                key.data()
        self._metrics.expire()
        self._reap()

    def _hear(self, child: Child) -> None:
        try:
            child.hear()
        except SupervisorGoneError:
            self._selector.unregister(child.control)

    # Starting

    def _assemble(self, config: ServiceConfig, listeners: Sequence[Listener]) -> Crew:
        """Everything that can fail, before anything of the running service is touched.

        ``listeners`` are those that the service has: where the configuration names the same path, they are kept.
        """
        locked = self._lock_stores(config)
        opened: list[Listener] = []
        try:
            service = assembly.assemble(config, self._types, self._write)
            kept_and_new = self._open_listeners(config, listeners, opened)
            door = self._metrics.open_door(config.metrics)
            return Crew(service, kept_and_new, door)
        except BaseException:
            for listener in opened:
                listener.close()
            for path in locked:
                self._locks.pop(path).release()
            raise

    def _write(self, path: Path, batch: Sequence[Write]) -> list[Outcome]:
        """For what has to be written before there are workers: a store has its writer already if this is a reload."""
        writer = self._writers.get(path)
        if writer is not None:
            return write_through(writer.control, batch)
        own = Writer.open(path, self._generations)
        try:
            return own.apply(batch)
        finally:
            own.close()

    def _lock_stores(self, config: ServiceConfig) -> list[Path]:
        """One service a store: also a worker of the last service, still at its end, must not see ours change keys."""
        locked = []
        for provider in config.providers:
            path = store_path_for(config.key_manager(provider).path)
            if path not in self._locks:
                self._locks[path] = _lock_store(path)
                locked.append(path)
        return locked

    def _open_listeners(
        self, config: ServiceConfig, kept: Sequence[Listener], opened: list[Listener]
    ) -> tuple[Listener, ...]:
        current = {listener.path: listener for listener in kept} | self._inherited
        listeners = []
        for one in config.listeners:
            listener = current.get(one.socket_path)
            if listener is None:
                listener = bind(one)
                opened.append(listener)
            else:
                listener.apply(one)
            listeners.append(listener)
        return tuple(listeners)

    def _launch(self, crew: Crew) -> None:
        for path in crew.service.stores:
            if path not in self._writers:
                self._start_writer(path)
        for index in range(len(os.sched_getaffinity(0))):
            self._start_helper(crew, index)
        for provider in crew.service.hosted:
            self._start_host(crew, provider)
        if crew.service.inspected:
            self._start_scout(crew, 0)
        if crew.service.config.tokens is not None:
            self._start_identity(crew, 0)
        for index in range(crew.service.config.core.thread_pool_size):
            self._start_worker(crew, index)

    def _start_writer(self, path: Path) -> None:
        peer = Peer(Role.WRITER, 0)
        clients = sum(len(crew.workers) for crew in self._crews() if path in crew.service.stores)
        writer = self._spawn(
            peer, lambda control: assembly.writer_main(path, self._generations, control, clients=clients)
        )
        self._writers[path] = writer
        for crew in self._crews():
            for worker in crew.workers.values():
                self._connect_writer(crew, worker, path)

    def _start_helper(self, crew: Crew, index: int) -> None:
        peer = Peer(Role.HELPER, index)
        crew.helpers[index] = self._spawn(peer, lambda control: assembly.helper_main(crew.service, control))
        self._connect_doer(crew, crew.helpers[index])

    def _start_host(self, crew: Crew, provider: int) -> None:
        peer = Peer(Role.HOST, provider)
        crew.hosts[provider] = self._spawn(peer, lambda control: assembly.host_main(crew.service, provider, control))
        self._connect_doer(crew, crew.hosts[provider])

    def _start_scout(self, crew: Crew, index: int) -> None:
        peer = Peer(Role.SCOUT, index)
        crew.scouts[index] = self._spawn(peer, lambda control: assembly.scout_main(crew.service, control))

    def _start_identity(self, crew: Crew, index: int) -> None:
        peer = Peer(Role.IDENTITY, index)
        crew.identities[index] = self._spawn(peer, lambda control: assembly.identity_main(crew.service, control))
        self._connect_doer(crew, crew.identities[index])

    def _connect_doer(self, crew: Crew, doer: Child) -> None:
        for worker in crew.workers.values():
            _connect_for_jobs(worker, doer)

    def _start_worker(self, crew: Crew, index: int) -> None:
        worker = self._spawn(
            Peer(Role.WORKER, index),
            lambda control: assembly.worker_main(crew.service, crew.listeners, self._generations, index, control),
        )
        crew.workers[index] = worker
        for path in crew.service.stores:
            self._connect_writer(crew, worker, path)
        for doer in crew.doers():
            _connect_for_jobs(worker, doer)

    def _connect_writer(self, crew: Crew, worker: Child, path: Path) -> None:
        """Workers know a writer by the index of its store in their own configuration."""
        if path in crew.service.stores:
            index = crew.service.stores.index(path)
            writer = self._writers[path]
            connect(worker.control, worker.peer, writer.control, Peer(Role.WRITER, index))

    def _spawn(self, peer: Peer, main: Callable[[ControlLine], None]) -> Child:
        others = [child.control for child in self._children()]
        child = spawn(
            peer,
            main,
            close=[
                *(control.close for control in others),
                self._metrics.release,
                self._selector.close,
                self._woken.close,
                self._waker.close,
            ],
        )
        self._selector.register(child.control, selectors.EVENT_READ, child)
        return child

    # Deaths

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._bury(pid, status)

    def _bury(self, pid: int, status: int) -> None:
        child = next((child for child in self._children() if child.pid == pid), None)
        if child is None:
            return
        if child.control in {key.fileobj for key in self._selector.get_map().values()}:
            self._selector.unregister(child.control)
        child.control.close()
        for crew in self._crews():
            if crew.workers.get(child.peer.index) is child:
                del crew.workers[child.peer.index]
                crew.service.users.clear_worker(child.peer.index)
                crew.service.loads.clear_worker(child.peer.index)
                self._replace(child, status, crew, self._start_worker)
                return
            for others, start in (
                (crew.helpers, self._start_helper),
                (crew.hosts, self._start_host),
                (crew.scouts, self._start_scout),
                (crew.identities, self._start_identity),
            ):
                if others.get(child.peer.index) is child:
                    del others[child.peer.index]
                    self._replace(child, status, crew, start)
                    return
        path = next(path for path, writer in self._writers.items() if writer is child)
        del self._writers[path]
        if path in self._crew.service.stores or any(path in crew.service.stores for crew in self._old):
            self._note_death(child, status)
            if not self._failed:
                self._start_writer(path)

    def _replace(self, child: Child, status: int, crew: Crew, start: Callable[[Crew, int], None]) -> None:
        if crew.draining_until_s is not None:
            return
        self._note_death(child, status)
        if not self._failed:
            start(crew, child.peer.index)

    def _note_death(self, child: Child, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._metrics.count_restart(child.peer.role)
        now = monotonic()
        self._deaths.append(now)
        while self._deaths[0] < now - _RESTART_WINDOW_S:
            self._deaths.popleft()
        if len(self._deaths) > _RESTARTS:
            _log.error("the %s %s; too many processes end, giving up", str(child.peer), how)
            self._failed = True
        else:
            _log.error("the %s %s; starting it anew", str(child.peer), how)

    # Reloading and stopping

    def _reload(self) -> None:
        self._notifier.reloading()
        try:
            config = self._reload_config()
            crew = self._assemble(config, self._crew.listeners)
        except (ConfigError, KeyStoreError, StartError, ListenError) as error:
            _log.error("the configuration stays as it was: %s", error)
            self._notifier.ready()
            return
        old, self._crew = self._crew, crew
        self._old.append(old)
        self._metrics.serve(config.metrics, crew.metrics_door)
        self._launch(crew)
        for listener in old.listeners:
            if listener not in crew.listeners:
                listener.withdraw()
        self._drain(old)
        self._announce_ready()

    def _drain(self, crew: Crew) -> None:
        core = crew.service.config.core
        longest_s = max(listener.timeout_s for listener in crew.service.config.listeners)
        crew.draining_until_s = monotonic() + 2 * longest_s + core.execution_timeout_s + _DRAIN_EXTRA_S
        for worker in crew.workers.values():
            worker.drain()

    def _retire(self) -> None:
        """Let go what no request needs any more: the helpers, listeners and writers of a configuration that is over."""
        for crew in list(self._old):
            if crew.workers and crew.draining_until_s is not None and monotonic() > crew.draining_until_s:
                for worker in crew.workers.values():
                    worker.kill()
            if crew.workers:
                continue
            for other in crew.others():
                other.drain()
            if not crew.others():
                self._old.remove(crew)
                self._metrics.retire(crew.service.counters)
                self._close_listeners(crew)
        needed = {path for crew in self._crews() for path in crew.service.stores}
        for path in [path for path in self._writers if path not in needed]:
            self._writers[path].drain()

    def _close_listeners(self, retired: Crew) -> None:
        kept = [listener for crew in self._crews() for listener in crew.listeners]
        for listener in retired.listeners:
            if listener not in kept:
                self._inherited.pop(listener.path, None)
                listener.close()

    def _stop(self) -> None:
        self._notifier.stopping()
        for crew in self._crews():
            for listener in crew.listeners:
                listener.withdraw()
            self._drain(crew)
        self._signals.difference_update(_STOP_SIGNALS)
        deadline_s = max(crew.draining_until_s or 0.0 for crew in self._crews())
        while any(crew.workers for crew in self._crews()):
            self._wait(0.2)
            if self._signals.intersection(_STOP_SIGNALS) or monotonic() > deadline_s or self._failed:
                break
        self._end_crews()
        for writer in self._writers.values():
            writer.drain()
        for crew in self._crews():
            for listener in crew.listeners:
                listener.close()
        self._metrics.close()
        for child in self._children():
            os.waitpid(child.pid, 0)
        for lock in self._locks.values():
            lock.release()
        _log.info("stopped")

    def _end_crews(self) -> None:
        for crew in self._crews():
            for worker in crew.workers.values():
                worker.kill()
            for host in crew.hosts.values():
                host.drain()  # a device must be given back as it was
        deadline_s = monotonic() + _GIVING_BACK_S
        while any(crew.hosts for crew in self._crews()) and monotonic() < deadline_s:
            self._wait(0.05)
        for crew in self._crews():
            for other in crew.others():
                other.kill()  # with its clients gone, nobody waits for what it may be doing

    def _look(self) -> Present:
        crews = self._crews()
        return Present(
            tables=tuple(crew.service.counters for crew in crews if crew.service.counters is not None),
            workers=sum(len(crew.workers) for crew in crews),
            parked_connections=sum(crew.service.loads.total_polled() for crew in crews),
            all_ready=all(child.ready for child in self._children()),
            missing_keys=self._crew.service.missing_keys(),
        )

    def _crews(self) -> list[Crew]:
        return [self._crew, *self._old]

    def _children(self) -> list[Child]:
        return [*self._writers.values(), *(child for crew in self._crews() for child in crew.children())]


def _connect_for_jobs(worker: Child, doer: Child) -> None:
    for _ in range(_CHANNELS.get(doer.peer.role, 1)):
        connect(worker.control, worker.peer, doer.control, doer.peer)


def _lock_store(path: Path) -> FileLock:
    """The lock that all processes of a service share; the processes of the last service are given time to end."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KeyStoreError(f"the folder of the key store {path} cannot be made: {error.strerror}") from error
    lock_path = path.with_name(path.name + ".service")
    deadline_s = monotonic() + _HANDOVER_S
    while True:
        try:
            return FileLock.acquire(lock_path)
        except KeyStoreError:
            if monotonic() > deadline_s:
                raise
            signal.sigtimedwait([], _HANDOVER_STEP_S)
