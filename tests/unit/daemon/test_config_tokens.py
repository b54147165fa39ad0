from __future__ import annotations

from pathlib import Path

import pytest

from edgeroot.auth import Identity, KubernetesSettings, TokenSettings
from edgeroot.daemon.config import AuthenticatorConfig, ConfigError, Host, ServiceConfig, parse_config
from edgeroot.providers.software import SoftwareProviderType

HOST = Host(Path("/srv"), 3)
REST = """
[[key_manager]]
name = "keys"
manager_type = "SQLite"
[[provider]]
provider_type = "MbedCrypto"
key_info_manager = "keys"
"""
LISTENER = '[[listener]]\nlistener_type = "DomainSocket"\ntimeout = 200\n'
TOKENS = '[[authenticator]]\nauth_type = "JwtSvid"\n'
CLUSTER = '[authenticator.kubernetes]\nissuer = "https://issuer"\nreview = "offline"\njwks_file = "keys.json"\n'
USERS = '[[authenticator]]\nauth_type = "UnixPeerCredentials"\n'


def parse(text: str) -> ServiceConfig:
    return parse_config(text + REST, {"MbedCrypto": SoftwareProviderType()}, host=HOST)


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as error:
        parse(text)
    return error.value.problems


def test_upstreams_table_is_taken_as_it_is() -> None:
    endpoint = "unix:///run/spire/sockets/agent.sock"
    config = parse(LISTENER + TOKENS + f'workload_endpoint = "{endpoint}"\n')
    tokens = TokenSettings(workload_endpoint=endpoint)
    assert config.authenticators == (AuthenticatorConfig("JwtSvid", 4, tokens=tokens),)
    assert config.tokens == tokens
    assert config.listeners[0].auth_types == {4}


def test_everything_about_a_cluster_is_read() -> None:
    config = parse(
        LISTENER
        + TOKENS
        + """
        audience = "keys"
        clock_skew = 250
        admins = [{ name = "spiffe://edge/ns/ops/sa/admin" }]
        [authenticator.kubernetes]
        issuer = "https://issuer"
        trust_domain = "edge"
        api_server = "https://10.0.0.1:6443"
        ca_file = "ca.crt"
        token_file = "/own/token"
        jwks_file = "keys.json"
        review = "online"
        review_interval = 500
        max_token_life = 3600000
        pod_resources = "unix:///run/pods.sock"
        resource = "example.com/key"
        require_pod = false
        pods_without_slot = true
        """
    )
    assert config.tokens == TokenSettings(
        audience="keys",
        clock_skew_s=0.25,
        kubernetes=KubernetesSettings(
            issuer="https://issuer",
            trust_domain="edge",
            api_server="https://10.0.0.1:6443",
            ca_file=Path("/srv/ca.crt"),
            token_file=Path("/own/token"),
            jwks_file=Path("/srv/keys.json"),
            review="online",
            review_interval_s=0.5,
            max_token_life_s=3600.0,
            pod_resources=Path("/run/pods.sock"),
            resource="example.com/key",
            require_pod=False,
            pods_without_slot=True,
        ),
    )
    assert config.admins == {Identity(4, "spiffe://edge/ns/ops/sa/admin")}


def test_what_is_left_out_is_as_the_settings_say() -> None:
    tokens = parse(LISTENER + TOKENS + CLUSTER).tokens
    assert tokens == TokenSettings(
        kubernetes=KubernetesSettings(issuer="https://issuer", review="offline", jwks_file=Path("/srv/keys.json"))
    )


def test_slots_are_sockets_in_folders_of_their_own() -> None:
    for_users = LISTENER + 'authenticators = ["UnixPeerCredentials"]\n'
    for_pods = LISTENER + 'authenticators = ["JwtSvid"]\nslots = 101\nmode = "0660"\n'
    config = parse(for_users + for_pods + USERS + TOKENS + CLUSTER)
    plain, *slots = config.listeners
    assert (plain.slot, str(plain.socket_path)) == (None, "/run/parsec/parsec.sock")
    assert [one.slot for one in slots] == list(range(101))
    assert [str(slots[slot].socket_path) for slot in (0, 9, 10, 100)] == [
        "/run/parsec/slots/00/parsec.sock",
        "/run/parsec/slots/09/parsec.sock",
        "/run/parsec/slots/10/parsec.sock",
        "/run/parsec/slots/100/parsec.sock",
    ]
    assert {one.auth_types for one in slots} == {frozenset({4})}
    assert {one.mode for one in slots} == {0o660}
    assert {str(one.folder) for one in config.listeners} == {"/run/parsec"}


TILL = '{ spiffe_id = "spiffe://a/till", name = "till" }'
NO_SOCKET = 'must be "unix:/path", a socket with the kubelet\'s PodResources, not "/pods.sock"'
NO_SLOT_WITHOUT_TOKENS = 'listener[0].authenticators: must be ["JwtSvid"] where there are slots'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LISTENER + "slots = 2\n" + USERS + TOKENS + CLUSTER, NO_SLOT_WITHOUT_TOKENS),
        (LISTENER + "slots = 2\n" + USERS, NO_SLOT_WITHOUT_TOKENS),
        (LISTENER + "slots = 0\n" + TOKENS + CLUSTER, "listener[0].slots: must be from 1 to 1024, not 0"),
        (
            LISTENER + "slots = true\n" + TOKENS + CLUSTER,
            "listener[0].slots: must be an integer, not true or false",
        ),
        (
            LISTENER + 'slots = 2\nname = "pods"\n' + TOKENS + CLUSTER,
            "listener[0].name: is for one socket: the service itself makes those of the slots",
        ),
        (
            LISTENER + "slots = 2\n" + LISTENER + "slots = 1\n" + TOKENS + CLUSTER,
            "listener[1].socket_path: /run/parsec/slots/00/parsec.sock is the socket of another listener",
        ),
        (
            LISTENER + f'slots = 2\nsocket_path = "/{"x" * 90}/s"\n' + TOKENS + CLUSTER,
            f"listener[0].socket_path: /{'x' * 90}/slots/01/parsec.sock has 112 bytes; a socket's path can have 107",
        ),
        (
            LISTENER + TOKENS + CLUSTER.replace("review", "reveiw"),
            'authenticator[0].kubernetes.reveiw: unknown key; did you mean "review"?',
        ),
        (
            LISTENER + TOKENS + CLUSTER.replace("offline", "of-line"),
            'authenticator[0].kubernetes.review: "of-line" is not known here; did you mean "offline"?',
        ),
        (
            LISTENER + TOKENS + 'workload_endpont = "unix:///a"\n' + CLUSTER,
            'authenticator[0].workload_endpont: unknown key; did you mean "workload_endpoint"?',
        ),
        (
            LISTENER + TOKENS + CLUSTER + 'pod_resources = "/pods.sock"\n',
            f"authenticator[0].kubernetes.pod_resources: {NO_SOCKET}",
        ),
        (
            LISTENER + TOKENS + CLUSTER.replace('review = "offline"\n', ""),
            'authenticator[0]: kubernetes.review = "online" needs api_server; without one, set review = "offline"',
        ),
        (
            LISTENER + TOKENS + 'applications = [{ spiffe_id = "till", name = "a" }]\n' + CLUSTER,
            'authenticator[0].applications[0].spiffe_id: must be a SPIFFE ID, spiffe://trust-domain/path, not "till"',
        ),
        (
            LISTENER + TOKENS + f"applications = [{TILL}, {TILL}]\n" + CLUSTER,
            'authenticator[0].applications[1].spiffe_id: "spiffe://a/till" has a name already',
        ),
        (
            LISTENER + TOKENS + CLUSTER + TOKENS + CLUSTER,
            'authenticator[1].auth_type: "JwtSvid" is configured twice',
        ),
    ],
)
def test_a_fault_is_named_with_its_key(text: str, expected: str) -> None:
    assert expected in problems(text)


def test_applications_may_have_other_names_than_their_spiffe_ids() -> None:
    config = parse(LISTENER + TOKENS + f"applications = [{TILL}]\n" + CLUSTER)
    assert config.authenticators[0].names == (("spiffe://a/till", "till"),)
    admins = 'admins = [{ name = "till" }]\n'
    assert parse(LISTENER + TOKENS + f"applications = [{TILL}]\n" + admins + CLUSTER).warnings == ()


@pytest.mark.parametrize(
    ("folder", "warned"),
    [("/var/lib/parsec/kim-mappings/sqlite", 1), ("/var/lib/parsec", 1), ("/var/lib/parsec/issuer", 0)],
)
def test_a_key_store_where_what_judges_tokens_may_write_is_warned_of(folder: str, warned: int) -> None:
    config = parse(LISTENER + TOKENS + CLUSTER.replace("keys.json", f"{folder}/keys.json"))
    assert len(config.warnings) == warned
    assert all("give jwks_file a folder of its own" in warning for warning in config.warnings)


def test_an_admin_who_can_be_nobody_is_warned_of() -> None:
    config = parse(LISTENER + TOKENS + 'admins = [{ name = "0" }]\n' + CLUSTER)
    (warning,) = config.warnings
    assert warning.startswith('authenticator[0].admins: "0" is nobody: under JwtSvid')
