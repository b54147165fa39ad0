# ruff: noqa: E501 - one case a line, as a table
from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgeroot.auth import Identity
from edgeroot.daemon.config import (
    ConfigError,
    CoreConfig,
    Host,
    KeyManagerConfig,
    ListenerConfig,
    LoopbackAddress,
    MetricsConfig,
    ServiceConfig,
    default_config,
    load_config,
    parse_config,
)
from edgeroot.providers.api import Provider, ProviderType
from edgeroot.psa import Secret

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class NoSettings:
    pass


@dataclass(frozen=True, slots=True)
class TokenSettings:
    module: Path
    pin: Secret | None = None
    slot: int | None = None
    label: str = "token"
    read_only: bool = False

    def __post_init__(self) -> None:
        if self.slot is not None and self.slot < 0:
            raise ValueError("slot must not be negative")


class _Type(ProviderType):
    def open(self, settings: Any, *, store_path: Path) -> Provider:  # noqa: ANN401 - as in the contract
        raise NotImplementedError


class Software(_Type):
    provider_type = "MbedCrypto"
    default_name = "mbed-crypto-provider"
    settings = NoSettings


class Token(_Type):
    provider_type = "Token"
    default_name = "token-provider"
    settings = TokenSettings


TYPES: dict[str, ProviderType] = {"MbedCrypto": Software(), "Token": Token()}
GROUPS = {"clients": 123}
HOST = Host(Path("/srv"), 3, GROUPS.__getitem__)

LISTENER = '[listener]\nlistener_type = "DomainSocket"\ntimeout = 200\n'
AUTHENTICATOR = '[authenticator]\nauth_type = "UnixPeerCredentials"\n'
KEY_MANAGER = '[[key_manager]]\nname = "keys"\nmanager_type = "SQLite"\n'
PROVIDER = '[[provider]]\nprovider_type = "MbedCrypto"\nkey_info_manager = "keys"\n'
BASE = LISTENER + AUTHENTICATOR + KEY_MANAGER + PROVIDER

# What upstream's own sample holds, store_path under SQLite included.
UPSTREAM_SAMPLE = """
[core_settings]
allow_root = false
thread_pool_size = 8
idle_listener_sleep_duration = 10
log_level = "warn"
log_timestamp = false
body_len_limit = 1048576
log_error_details = false
buffer_size_limit = 1048576
allow_deprecated = false
[listener]
listener_type = "DomainSocket"
timeout = 200
socket_path = "/run/parsec/parsec.sock"
[authenticator]
auth_type = "UnixPeerCredentials"
admins = [ { name = "1000" }, { name = "1001" } ]
[[key_manager]]
name = "sqlite-manager"
manager_type = "SQLite"
store_path = "/var/lib/parsec/kim-mappings/sqlite/sqlite-key-info-manager.sqlite3"
[[key_manager]]
name = "on-disk-manager"
manager_type = "OnDisk"
store_path = "/var/lib/parsec/mappings"
[[provider]]
provider_type = "MbedCrypto"
name = "mbed-crypto-provider"
key_info_manager = "sqlite-manager"
"""


def parse(text: str) -> ServiceConfig:
    return parse_config(text, TYPES, host=HOST)


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as error:
        parse(text)
    return error.value.problems


def test_upstreams_sample_is_taken_as_it_is() -> None:
    config = parse(UPSTREAM_SAMPLE)
    assert config.core == CoreConfig(thread_pool_size=8, log_level="warn")
    assert config.listeners == (
        ListenerConfig(socket_path=Path("/run/parsec/parsec.sock"), timeout_s=0.2, auth_types=frozenset({3})),
    )
    assert config.admins == {Identity(3, "1000"), Identity(3, "1001")}
    assert config.key_managers == (
        KeyManagerConfig(
            "sqlite-manager",
            "SQLite",
            Path("/var/lib/parsec/kim-mappings/sqlite/sqlite-key-info-manager.sqlite3"),
        ),
        KeyManagerConfig("on-disk-manager", "OnDisk", Path("/var/lib/parsec/mappings")),
    )
    (provider,) = config.providers
    assert (provider.name, provider.wire_id, provider.settings) == ("mbed-crypto-provider", 1, NoSettings())
    assert config.key_manager(provider).name == "sqlite-manager"
    assert config.metrics is None
    (warning,) = config.warnings
    assert warning.startswith("key_manager[0].store_path: ")
    assert "sqlite_db_path" in warning


def test_the_least_configuration_gets_upstreams_defaults() -> None:
    config = parse(BASE)
    assert config.core == CoreConfig(
        thread_pool_size=3,
        allow_root=False,
        log_level=None,
        log_timestamp=False,
        log_error_details=False,
        log_format="text",
        audit=True,
        body_len_limit_bytes=1048576,
        buffer_size_limit_bytes=1048576,
        allow_deprecated=False,
        execution_timeout_s=60.0,
        write_paths=(),
    )
    (listener,) = config.listeners
    assert listener == ListenerConfig(
        socket_path=Path("/run/parsec/parsec.sock"),
        timeout_s=0.2,
        auth_types=frozenset({3}),
        name=None,
        mode=0o666,
        group_id=None,
        max_connections_per_user=256,
        max_queued_requests_per_user=64,
        kept_connection_idle_timeout_s=60.0,
        max_requests_per_connection=1000,
    )
    assert config.providers[0].name == "mbed-crypto-provider"
    assert config.warnings == ()


@pytest.mark.parametrize("sample", ["parsec.toml", "edgeroot.toml"])
def test_shipped_samples_are_right(sample: str) -> None:
    host = Host(Path("/"), 1, lambda _name: 5)
    text = (ROOT / "deploy/config" / sample).read_text()
    assert parse_config(text, TYPES, host=host).warnings == ()


def test_paths_that_modules_write_to_start_at_the_working_directory() -> None:
    config = parse('[core_settings]\nwrite_paths = ["tokens", "/dev/hsm"]\n' + BASE)
    assert config.core.write_paths == (HOST.directory / "tokens", Path("/dev/hsm"))


def test_several_listeners_and_authenticators() -> None:
    config = parse(
        """
        [[listener]]
        listener_type = "DomainSocket"
        timeout = 1
        socket_path = "a.sock"
        [[listener]]
        listener_type = "DomainSocket"
        timeout = 1
        name = "guests"
        socket_path = "/b.sock"
        mode = "660"
        group = "clients"
        authenticators = ["Direct"]
        max_connections_per_user = 1
        max_queued_requests_per_user = 2
        kept_connection_idle_timeout = 3
        max_requests_per_connection = 4
        [[authenticator]]
        auth_type = "UnixPeerCredentials"
        [[authenticator]]
        auth_type = "Direct"
        admins = [{ name = "0" }]
        """
        + KEY_MANAGER
        + PROVIDER
    )
    assert config.listeners == (
        ListenerConfig(socket_path=Path("/srv/a.sock"), timeout_s=0.001, auth_types=frozenset({1, 3})),
        ListenerConfig(
            socket_path=Path("/b.sock"),
            timeout_s=0.001,
            auth_types=frozenset({1}),
            name="guests",
            mode=0o660,
            group_id=123,
            max_connections_per_user=1,
            max_queued_requests_per_user=2,
            kept_connection_idle_timeout_s=0.003,
            max_requests_per_connection=4,
        ),
    )
    assert config.admins == {Identity(1, "0")}


def test_further_providers_of_a_type_and_types_unknown_to_upstream_are_numbered_from_16() -> None:
    more = '[[provider]]\nprovider_type = "Token"\nkey_info_manager = "keys"\nmodule = "/m.so"\nname = "t"\n'
    second = PROVIDER + 'name = "second"\n'
    config = parse(LISTENER + AUTHENTICATOR + KEY_MANAGER + more + PROVIDER + second)
    assert [(provider.name, provider.wire_id) for provider in config.providers] == [
        ("t", 16),
        ("mbed-crypto-provider", 1),
        ("second", 17),
    ]


def test_settings_are_read_into_the_types_own_dataclass() -> None:
    provider = '[[provider]]\nprovider_type = "Token"\nkey_info_manager = "keys"\n'
    base = LISTENER + AUTHENTICATOR + KEY_MANAGER + provider
    plain, full = (
        parse(base + settings).providers[0].settings
        for settings in (
            'module = "/m.so"',
            'module = "m.so"\npin = "12345678"\nslot = 2\nlabel = ""\nread_only = true',
        )
    )
    assert plain == TokenSettings(Path("/m.so"))
    assert full == TokenSettings(Path("/srv/m.so"), Secret(b"12345678"), 2, "", True)
    assert "1234" not in repr(full)
    assert problems(base) == ("provider[0].module: is required: a string",)
    assert problems(base + 'module = "/m.so"\nslot = true') == (
        "provider[0].slot: must be an integer, not true or false",
    )
    assert problems(base + 'module = "/m.so"\nslot = -1') == ("provider[0]: slot must not be negative",)
    assert problems(base + 'module = "/m.so"\nlable = "x"') == (
        'provider[0].lable: unknown key; did you mean "label"?',
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[core_settings]\nthread_pol_size = 4\n" + BASE, 'core_settings.thread_pol_size: unknown key; did you mean "thread_pool_size"?'),
        ("[core_setting]\n" + BASE, 'core_setting: unknown key; did you mean "core_settings"?'),
        ("[core_settings]\nlog_level = \"verbose\"\n" + BASE, 'core_settings.log_level: "verbose" is not known here; valid are "debug", "error", "info", "off", "trace", "warn"'),
        ("[core_settings]\nlog_level = \"warning\"\n" + BASE, 'core_settings.log_level: "warning" is not known here; did you mean "warn"?'),
        ("[core_settings]\nallow_root = \"no\"\n" + BASE, "core_settings.allow_root: must be true or false, not a string"),
        ("[core_settings]\nthread_pool_size = 0\n" + BASE, "core_settings.thread_pool_size: must be from 1 to 1024, not 0"),
        ("[core_settings]\nthread_pool_size = true\n" + BASE, "core_settings.thread_pool_size: must be an integer, not true or false"),
        ("[core_settings]\nexecution_timeout = 2.5\n" + BASE, "core_settings.execution_timeout: must be an integer, not a number"),
        ("[core_settings]\nbody_len_limit = 4294967296\n" + BASE, "core_settings.body_len_limit: must be from 1 to 4294967295, not 4294967296"),
        ("[core_settings]\nlog_format = 1979-05-27\n" + BASE, "core_settings.log_format: must be a string, not a date or time"),
        ("core_settings = 3\n" + BASE, "core_settings: must be a table or an array of tables, not an integer"),
        ("[[core_settings]]\n" + BASE, "core_settings: must be one table [core_settings], not an array of tables"),
        (BASE.replace(LISTENER, ""), "listener: is required: a table with listener_type and timeout"),
        (BASE.replace(AUTHENTICATOR, ""), "authenticator: is required: a table with auth_type"),
        (BASE.replace(PROVIDER, ""), "provider: is required: at least one table [[provider]]"),
        (BASE.replace("timeout = 200\n", ""), "listener.timeout: is required: an integer"),
        (BASE.replace("timeout = 200", "timeout = 0"), "listener.timeout: must be from 1 to 2147483647, not 0"),
        (BASE.replace("timeout = 200", "timeout = -1"), "listener.timeout: must be from 1 to 2147483647, not -1"),
        (BASE.replace("DomainSocket", "Tcp"), 'listener.listener_type: "Tcp" is not known here; valid are "DomainSocket"'),
        (BASE.replace("timeout = 200", 'timeout = 200\nsocket_path = ""'), "listener.socket_path: must not be empty"),
        (BASE.replace("timeout = 200", 'timeout = 200\nsocket_path = "a\\u0000b"'), "listener.socket_path: must not hold the character NUL"),
        (BASE.replace("timeout = 200", f'timeout = 200\nsocket_path = "/{"x" * 107}"'), f"listener.socket_path: /{'x' * 107} has 108 bytes; a socket's path can have 107"),
        (BASE + f'[metrics]\nlisten = "unix:/{"x" * 107}"', f"metrics.listen: /{'x' * 107} has 108 bytes; a socket's path can have 107"),
        (BASE.replace("timeout = 200", 'timeout = 200\nmode = "6_6"'), 'listener.mode: must be a string of octal digits up to "0777", not "6_6"'),
        (BASE.replace("timeout = 200", 'timeout = 200\nmode = "0888"'), 'listener.mode: must be a string of octal digits up to "0777", not "0888"'),
        (BASE.replace("timeout = 200", 'timeout = 200\nmode = "2666"'), 'listener.mode: must be a string of octal digits up to "0777", not "2666"'),
        (BASE.replace("timeout = 200", "timeout = 200\nmode = 438"), "listener.mode: must be a string, not an integer"),
        (BASE.replace("timeout = 200", 'timeout = 200\ngroup = "nobody"'), 'listener.group: there is no group "nobody" on this machine'),
        (BASE.replace("timeout = 200", 'timeout = 200\nauthenticators = ["Direct"]'), 'listener.authenticators: "Direct" is not configured; valid are "UnixPeerCredentials"'),
        (BASE.replace("timeout = 200", "timeout = 200\nauthenticators = []"), "listener.authenticators: must be an array of strings, at least one"),
        (BASE.replace("timeout = 200", "timeout = 200\nauthenticators = [3]"), "listener.authenticators: must be an array of strings, at least one"),
        (BASE.replace("timeout = 200", 'timeout = 200\nauthenticators = ["UnixPeerCredentials", "UnixPeerCredentials"]'), "listener.authenticators: names something twice"),
        (BASE.replace("UnixPeerCredentials", "unix-peer-credentials"), 'authenticator.auth_type: "unix-peer-credentials" is not known here; did you mean "UnixPeerCredentials"?'),
        (BASE.replace('"UnixPeerCredentials"', '"JwtSvid"'), "authenticator: JwtSvid needs workload_endpoint (SPIFFE Workload API), a table kubernetes, or both"),
        (BASE.replace('"UnixPeerCredentials"', '"Direct"\nworkload_endpoint = "unix:///a"'), 'authenticator.workload_endpoint: unknown key; valid are "admins", "auth_type"'),
        (BASE.replace('"UnixPeerCredentials"', '"Direct"\nadmins = ["me"]'), "authenticator.admins: must be a table or an array of tables, not an array"),
        (BASE.replace('"UnixPeerCredentials"', '"Direct"\nadmins = [{ nam = "me" }]'), "authenticator.admins[0].name: is required: a string"),
        (BASE + KEY_MANAGER.replace("SQLite", "OnDisk"), 'key_manager[1].name: "keys" is the name of another key manager'),
        (BASE + KEY_MANAGER.replace("keys", "more"), "key_manager[1].sqlite_db_path: /var/lib/parsec/kim-mappings/sqlite/sqlite-key-info-manager.sqlite3 is the store of another key manager"),
        (BASE.replace("SQLite", "sqlite"), 'key_manager[0].manager_type: "sqlite" is not known here; did you mean "SQLite"?'),
        (BASE.replace('"SQLite"', '"OnDisk"\nsqlite_db_path = "/x"'), 'key_manager[0].sqlite_db_path: unknown key; did you mean "store_path"?'),
        (BASE.replace('key_info_manager = "keys"', 'key_info_manager = "key"'), 'provider[0].key_info_manager: "key" is no key manager; did you mean "keys"?'),
        (BASE.replace('key_info_manager = "keys"\n', ""), "provider[0].key_info_manager: is required: a string"),
        (BASE + PROVIDER, 'provider[1].name: "mbed-crypto-provider" is the name of another provider'),
        (BASE.replace('"MbedCrypto"', '"MbedCrypto"\nname = "a\\u0000objects"'), "provider[0].name: must be without NUL: what is behind one tells stored objects from keys"),
        (BASE.replace("MbedCrypto", "CryptoAuthLib") + 'device_type = "atecc608a"', 'provider[0].provider_type: "CryptoAuthLib" is not known here; valid are "MbedCrypto", "Token"'),
        (BASE.replace("MbedCrypto", "mbedcrypto"), 'provider[0].provider_type: "mbedcrypto" is not known here; did you mean "MbedCrypto"?'),
        (BASE.replace('provider_type = "MbedCrypto"\n', ""), "provider[0].provider_type: is required: a string"),
        (BASE + "[metrics]", "metrics.listen: is required: a string"),
        (BASE + '[metrics]\nlisten = "0.0.0.0:9"', "metrics.listen: 0.0.0.0 can be reached from other machines: only loopback addresses are allowed"),
        (BASE + '[metrics]\nlisten = "[::]:9"', "metrics.listen: :: can be reached from other machines: only loopback addresses are allowed"),
        (BASE + '[metrics]\nlisten = "localhost:9"', 'metrics.listen: must be "unix:/path", "127.0.0.1:port" or "[::1]:port", not "localhost:9"'),
        (BASE + '[metrics]\nlisten = "::1:9"', 'metrics.listen: must be "unix:/path", "127.0.0.1:port" or "[::1]:port", not "::1:9"'),
        (BASE + '[metrics]\nlisten = "127.0.0.1:65536"', 'metrics.listen: must be "unix:/path", "127.0.0.1:port" or "[::1]:port", not "127.0.0.1:65536"'),
        (BASE + '[metrics]\nlisten = "127.0.0.1"', 'metrics.listen: must be "unix:/path", "127.0.0.1:port" or "[::1]:port", not "127.0.0.1"'),
        (BASE + '[metrics]\nlisten = "unix:"', 'metrics.listen: must name a path after "unix:"'),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_key(text: str, expected: str) -> None:
    assert expected in problems(text)


def test_all_faults_are_told_at_once_and_each_once() -> None:
    text = (
        BASE.replace("timeout = 200", "timeout = 0\ncolour = 1").replace("MbedCrypto", "CryptoAuthLib")
        + 'device_type = "atecc608a"\n[core_settings]\nlog_level = "loud"\n'
    )
    with pytest.raises(ConfigError) as error:
        parse_config(text, TYPES, host=HOST, source="/etc/parsec/config.toml")
    assert [problem.split(": ")[0] for problem in error.value.problems] == [
        "core_settings.log_level",
        "listener.timeout",
        "listener.colour",
        "provider[0].provider_type",
    ]
    assert all(line.startswith("/etc/parsec/config.toml: ") for line in str(error.value).splitlines())


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("", "", "listener[1].socket_path: /run/parsec/parsec.sock is the socket of another listener"),
        (
            'name = "n"\nsocket_path = "/a"\n',
            'name = "n"\nsocket_path = "/b"\n',
            'listener[1].name: "n" is the name of another listener',
        ),
    ],
)
def test_listeners_share_neither_socket_nor_name(first: str, second: str, expected: str) -> None:
    listener = LISTENER.replace("[listener]", "[[listener]]")
    assert problems(listener + first + listener + second + AUTHENTICATOR + KEY_MANAGER + PROVIDER) == (expected,)


def test_an_authenticator_is_configured_once() -> None:
    twice = AUTHENTICATOR.replace("[authenticator]", "[[authenticator]]") * 2
    assert problems(LISTENER + twice + KEY_MANAGER + PROVIDER) == (
        'authenticator[1].auth_type: "UnixPeerCredentials" is configured twice',
    )


def test_an_admin_who_can_never_appear_is_a_warning() -> None:
    config = parse(BASE.replace('"UnixPeerCredentials"', '"UnixPeerCredentials"\nadmins = [{ name = "jean" }]'))
    assert config.warnings == (
        'authenticator.admins: "jean" is nobody: under UnixPeerCredentials names are decimal user ids',
    )


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("unix:metrics.sock", Path("/srv/metrics.sock")),
        ("127.0.0.1:9100", LoopbackAddress("127.0.0.1", 9100)),
        ("127.1.2.3:1", LoopbackAddress("127.1.2.3", 1)),
        ("[::1]:65535", LoopbackAddress("::1", 65535)),
    ],
)
def test_metrics_addresses(listen: str, expected: Path | LoopbackAddress) -> None:
    assert parse(BASE + f'[metrics]\nlisten = "{listen}"').metrics == MetricsConfig(expected)


def test_there_is_a_number_for_at_most_240_further_providers() -> None:
    many = "".join(PROVIDER + f'name = "p{index}"\n' for index in range(241))
    base = LISTENER + AUTHENTICATOR + KEY_MANAGER
    assert parse(base + many).providers[-1].wire_id == 255
    assert problems(base + many + PROVIDER) == (
        "provider[241].provider_type: there are more providers than the wire protocol has numbers for",
    )


def test_loading_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.toml"
    file.write_text(BASE.replace("timeout = 200", 'timeout = 200\nsocket_path = "p.sock"'))
    monkeypatch.chdir(tmp_path)
    config = load_config(file, TYPES)
    assert config.listeners[0].socket_path == tmp_path / "p.sock"
    assert config.core.thread_pool_size == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "cannot be read: No such file"), (b"a = \xff", "is not UTF-8 at byte 4"), (b"[a\n", "not TOML: .* line 1")],
)
def test_a_file_that_cannot_be_parsed_is_a_configuration_error(
    tmp_path: Path, content: bytes | None, expected: str
) -> None:
    file = tmp_path / "config.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{re.escape(str(file))}: {expected}"):
        load_config(file, TYPES)


def test_no_configuration_is_the_same_as_a_small_one() -> None:
    small = (
        LISTENER.replace("timeout = 200", 'timeout = 5000\nsocket_path = "/u/p.sock"')
        + AUTHENTICATOR
        + KEY_MANAGER.replace("keys", "sqlite-manager")
        + 'sqlite_db_path = "/u/keys.sqlite3"\n'
        + PROVIDER.replace("keys", "sqlite-manager")
    )
    config = default_config(
        socket_path=Path("/u/p.sock"), store_path=Path("/u/keys.sqlite3"), provider_types=TYPES, host=HOST
    )
    assert config == parse(small)
