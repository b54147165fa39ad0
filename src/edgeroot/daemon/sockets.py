"""Listening sockets: bound with their mode and group before anybody can reach them, kept over a reload."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from pathlib import Path
from typing import Final

from edgeroot.daemon.config import ListenerConfig

_log: Final = logging.getLogger(__name__)
_BACKLOG: Final = 4096
_FOLDER_MODE: Final = 0o755


class ListenError(Exception):
    """A listener cannot be set up; the message says which and what to do."""


class Listener:
    """A listening Unix socket. ``owned`` sockets were bound here, and their files go with them."""

    def __init__(self, sock: socket.socket, path: Path, *, owned: bool) -> None:
        self.socket = sock
        self.path = path
        self.owned = owned

    def apply(self, config: ListenerConfig) -> None:
        """Set the mode and the group of the socket's file."""
        if not self.owned:
            return
        try:
            if config.group_id is not None:
                os.chown(self.path, -1, config.group_id)
            self.path.chmod(config.mode)
        except OSError as error:
            raise ListenError(f"cannot set the mode and group of {self.path}: {error.strerror}") from error

    def withdraw(self) -> None:
        """Take the file away: nobody can connect any more, and who has connected can still be served."""
        if self.owned:
            self.owned = False  # what is at the path from now on belongs to somebody else
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        self.withdraw()
        self.socket.close()


def inherited(fd: int, config: ListenerConfig) -> Listener:
    """A listener over a socket that the service manager has bound and set the mode of."""
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return Listener(sock, config.socket_path, owned=False)


def bind(config: ListenerConfig) -> Listener:
    """Bind and listen. A socket that a dead service left is replaced; anything else at the path is refused."""
    path = config.socket_path
    if config.slot is not None:
        _make_folder(path.parent.parent)
        _make_folder(path.parent)
    _make_way(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    # Nobody gets in before mode and group are set: the file is made for its owner alone.
    umask = os.umask(0o177)
    try:
        sock.bind(str(path))
    except OSError as error:
        sock.close()
        raise ListenError(_explain(path, error)) from error
    finally:
        os.umask(umask)
    listener = Listener(sock, path, owned=True)
    try:
        listener.apply(config)
    except ListenError:
        listener.close()
        raise
    sock.listen(_BACKLOG)
    return listener


def _make_folder(path: Path) -> None:
    """A slot's folder stays for ever: it is mounted into pods, which find the socket of the next service there."""
    try:
        path.mkdir()
        path.chmod(_FOLDER_MODE)
    except FileExistsError as error:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise ListenError(f"{path} exists and is not a folder: remove it") from error
    except OSError as error:
        raise ListenError(_explain(path, error)) from error


def _make_way(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"{path} exists and is not a socket: remove it or configure another socket_path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:
                raise ListenError(_explain(path, error)) from error
        else:
            raise ListenError(f"another service answers on {path}: stop it or configure another socket_path")
    _log.warning("removing the socket that an earlier service left at %s", path)
    path.unlink(missing_ok=True)


def _explain(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return f"cannot listen on {path}: its folder does not exist; make it, owned by the service's user"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"cannot listen on {path}: this user may not write to its folder"
    return f"cannot listen on {path}: {error.strerror}"
