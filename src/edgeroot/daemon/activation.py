"""Sockets that the service manager opened for us (the protocol of ``sd_listen_fds(3)``)."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from edgeroot.daemon.config import ListenerConfig

_FIRST_FD: Final = 3
_VARIABLES: Final = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


class ActivationError(Exception):
    """What the service manager handed over cannot be used as listeners of this configuration."""


class InheritedSocket(NamedTuple):
    """A listening Unix stream socket; ``name`` is FileDescriptorName= of its unit, ``path`` None if abstract."""

    fd: int
    name: str
    path: Path | None


def inherited_sockets(
    environ: MutableMapping[str, str], *, pid: int, first_fd: int = _FIRST_FD
) -> tuple[InheritedSocket, ...]:
    """The sockets handed to the process ``pid``, made non-blocking and closed on exec.

    The variables are taken out of the environment, so that no program we start finds them. ActivationError if a
    variable is malformed or a descriptor is not a listening AF_UNIX stream socket.
    """
    count_text, pid_text, names_text = (environ.pop(variable, None) for variable in _VARIABLES)
    if count_text is None or pid_text is None:
        return ()
    try:
        count, addressee = int(count_text), int(pid_text)
    except ValueError as error:
        raise ActivationError(f'LISTEN_FDS="{count_text}" and LISTEN_PID="{pid_text}" must be numbers') from error
    if addressee != pid:
        return ()
    names = names_text.split(":") if names_text else [""] * count
    if count < 0 or len(names) != count:
        raise ActivationError(f"LISTEN_FDS announces {count} sockets and LISTEN_FDNAMES {len(names)}")
    return tuple(_check(first_fd + index, name) for index, name in enumerate(names))


def match_listeners(sockets: Sequence[InheritedSocket], listeners: Sequence[ListenerConfig]) -> tuple[int | None, ...]:
    """For each listener the descriptor that it has, None where the service is to bind the socket itself.

    One socket for one listener always match, if it is no slot: those are known by their places. Otherwise a socket
    belongs to the listener of its name or else of its path; ActivationError for a socket that belongs to none, or to
    one that has a socket already.
    """
    matched: list[int | None] = [None] * len(listeners)
    plain = [index for index, one in enumerate(listeners) if one.slot is None]
    if len(sockets) == len(plain) == 1:
        matched[plain[0]] = sockets[0].fd
        return tuple(matched)
    for inherited in sockets:
        index = _index_of(inherited, listeners)
        if index is None:
            raise ActivationError(
                f'no listener is named "{inherited.name}" or has the path {inherited.path}: '
                "give the listeners a name, and the socket units the same as FileDescriptorName="
            )
        if matched[index] is not None:
            raise ActivationError(f"listener[{index}] ({listeners[index].socket_path}) was handed two sockets")
        matched[index] = inherited.fd
    return tuple(matched)


def _index_of(inherited: InheritedSocket, listeners: Sequence[ListenerConfig]) -> int | None:
    by_name = [index for index, one in enumerate(listeners) if one.name is not None and one.name == inherited.name]
    by_path = [index for index, one in enumerate(listeners) if one.socket_path == inherited.path]
    return next(iter(by_name + by_path), None)


def _check(fd: int, name: str) -> InheritedSocket:
    try:
        inherited = socket.socket(fileno=fd)
    except OSError as error:
        raise ActivationError(f"descriptor {fd} is not a socket: {error.strerror}") from error
    try:
        if inherited.family != socket.AF_UNIX or inherited.type != socket.SOCK_STREAM:
            raise ActivationError(f"descriptor {fd} is not a Unix stream socket (ListenStream= with a path)")
        if not inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ActivationError(f"descriptor {fd} does not listen (Accept=no is needed)")
        inherited.setblocking(False)
        os.set_inheritable(fd, False)
        address = inherited.getsockname()
        return InheritedSocket(fd, name, Path(address) if isinstance(address, str) and address else None)
    finally:
        inherited.detach()
