"""From a way to load the configuration to a running service."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from edgeroot.auth import KubernetesSettings
from edgeroot.confinement import process as hardening
from edgeroot.confinement.service import confine_service
from edgeroot.daemon.activation import ActivationError, inherited_sockets, match_listeners
from edgeroot.daemon.assembly import StartError, provider_types
from edgeroot.daemon.config import ConfigError, ServiceConfig
from edgeroot.daemon.log_output import standard_error
from edgeroot.daemon.logging import get_logger, setup_logging
from edgeroot.daemon.notify import Notifier
from edgeroot.daemon.sockets import ListenError, inherited
from edgeroot.daemon.supervisor import Supervisor
from edgeroot.keystore.records import KeyStoreError
from edgeroot.providers.api import ProviderType

_log: Final = get_logger(__name__)


class CannotStartError(Exception):
    """The service does not start; each of the messages says why and what to do."""

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.messages = messages


def run_service(
    load: Callable[[dict[str, ProviderType]], ServiceConfig],
    *,
    check: bool = False,
    prepare: Callable[[], None] = lambda: None,
    config_folders: Iterable[Path] = (),
) -> int:
    """Run until told to stop and return the exit code; with ``check``, only look whether the configuration is good.

    ``prepare`` is called when everything is imported and before anything is read or opened: there a service that was
    started by root becomes a user who may not be able to read the program's own files. ``config_folders`` are read
    again at a reload.
    """
    standard_error()
    types = provider_types()
    prepare()
    try:
        config = load(types)
        if not config.core.allow_root and os.geteuid() == 0 and not check:
            raise CannotStartError(
                "the service does not run as root: start it as a user of its own, or set "
                "core_settings.allow_root = true if you know why"
            )
        _set_up_logging(config)
        if check:
            return 0
        for refused in hardening.protect_process():
            _log.warning(refused)
        hardening.raise_descriptor_limit()
        hardening.name_process("parsec")
        sockets = inherited_sockets(os.environ, pid=os.getpid())
        matched = match_listeners(sockets, config.listeners) if sockets else ()
        listeners = {
            one.socket_path: inherited(fd, one)
            for one, fd in zip(config.listeners, matched, strict=False)
            if fd is not None
        }

        def reload() -> ServiceConfig:
            fresh = load(types)
            _set_up_logging(fresh)
            return fresh

        supervisor = Supervisor(
            config,
            types=types,
            reload=reload,
            inherited=listeners,
            notifier=Notifier.from_environment(os.environ),
        )
        if supervisor.has_neighbour:
            read = [*config_folders, *_read_for_tokens(config)]
            for refused in confine_service(read=read, write=_written(config, types)):
                _log.warning(refused)
    except ConfigError as error:
        raise CannotStartError(*(f"{error.source}: {problem}" for problem in error.problems)) from error
    except (KeyStoreError, StartError, ListenError, ActivationError) as error:
        raise CannotStartError(str(error)) from error
    return supervisor.run()


def _written(config: ServiceConfig, types: Mapping[str, ProviderType]) -> set[Path]:
    """What the service writes to. A reload may name new places only below these, once it is confined."""
    folders = {manager.path if manager.path.is_dir() else manager.path.parent for manager in config.key_managers}
    folders |= {manager.path.parent for manager in config.key_managers}
    folders |= {listener.folder for listener in config.listeners}
    if config.metrics is not None and isinstance(config.metrics.listen, Path):
        folders.add(config.metrics.listen.parent)
    folders |= {cluster.jwks_file.parent for cluster in _clusters(config) if cluster.jwks_file is not None}
    folders |= {device for one in config.providers for device in types[one.provider_type].devices(one.settings)}
    return folders.union(config.core.write_paths)


def _clusters(config: ServiceConfig) -> Iterator[KubernetesSettings]:
    if config.tokens is not None and config.tokens.kubernetes is not None:
        yield config.tokens.kubernetes


def _read_for_tokens(config: ServiceConfig) -> set[Path]:
    """Folders, since what is in them is renewed by putting another file in the place of the last."""
    found = {file for cluster in _clusters(config) for file in (cluster.ca_file, cluster.token_file)}
    return {file.parent for file in found if file is not None}


def _set_up_logging(config: ServiceConfig) -> None:
    core = config.core
    setup_logging(level=core.log_level, log_format=core.log_format, timestamps=core.log_timestamp)
    for warning in config.warnings:
        _log.warning(warning)
