"""Keys that the secure world has lost behind the service's back: the log says so, the metrics, and their users."""

from __future__ import annotations

import os
import signal

import pytest

from edgeroot.abi.crypto import CryptoOpcode
from edgeroot.abi.services import CRYPTO
from edgeroot.client import templates
from edgeroot.client.errors import DoesNotExistError
from edgeroot.keystore.reader import Reader
from edgeroot.providers.trusted_services.reference import KeyReference
from tests.support.clients import wait_until
from tests.support.service import Service, running_service
from tests.support.world import World, running_world, with_world

ES256 = templates.ecdsa_p256().algorithm
LOST = "the back end of provider trusted-service-provider has lost a key; its record is kept"


def lose(world: World, service: Service, key_name: str) -> None:
    """Destroy a key as somebody would who is the same caller for the secure world."""
    reader = Reader.open(service.store_path)
    try:
        [application] = reader.list_applications()
        [(authenticator, identity)] = [
            (listing.identity.authenticator, listing.identity)
            for number in range(5)
            for listing in reader.list_keys(number, application)
            if listing.identity.key_name == key_name
        ]
        assert authenticator == identity.authenticator
        record = reader.find(identity)
    finally:
        reader.close()
    assert record is not None
    key_id = KeyReference.from_bytes(record.reference).key_id
    with world.transport() as transport, transport.open_session(CRYPTO) as session:
        assert session.call(CryptoOpcode.DESTROY_KEY, key_id.to_bytes(4, "little"))[0] == 0


def test_a_lost_key_is_told_once_and_keeps_its_name() -> None:
    with running_world() as world, running_service(provider=with_world(world)) as service:
        [scout] = service.children("scout")
        with service.client() as client:
            for name in ("kept", "lost"):
                client.generate_key(name, templates.ecdsa_p256())
            lose(world, service, "lost")
            service.wait_for_log(LOST)
            with pytest.raises(DoesNotExistError):
                client.sign_hash("lost", ES256, bytes(32))
            client.sign_hash("kept", ES256, bytes(32))
            assert {key.name for key in client.list_keys()} == {"kept", "lost"}
        os.kill(scout, signal.SIGKILL)
        wait_until(lambda: service.children("scout") not in ([], [scout]), "there is a new scout")
        assert service.log().count(LOST) == 1


def test_a_service_without_such_keys_has_no_scout() -> None:
    with running_service() as service:
        assert service.children("scout") == []
