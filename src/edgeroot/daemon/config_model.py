"""What a configuration comes to: plain values, checked, with every default in its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from edgeroot.auth import Identity, TokenSettings
from edgeroot.service.quotas import Quota


@dataclass(frozen=True, slots=True)
class CoreConfig:
    """``[core_settings]``. ``log_level`` None leaves the level to the environment."""

    thread_pool_size: int
    allow_root: bool = False
    log_level: str | None = None
    log_timestamp: bool = False
    log_error_details: bool = False
    log_format: str = "text"
    audit: bool = True
    body_len_limit_bytes: int = 1 << 20
    buffer_size_limit_bytes: int = 1 << 20
    allow_deprecated: bool = False
    execution_timeout_s: float = 60.0
    write_paths: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerConfig:
    """``[listener]``. ``auth_types`` are the wire's numbers of the authenticators accepted here.

    ``timeout_s`` bounds the arrival of a request and, separately, the sending of its answer. ``name`` is the
    descriptor's name under socket activation; ``group_id`` None leaves the socket's group alone. A table with ``slots``
    becomes one of these for each of them, with its number in ``slot``.
    """

    socket_path: Path
    timeout_s: float
    auth_types: frozenset[int]
    name: str | None = None
    mode: int = 0o666
    group_id: int | None = None
    max_connections_per_user: int = 256
    max_queued_requests_per_user: int = 64
    kept_connection_idle_timeout_s: float = 60.0
    max_requests_per_connection: int = 1000
    slot: int | None = None

    @property
    def folder(self) -> Path:
        """The folder that has to be there; in it the service makes the socket, or ``slots`` and what is in it."""
        return self.socket_path.parents[0 if self.slot is None else 2]


@dataclass(frozen=True, slots=True)
class AuthenticatorConfig:
    """``[authenticator]``: the name in the configuration, its number on the wire and the names of its admins.

    ``tokens`` is there if it takes tokens, and ``names`` are those of applications that have another name than their
    SPIFFE ID.
    """

    name: str
    auth_type: int
    admins: tuple[str, ...] = ()
    tokens: TokenSettings | None = None
    names: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class KeyManagerConfig:
    """``[[key_manager]]``. ``path`` is upstream's file (SQLite) or directory (OnDisk); our store lies beside it."""

    name: str
    manager_type: str
    path: Path


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """``[[provider]]``. ``wire_id`` is upstream's number for the first of a type, from 16 on for further ones."""

    name: str
    provider_type: str
    wire_id: int
    key_info_manager: str
    settings: Any


class LoopbackAddress(NamedTuple):
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """``[metrics]``: the path of a Unix socket or an address that only this machine reaches."""

    listen: Path | LoopbackAddress


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """A whole and consistent configuration. ``warnings`` are for the log; they do not stop the service."""

    core: CoreConfig
    listeners: tuple[ListenerConfig, ...]
    authenticators: tuple[AuthenticatorConfig, ...]
    key_managers: tuple[KeyManagerConfig, ...]
    providers: tuple[ProviderConfig, ...]
    metrics: MetricsConfig | None = None
    warnings: tuple[str, ...] = ()
    quotas: tuple[Quota, ...] = ()

    @property
    def admins(self) -> frozenset[Identity]:
        """The admins, each bound to the authenticator that it is configured under."""
        return frozenset(Identity(auth.auth_type, name) for auth in self.authenticators for name in auth.admins)

    @property
    def tokens(self) -> TokenSettings | None:
        """How tokens are checked; None if none are taken."""
        return next((auth.tokens for auth in self.authenticators if auth.tokens is not None), None)

    def key_manager(self, provider: ProviderConfig) -> KeyManagerConfig:
        """The key manager that a provider of this configuration names."""
        return next(manager for manager in self.key_managers if manager.name == provider.key_info_manager)
