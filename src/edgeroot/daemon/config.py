"""The configuration of the service: upstream Parsec's ``config.toml`` and our extensions to it.

:func:`parse_config` is pure; :func:`load_config` reads the file and asks the host for what the file leaves open.
Every key is described in ``docs/configuration.md``.
"""

from __future__ import annotations

import grp
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from edgeroot.auth import AUTHENTICATORS, Identity, TokenSettings
from edgeroot.daemon.config_quotas import read_quotas
from edgeroot.daemon.config_settings import read_settings
from edgeroot.daemon.config_tokens import JWT_SVID, read_names, read_tokens
from edgeroot.daemon.config_values import ConfigError, Findings, TableReader, suggestion
from edgeroot.providers.api import ProviderType
from edgeroot.service.quotas import Quota
from edgeroot.service.tokens import TokenAuthenticator

__all__ = [
    "AuthenticatorConfig",
    "ConfigError",
    "CoreConfig",
    "Host",
    "KeyManagerConfig",
    "ListenerConfig",
    "LoopbackAddress",
    "MetricsConfig",
    "ProviderConfig",
    "ServiceConfig",
    "default_config",
    "load_config",
    "parse_config",
]

LOG_LEVELS: Final = ("off", "error", "warn", "info", "debug", "trace")
LOG_FORMATS: Final = ("text", "json")
DEFAULT_SOCKET_PATH: Final = "/run/parsec/parsec.sock"
DEFAULT_STORES: Final = {
    "SQLite": ("sqlite_db_path", "/var/lib/parsec/kim-mappings/sqlite/sqlite-key-info-manager.sqlite3"),
    "OnDisk": ("store_path", "/var/lib/parsec/mappings"),
}
UPSTREAM_PROVIDER_IDS: Final = {"MbedCrypto": 1, "Pkcs11": 2, "Tpm": 3, "TrustedService": 4, "CryptoAuthLib": 5}
_FIRST_EXTENDED_PROVIDER_ID: Final = 16
_MAX_PROVIDER_ID: Final = 255  # the wire protocol's header has one byte for it
_MAX_SIZE_BYTES: Final = 2**32 - 1  # the wire protocol's body length is a u32
_MAX_COUNT: Final = 2**31 - 1
_MAX_WORKERS: Final = 1024
_MAX_SLOTS: Final = 1024
SLOT_SOCKET: Final = "parsec.sock"
_MAX_PORT: Final = 65535
_DEFAULT_CONFIG_TIMEOUT_S: Final = 5.0
_DEFAULT_MANAGER: Final = "sqlite-manager"


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


def _group_id(name: str) -> int:
    return grp.getgrnam(name).gr_gid


@dataclass(frozen=True, slots=True)
class Host:
    """What a configuration takes from the machine: relative paths start at ``directory``.

    ``group_id`` turns a group's name into its number and raises KeyError for an unknown one.
    """

    directory: Path
    cpu_count: int
    group_id: Callable[[str], int] = _group_id

    @classmethod
    def current(cls) -> Host:
        return cls(Path.cwd(), len(os.sched_getaffinity(0)))


def load_config(path: Path, provider_types: Mapping[str, ProviderType]) -> ServiceConfig:
    """Read and check a configuration file. ConfigError lists everything that is wrong with it."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [f"is not UTF-8 at byte {error.start}"]) from error
    return parse_config(text, provider_types, host=Host.current(), source=str(path))


def parse_config(
    text: str, provider_types: Mapping[str, ProviderType], *, host: Host, source: str = "config.toml"
) -> ServiceConfig:
    """Check a configuration. ``provider_types`` are the providers that are installed, by ``provider_type``."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(source, [f"not TOML: {error}"]) from error
    findings = Findings(source)
    config = read_document(TableReader(document, "", findings), provider_types, host)
    findings.raise_if_any()
    return config


def default_config(
    *,
    socket_path: Path,
    store_path: Path,
    provider_types: Mapping[str, ProviderType],
    world_socket: Path | None = None,
    host: Host | None = None,
) -> ServiceConfig:
    """What runs without a configuration: one listener for Unix peer credentials, and the software provider.

    ``store_path`` is used like a ``sqlite_db_path``. With ``world_socket``, the emulated secure world's, its provider
    stands before the software provider, so that clients choose it.
    """
    host = host or Host.current()
    peer_credentials = AuthenticatorConfig("UnixPeerCredentials", AUTHENTICATORS["UnixPeerCredentials"]().auth_type)
    providers = [_default_provider(provider_types["MbedCrypto"])]
    if world_socket is not None:
        world = _default_provider(provider_types["TrustedService"], socket_path=world_socket)
        providers.insert(0, world)
    return ServiceConfig(
        core=CoreConfig(thread_pool_size=host.cpu_count),
        listeners=(
            ListenerConfig(
                socket_path=host.directory / socket_path,
                timeout_s=_DEFAULT_CONFIG_TIMEOUT_S,
                auth_types=frozenset({peer_credentials.auth_type}),
            ),
        ),
        authenticators=(peer_credentials,),
        key_managers=(KeyManagerConfig(_DEFAULT_MANAGER, "SQLite", host.directory / store_path),),
        providers=tuple(providers),
    )


def _default_provider(provider_type: ProviderType, **settings: Path) -> ProviderConfig:
    name = provider_type.provider_type
    return ProviderConfig(
        provider_type.default_name,
        name,
        UPSTREAM_PROVIDER_IDS[name],
        _DEFAULT_MANAGER,
        provider_type.settings(**settings),
    )


def read_document(root: TableReader, provider_types: Mapping[str, ProviderType], host: Host) -> ServiceConfig:
    """Read a whole document; what is wrong with it is in the reader's findings, and then the result means nothing."""
    core = _read_core(root.table("core_settings") or TableReader({}, "core_settings", root.findings), host)
    authenticators = _read_authenticators(root, host)
    numbers = {auth.name: auth.auth_type for auth in authenticators}
    listeners = _read_listeners(root, numbers, host)
    key_managers = _read_key_managers(root, host)
    providers = _read_providers(root, {manager.name for manager in key_managers}, provider_types, host)
    _warn_of_stores_in_reach(root, authenticators, key_managers)
    metrics_table = root.table("metrics")
    metrics = _read_metrics(metrics_table, host) if metrics_table else None
    quotas = read_quotas(root, numbers)
    root.finish()
    return ServiceConfig(
        core, listeners, authenticators, key_managers, providers, metrics, tuple(root.findings.warnings), quotas
    )


def _read_core(table: TableReader, host: Host) -> CoreConfig:
    default = CoreConfig(thread_pool_size=host.cpu_count)
    # Upstream's accept loop sleeps this long when it has nothing to do; ours waits for events instead.
    table.integer("idle_listener_sleep_duration", 10, minimum=0, maximum=_MAX_COUNT)
    core = CoreConfig(
        thread_pool_size=table.integer("thread_pool_size", host.cpu_count, minimum=1, maximum=_MAX_WORKERS),
        allow_root=table.boolean("allow_root", default.allow_root),
        log_level=table.optional_choice("log_level", LOG_LEVELS),
        log_timestamp=table.boolean("log_timestamp", default.log_timestamp),
        log_error_details=table.boolean("log_error_details", default.log_error_details),
        log_format=table.optional_choice("log_format", LOG_FORMATS) or default.log_format,
        audit=table.boolean("audit", default.audit),
        body_len_limit_bytes=table.integer(
            "body_len_limit", default.body_len_limit_bytes, minimum=1, maximum=_MAX_SIZE_BYTES
        ),
        buffer_size_limit_bytes=table.integer(
            "buffer_size_limit", default.buffer_size_limit_bytes, minimum=1, maximum=_MAX_SIZE_BYTES
        ),
        allow_deprecated=table.boolean("allow_deprecated", default.allow_deprecated),
        execution_timeout_s=table.milliseconds("execution_timeout", 60_000),
        write_paths=tuple(host.directory / path for path in table.texts("write_paths") or ()),
    )
    table.finish()
    return core


def _read_authenticators(root: TableReader, host: Host) -> tuple[AuthenticatorConfig, ...]:
    authenticators: list[AuthenticatorConfig] = []
    tables = root.tables("authenticator")
    if not tables and not root.has("authenticator"):
        root.problem("authenticator", "is required: a table with auth_type")
    for table in tables:
        name = table.optional_choice("auth_type", (*AUTHENTICATORS, JWT_SVID), required=True)
        admins = _read_admins(table)
        tokens = read_tokens(table, host.directory) if name == JWT_SVID else None
        names = read_names(table) if name == JWT_SVID else ()
        table.finish()
        if name is None:
            continue
        if any(name == other.name for other in authenticators):
            table.problem("auth_type", f'"{name}" is configured twice')
        auth_type = TokenAuthenticator.auth_type if name == JWT_SVID else AUTHENTICATORS[name]().auth_type
        authenticators.append(AuthenticatorConfig(name, auth_type, admins, tokens, names))
        _warn_of_powerless_admins(table, name, set(admins).difference(dict(names).values()))
    return tuple(authenticators)


def _read_admins(table: TableReader) -> tuple[str, ...]:
    names = []
    for admin in table.tables("admins"):
        names.append(admin.text("name"))
        admin.finish()
    return tuple(names)


def _warn_of_powerless_admins(table: TableReader, authenticator: str, admins: Collection[str]) -> None:
    for admin in sorted(admins):
        if authenticator == JWT_SVID and not admin.startswith("spiffe://"):
            table.warning("admins", f'"{admin}" is nobody: under {JWT_SVID} names are SPIFFE IDs (spiffe://…)')
        if authenticator == "UnixPeerCredentials" and not (admin.isascii() and admin.isdecimal()):
            table.warning("admins", f'"{admin}" is nobody: under UnixPeerCredentials names are decimal user ids')


def _read_listeners(root: TableReader, declared: dict[str, int], host: Host) -> tuple[ListenerConfig, ...]:
    listeners: list[ListenerConfig] = []
    tables = root.tables("listener")
    if not tables and not root.has("listener"):
        root.problem("listener", "is required: a table with listener_type and timeout")
    for table in tables:
        found = _read_listener(table, declared, host)
        taken = {other.socket_path for other in listeners}
        for listener in found:
            if listener.socket_path in taken:
                table.problem("socket_path", f"{listener.socket_path} is the socket of another listener")
                break
        if found[0].name is not None and any(found[0].name == other.name for other in listeners):
            table.problem("name", f'"{found[0].name}" is the name of another listener')
        listeners += found
    return tuple(listeners)


def _read_listener(table: TableReader, declared: dict[str, int], host: Host) -> list[ListenerConfig]:
    """One, or one for each slot."""
    table.optional_choice("listener_type", ("DomainSocket",), required=True)
    accepted = table.texts("authenticators")
    for name in accepted or ():
        if name not in declared:
            table.problem("authenticators", f'"{name}" is not configured; {suggestion(name, declared)}')
    group = table.optional_text("group")
    group_id = None
    if group:
        try:
            group_id = host.group_id(group)
        except KeyError:
            table.problem("group", f'there is no group "{group}" on this machine')
    listener = ListenerConfig(
        name=table.optional_text("name"),
        socket_path=table.check_socket_path(
            "socket_path", table.path("socket_path", DEFAULT_SOCKET_PATH, host.directory)
        ),
        timeout_s=table.milliseconds("timeout"),
        auth_types=frozenset(declared[name] for name in accepted or declared if name in declared),
        mode=_read_mode(table),
        group_id=group_id,
        max_connections_per_user=table.integer("max_connections_per_user", 256, minimum=1, maximum=_MAX_COUNT),
        max_queued_requests_per_user=table.integer("max_queued_requests_per_user", 64, minimum=1, maximum=_MAX_COUNT),
        kept_connection_idle_timeout_s=table.milliseconds("kept_connection_idle_timeout", 60_000),
        max_requests_per_connection=table.integer("max_requests_per_connection", 1000, minimum=1, maximum=_MAX_COUNT),
    )
    slots = table.integer("slots", minimum=1, maximum=_MAX_SLOTS) if table.has("slots") else None
    table.raw("slots", int, required=False)  # so that it is not unknown where it is absent
    table.finish()
    return [listener] if slots is None else _read_slots(table, listener, slots)


def _read_slots(table: TableReader, listener: ListenerConfig, slots: int) -> list[ListenerConfig]:
    """Each slot is for one pod at a time, whatever user its processes run as: only a token says who is there."""
    if listener.auth_types != {TokenAuthenticator.auth_type}:
        table.problem("authenticators", f'must be ["{JWT_SVID}"] where there are slots')
    if listener.name is not None:
        table.problem("name", "is for one socket: the service itself makes those of the slots")
    folder = listener.socket_path.parent / "slots"
    numbers = range(min(max(slots, 1), _MAX_SLOTS))
    found = [replace(listener, slot=slot, socket_path=folder / f"{slot:02}" / SLOT_SOCKET) for slot in numbers]
    table.check_socket_path("socket_path", found[-1].socket_path)
    return found


def _read_mode(table: TableReader) -> int:
    """A string, because a TOML integer does not tell whether 440 was meant as octal."""
    text = table.text("mode", "0666")
    if not re.fullmatch("(0o?)?[0-7]{1,3}", text):
        table.problem("mode", f'must be a string of octal digits up to "0777", not "{text}"')
        return 0
    return int(text, 8)


def _read_key_managers(root: TableReader, host: Host) -> tuple[KeyManagerConfig, ...]:
    managers: list[KeyManagerConfig] = []
    for table in root.tables("key_manager"):
        name = table.text("name")
        manager_type = table.optional_choice("manager_type", tuple(DEFAULT_STORES), required=True)
        if manager_type is None:
            for path_key, _ in DEFAULT_STORES.values():
                table.optional_text(path_key)  # so that it is not called unknown on top
            path = host.directory
        else:
            path_key, default_path = DEFAULT_STORES[manager_type]
            path = table.path(path_key, default_path, host.directory)
        if manager_type == "SQLite" and table.has("store_path"):
            # Upstream's own sample has it, and upstream ignores it: so must whoever takes that file over.
            table.optional_text("store_path")
            table.warning("store_path", f'is ignored for "SQLite", whose key is sqlite_db_path; the store is {path}')
        table.finish()
        if any(name == other.name for other in managers):
            table.problem("name", f'"{name}" is the name of another key manager')
        if manager_type is not None and any(path == other.path for other in managers):
            table.problem(path_key, f"{path} is the store of another key manager")
        managers.append(KeyManagerConfig(name, manager_type or "", path))
    return tuple(managers)


def _warn_of_stores_in_reach(
    root: TableReader, authenticators: tuple[AuthenticatorConfig, ...], managers: tuple[KeyManagerConfig, ...]
) -> None:
    """What judges tokens may write to the folder of the cluster's key set, and should have nothing else there."""
    for tokens in (auth.tokens for auth in authenticators if auth.tokens is not None):
        file = None if tokens.kubernetes is None else tokens.kubernetes.jwks_file
        for manager in managers:
            if file is not None and manager.path.is_relative_to(file.parent):
                told = f"{file.parent} has the key store {manager.path} in it, too: give jwks_file a folder of its own"
                root.warning("authenticator.kubernetes.jwks_file", told)


def _read_providers(
    root: TableReader, key_managers: set[str], provider_types: Mapping[str, ProviderType], host: Host
) -> tuple[ProviderConfig, ...]:
    providers: list[ProviderConfig] = []
    names: set[str] = set()
    free_ids = iter(range(_FIRST_EXTENDED_PROVIDER_ID, _MAX_PROVIDER_ID + 1))
    tables = root.tables("provider")
    if not tables and not root.has("provider"):
        root.problem("provider", "is required: at least one table [[provider]]")
    for table in tables:
        type_name = table.raw("provider_type", str, required=True)
        manager = table.text("key_info_manager")
        if manager and manager not in key_managers:
            table.problem("key_info_manager", f'"{manager}" is no key manager; {suggestion(manager, key_managers)}')
        provider_type = provider_types.get(str(type_name))
        name = table.text("name", provider_type.default_name if provider_type else str(type_name))
        if name in names:
            table.problem("name", f'"{name}" is the name of another provider')
        if "\0" in name:
            table.problem("name", "must be without NUL: what is behind one tells stored objects from keys")
        names.add(name)
        if provider_type is None:
            if type_name is not None:
                told = suggestion(str(type_name), provider_types)
                table.problem("provider_type", f'"{type_name}" is not known here; {told}')
            continue
        upstream_id = UPSTREAM_PROVIDER_IDS.get(provider_type.provider_type)
        taken = upstream_id is None or any(upstream_id == other.wire_id for other in providers)
        wire_id = next(free_ids, None) if taken else upstream_id
        if wire_id is None:
            table.problem("provider_type", "there are more providers than the wire protocol has numbers for")
            break
        settings = read_settings(table, provider_type.settings, host.directory)
        table.finish()
        providers.append(ProviderConfig(name, provider_type.provider_type, wire_id, manager, settings))
    return tuple(providers)


def _read_metrics(table: TableReader, host: Host) -> MetricsConfig:
    text = table.text("listen")
    table.finish()
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path:
            table.problem("listen", 'must name a path after "unix:"')
        return MetricsConfig(table.check_socket_path("listen", host.directory / path))
    host_text, _, port_text = text.rpartition(":")
    bracketed = host_text.startswith("[") and host_text.endswith("]")
    try:
        address = ipaddress.ip_address(host_text[1:-1] if bracketed else host_text)
        port = int(port_text) if port_text.isascii() and port_text.isdecimal() else 0
    except ValueError:
        address, port = None, 0
    if address is None or (address.version == 6) != bracketed or not 0 < port <= _MAX_PORT:
        if text:
            table.problem("listen", f'must be "unix:/path", "127.0.0.1:port" or "[::1]:port", not "{text}"')
        return MetricsConfig(LoopbackAddress("", 0))
    if not address.is_loopback:
        table.problem("listen", f"{address} can be reached from other machines: only loopback addresses are allowed")
    return MetricsConfig(LoopbackAddress(str(address), port))
