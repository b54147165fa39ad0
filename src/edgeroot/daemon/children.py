"""The child processes of the service, as the supervisor sees them."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Callable, Iterable
from typing import Final

from edgeroot.confinement import process as hardening
from edgeroot.daemon.control import ControlLine, Message, Order, Peer, Role
from edgeroot.daemon.logging import forget_waiting_lines

_log: Final = logging.getLogger(__name__)


class Child:
    """A running child: what it is, its process id, our end of its control line."""

    def __init__(self, peer: Peer, pid: int, control: ControlLine) -> None:
        self.peer = peer
        self.pid = pid
        self.control = control
        self.ready = False

    def hear(self) -> None:
        """Note what the child says; a child that is gone is noticed when it is reaped."""
        for message in self.control.receive():
            if message.order is Order.READY:
                self.ready = True

    def drain(self) -> None:
        self.control.send(Message(Order.DRAIN))

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def spawn(peer: Peer, main: Callable[[ControlLine], None], *, close: Iterable[Callable[[], None]]) -> Child:
    """Fork a child that runs ``main``. ``close`` are the supervisor's own descriptors, which are not for children."""
    ours, theirs = ControlLine.pair()
    parent_pid = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        return Child(peer, pid, ours)
    code = 1
    try:
        hardening.end_with_parent(parent_pid)
        hardening.lock_memory()
        hardening.name_process(f"edgeroot-{peer.role.value}")
        if peer.role is not Role.WRITER:
            # Whatever niceness the service was given is the writer's: whoever creates or destroys a key waits for it,
            # so it must not wait for them. (Measured on two cores, niceness -10: a sixth more of both.)
            hardening.give_way()
        signal.set_wakeup_fd(-1)
        # The terminal sends these to the whole group; children end at the supervisor's word.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ours.close()
        for one in close:
            one()
        forget_waiting_lines()
        gc.freeze()  # what came from the supervisor stays shared and is never looked through again
        main(theirs)
        code = 0
    except Exception:  # noqa: BLE001 - the last guard of a process, which ends with what is said here
        _log.exception("the %s ended by a fault in the service itself; please report it", str(peer))
    finally:
        os._exit(code)
