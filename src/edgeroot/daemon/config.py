"""The configuration of the service: upstream Parsec's ``config.toml`` and our extensions to it.

:func:`parse_config` is pure; :func:`load_config` reads the file and asks the host for what the file leaves open.
The tables in ``docs/configuration.md`` are made of what is said of each key where it is read.
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
from typing import Final

from edgeroot.auth import AUTHENTICATORS
from edgeroot.daemon.config_model import (
    AuthenticatorConfig,
    CoreConfig,
    KeyManagerConfig,
    ListenerConfig,
    LoopbackAddress,
    MetricsConfig,
    ProviderConfig,
    ServiceConfig,
)
from edgeroot.daemon.config_quotas import read_quotas
from edgeroot.daemon.config_settings import read_settings
from edgeroot.daemon.config_tokens import JWT_SVID, read_names, read_tokens
from edgeroot.daemon.config_values import About, ConfigError, Findings, KnownKey, Ours, TableReader, suggestion
from edgeroot.providers.api import ProviderType
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
    "SQLite": (
        "sqlite_db_path",
        About("The file, for `SQLite`."),
        "/var/lib/parsec/kim-mappings/sqlite/sqlite-key-info-manager.sqlite3",
    ),
    "OnDisk": ("store_path", About("The directory, for `OnDisk`."), "/var/lib/parsec/mappings"),
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
_PROVIDER_TYPE: Final = About(
    'The kind: `"MbedCrypto"` is the software provider, `"TrustedService"` the secure world, `"Tpm"` a [TPM](tpm.md), '
    '`"Pkcs11"` a [PKCS#11 token](pkcs11.md), `"CryptoAuthLib"` a [secure element](secure-element.md); further kinds '
    "can be installed as plug-ins."
)
_PROVIDER_NAME: Final = About(
    "Unique among the providers. Keys belong to it, so do not change it later.", otherwise="depends on the kind"
)


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
    core = CoreConfig(
        allow_root=table.boolean("allow_root", About("Start even as root."), default.allow_root),
        thread_pool_size=table.integer(
            "thread_pool_size",
            About("Number of worker processes.", otherwise="number of usable CPUs"),
            host.cpu_count,
            minimum=1,
            maximum=_MAX_WORKERS,
        ),
        log_level=table.optional_choice(
            "log_level",
            About(
                "What is logged at least. Without it `RUST_LOG` decides, and without that the level is `info` "
                "(upstream: `error`).",
                otherwise="from the environment",
            ),
            LOG_LEVELS,
        ),
        log_timestamp=table.boolean(
            "log_timestamp",
            About("Begin text lines with the time (UTC, milliseconds). JSON lines always have it."),
            default.log_timestamp,
        ),
        body_len_limit_bytes=table.integer(
            "body_len_limit",
            About("Longer request bodies are refused with status 20, unread."),
            default.body_len_limit_bytes,
            minimum=1,
            maximum=_MAX_SIZE_BYTES,
        ),
        log_error_details=table.boolean(
            "log_error_details",
            About(
                "Log why each refused request was refused, with the names of the key and the application, at level "
                "`info`; without it the log names neither, not even when the service itself fails. The audit log "
                "always does: that is what it is for."
            ),
            default.log_error_details,
        ),
        buffer_size_limit_bytes=table.integer(
            "buffer_size_limit",
            About("Most random bytes that one request gets; more is status 10."),
            default.buffer_size_limit_bytes,
            minimum=1,
            maximum=_MAX_SIZE_BYTES,
        ),
        allow_deprecated=table.boolean(
            "allow_deprecated",
            About("Let clients generate keys for deprecated primitives; otherwise status 22."),
            default.allow_deprecated,
        ),
        execution_timeout_s=table.milliseconds(
            "execution_timeout",
            Ours("Longest time from a request's arrival to its answer, waiting in queues included."),
            60_000,
        ),
        write_paths=tuple(
            host.directory / path
            for path in table.texts(
                "write_paths",
                Ours(
                    "Folders and devices that modules write to, as those of PKCS#11 tokens do. Counts where the "
                    "service confines itself ([beside a secure world of its own user]"
                    "(secure-world.md#what-each-partition-is-kept-from)): all else is out of its reach there. The "
                    "device of a TPM that the configuration names need not be listed."
                ),
            )
            or ()
        ),
        log_format=table.choice(
            "log_format",
            Ours("Form of the log and of the audit log, one line for each event, on standard error."),
            LOG_FORMATS,
            default.log_format,
        ),
        audit=table.boolean("audit", Ours("Write a line for each operation on a key."), default.audit),
    )
    table.integer(
        "idle_listener_sleep_duration",
        About("No effect: upstream sleeps between looks at its socket, this service waits for events."),
        10,
        minimum=0,
        maximum=_MAX_COUNT,
    )
    table.finish()
    return core


def _read_authenticators(root: TableReader, host: Host) -> tuple[AuthenticatorConfig, ...]:
    authenticators: list[AuthenticatorConfig] = []
    tables = root.tables("authenticator")
    if not tables and not root.has("authenticator"):
        root.problem("authenticator", "is required: a table with auth_type")
    for table in tables:
        name = table.optional_choice(
            "auth_type",
            About(
                "`UnixPeerCredentials`: the application is the user, as the kernel states it. `Direct`: the "
                "application is whatever the client says, so whoever can connect can be anyone. `JwtSvid`: the "
                "application is the SPIFFE ID that a signed token proves ([workload identity](workload-identity.md))."
            ),
            (*AUTHENTICATORS, JWT_SVID),
            required=True,
        )
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
    about = About(
        "Applications that may list and delete clients. An admin is one under this authenticator only. Under "
        "`UnixPeerCredentials` names are decimal user ids, under `JwtSvid` SPIFFE IDs.",
        otherwise="`[]`",
    )
    for admin in table.tables("admins", about):
        names.append(admin.text("name", About("The application.")))
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
    table.optional_choice(
        "listener_type", About("Unix domain sockets are all there is."), ("DomainSocket",), required=True
    )
    listener = ListenerConfig(
        timeout_s=table.milliseconds(
            "timeout", About("Time for a whole request to arrive, and again for its answer to be taken.")
        ),
        socket_path=table.check_socket_path(
            "socket_path", table.path("socket_path", About("The socket."), DEFAULT_SOCKET_PATH, host.directory)
        ),
        name=table.optional_text(
            "name",
            Ours(
                "The descriptor's name (`FileDescriptorName=`) under systemd's socket activation. Only needed if "
                "several sockets are inherited and their paths do not tell which is which."
            ),
        ),
        mode=_read_mode(table),
        group_id=_read_group(table, host),
        auth_types=_read_accepted(table, declared),
        max_connections_per_user=table.integer(
            "max_connections_per_user",
            Ours("A user's further connections are closed at once. At a slot, all of its connections are one user's."),
            256,
            minimum=1,
            maximum=_MAX_COUNT,
        ),
        max_queued_requests_per_user=table.integer(
            "max_queued_requests_per_user",
            Ours("A user's further requests are closed without an answer."),
            64,
            minimum=1,
            maximum=_MAX_COUNT,
        ),
        kept_connection_idle_timeout_s=table.milliseconds(
            "kept_connection_idle_timeout",
            Ours("A kept connection without a request is closed after this time."),
            60_000,
        ),
        max_requests_per_connection=table.integer(
            "max_requests_per_connection",
            Ours("A kept connection is closed after this many requests."),
            1000,
            minimum=1,
            maximum=_MAX_COUNT,
        ),
    )
    slots = table.optional_integer(
        "slots",
        Ours(
            "Instead of the one socket, so many sockets for pods: `slots/00/parsec.sock` and so on, beside where the "
            "one would be. See [below](#slots)."
        ),
        minimum=1,
        maximum=_MAX_SLOTS,
    )
    table.finish()
    return [listener] if slots is None else _read_slots(table, listener, slots)


def _read_accepted(table: TableReader, declared: dict[str, int]) -> frozenset[int]:
    about = Ours(
        "Which authenticators (`auth_type`) are accepted here, and named to clients that ask.",
        otherwise="all configured",
    )
    accepted = table.texts("authenticators", about)
    for name in accepted or ():
        if name not in declared:
            table.problem("authenticators", f'"{name}" is not configured; {suggestion(name, declared)}')
    return frozenset(declared[name] for name in accepted or declared if name in declared)


def _read_group(table: TableReader, host: Host) -> int | None:
    group = table.optional_text("group", Ours("Group of the socket; the service must belong to it."))
    if not group:
        return None
    try:
        return host.group_id(group)
    except KeyError:
        table.problem("group", f'there is no group "{group}" on this machine')
        return None


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
    text = table.text("mode", Ours("Mode of the socket, in octal digits."), "0666")
    if not re.fullmatch("(0o?)?[0-7]{1,3}", text):
        table.problem("mode", f'must be a string of octal digits up to "0777", not "{text}"')
        return 0
    return int(text, 8)


def _read_key_managers(root: TableReader, host: Host) -> tuple[KeyManagerConfig, ...]:
    managers: list[KeyManagerConfig] = []
    for table in root.tables("key_manager"):
        name = table.text("name", About("What providers call it; unique."))
        manager_type = table.optional_choice(
            "manager_type",
            About("Says where upstream's store is or would be. Our own store lies beside it."),
            tuple(DEFAULT_STORES),
            required=True,
        )
        if manager_type is None:
            for path_key, about, _ in DEFAULT_STORES.values():
                table.optional_text(path_key, about)  # so that it is not called unknown on top
            path = host.directory
        else:
            path_key, about, default_path = DEFAULT_STORES[manager_type]
            path = table.path(path_key, about, default_path, host.directory)
        if manager_type == "SQLite" and table.has("store_path"):
            # Upstream's own sample has it, and upstream ignores it: so must whoever takes that file over.
            table.path(*DEFAULT_STORES["OnDisk"], host.directory)
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
        type_name = table.value("provider_type", KnownKey(kind=str, about=_PROVIDER_TYPE, required=True))
        provider_type = provider_types.get(str(type_name))
        name = table.text("name", _PROVIDER_NAME, provider_type.default_name if provider_type else str(type_name))
        manager = table.text("key_info_manager", About("Name of the key manager."))
        if manager and manager not in key_managers:
            table.problem("key_info_manager", f'"{manager}" is no key manager; {suggestion(manager, key_managers)}')
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
    about = Ours(
        '`"unix:/path"`, `"127.0.0.1:port"` or `"[::1]:port"`. Addresses that other machines reach are refused. The '
        "Unix socket has mode `0660`."
    )
    text = table.text("listen", about)
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
