"""Protected storage and attestation for ordinary workloads: client, service and a real emulated secure world."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from edgeroot.client import Client, templates
from edgeroot.client.errors import (
    DoesNotExistError,
    InvalidArgumentError,
    NotPermittedError,
    NotSupportedError,
    ServiceError,
)
from edgeroot.evidence.psa_claims import Profile
from edgeroot.evidence.psa_token import read_token
from edgeroot.wire import operations as ops
from edgeroot.wire.status import ResponseStatus
from tests.support.clients import as_user, ask, wait_until
from tests.support.requirements import require_root
from tests.support.service import SOFTWARE_PROVIDER, UNIX, Service, running_service
from tests.support.world import World, running_world, with_world

TRUSTED_SERVICES = 4
_LONGEST_BYTES = 17 * 4096 - 20
_OTHER_UID = 60310


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_world() as running:
        yield running


@pytest.fixture(scope="module")
def service(world: World) -> Iterator[Service]:
    with running_service(
        provider=SOFTWARE_PROVIDER + with_world(world), authenticator=f'{UNIX}admins = [{{ name = "0" }}]'
    ) as one:
        yield one


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with service.client(provider=TRUSTED_SERVICES) as client:
        yield client
        for one in client.storage_list():
            try:
                client.storage_remove(one.name)
            except NotPermittedError:
                pass  # a write-once one


def test_a_secret_lives_in_protected_storage(client: Client) -> None:
    client.storage_set("wifi", b"correct horse")
    assert client.storage_get("wifi") == b"correct horse"
    assert client.storage_get("wifi", 8, 3) == b"hor"
    assert client.storage_info("wifi") == ops.StorageInfoResult(13, 13, 0)
    client.storage_set("wifi", b"battery staple")
    assert client.storage_get("wifi") == b"battery staple"
    assert ops.StoredObject(TRUSTED_SERVICES, "wifi") in client.storage_list()
    client.storage_remove("wifi")
    assert ops.StoredObject(TRUSTED_SERVICES, "wifi") not in client.storage_list()
    with pytest.raises(DoesNotExistError, match="storage_list"):
        client.storage_get("wifi")


@pytest.mark.parametrize("name", ["", "\0", "ü" * 500, "a/../b", "key"])
def test_any_text_is_a_name_and_no_key(client: Client, name: str) -> None:
    client.generate_key("key", templates.ecdsa_p256())
    client.storage_set(name, b"data")
    assert client.storage_get(name) == b"data"
    assert [key.name for key in client.list_keys()] == ["key"]
    client.destroy_key("key")
    assert client.storage_get(name) == b"data"


def test_the_longest_object_and_one_byte_more(client: Client) -> None:
    data = os.urandom(_LONGEST_BYTES)
    client.storage_set("long", data)
    assert client.storage_get("long") == data
    with pytest.raises(ServiceError) as refused:
        client.storage_set("long", data + b"!")
    assert refused.value.status is ResponseStatus.PSA_ERROR_INSUFFICIENT_STORAGE
    assert client.storage_get("long") == data
    with pytest.raises(InvalidArgumentError):
        client.storage_get("long", _LONGEST_BYTES + 1)


def test_a_write_once_object_can_neither_be_changed_nor_removed(client: Client) -> None:
    client.storage_set("serial", b"4711", write_once=True)
    with pytest.raises(NotPermittedError, match="write-once"):
        client.storage_set("serial", b"4712")
    with pytest.raises(NotPermittedError, match="write-once"):
        client.storage_remove("serial")
    assert client.storage_get("serial") == b"4711"


def test_another_user_neither_reads_nor_lists_nor_removes_it(client: Client, service: Service) -> None:
    require_root("act as another user")
    client.storage_set("wifi", b"mine")

    def other() -> list[str]:
        said = []
        with service.client(provider=TRUSTED_SERVICES) as theirs:
            for attempt in (theirs.storage_get, theirs.storage_info, theirs.storage_remove):
                try:
                    said.append(repr(attempt("wifi")))
                except DoesNotExistError:
                    said.append("refused")
            said.append(repr(theirs.storage_list()))
            theirs.storage_set("wifi", b"theirs")
        return said

    assert as_user(_OTHER_UID, other) == ["refused", "refused", "refused", "()"]
    assert client.storage_get("wifi") == b"mine"
    assert str(_OTHER_UID) in client.list_clients()
    client.delete_client(str(_OTHER_UID))
    assert str(_OTHER_UID) not in client.list_clients()


def test_what_is_stored_survives_partition_service_and_world(client: Client, service: Service, world: World) -> None:
    client.storage_set("wifi", b"secret")
    before = world.partition("storage")["pid"]
    world.kill_partition("storage", signal.SIGKILL)

    def runs_again() -> bool:
        now = world.partition("storage")
        return bool(now["state"] == "ready" and now["pid"] != before)

    wait_until(runs_again, "the partition runs again")
    assert client.storage_get("wifi") == b"secret"
    world.kill()
    world.stop()
    world.start()
    service.end()
    service.start()
    assert client.storage_get("wifi") == b"secret"


def test_a_provider_without_storage_says_where_there_is_some(service: Service) -> None:
    with service.client(provider=1) as software, pytest.raises(NotSupportedError, match="provider 4"):
        software.storage_set("wifi", b"secret")


def test_upstreams_clients_do_not_meet_any_of_it(service: Service) -> None:
    for operation in (ops.StorageGet("wifi"), ops.StorageList(), ops.AttestationToken(bytes(32))):
        response = ask(service, operation, provider=TRUSTED_SERVICES)
        assert response.status is ResponseStatus.OPCODE_DOES_NOT_EXIST


def test_a_token_proves_the_challenge_and_the_device(client: Client) -> None:
    challenge = os.urandom(48)
    once, again = (read_token(client.attestation_token(challenge)) for _ in range(2))
    assert once.profile is Profile.RFC9783
    assert once.claims.nonce == challenge
    assert once.claims.instance_id == again.claims.instance_id
    with pytest.raises(InvalidArgumentError):
        client.attestation_token(bytes(16))
