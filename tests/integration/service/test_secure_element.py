"""A real service with its keys in an emulated secure element: what is offered, what other software says, what lasts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from edgeroot.client import Client, templates
from edgeroot.client.errors import NotSupportedError, ServiceError
from edgeroot.wire.operations import CheckType
from edgeroot.wire.status import ResponseStatus
from tests.support.clients import DIGEST, ECDSA, wait_until
from tests.support.element_service import ElementService, running_element_service
from tests.support.service import READY, Service

ELEMENT = 5
SOFTWARE = 1


@pytest.fixture
def running(tmp_path: Path) -> Iterator[ElementService]:
    with running_element_service(tmp_path) as made:
        yield made


def check_signature(service: Service, point: bytes) -> None:
    """Signed in the element, verified by the package `cryptography`."""
    with service.client() as client:
        signature = client.sign_hash("key", ECDSA, DIGEST)
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    public.verify(encode_dss_signature(r, s), DIGEST, ec.ECDSA(Prehashed(SHA256())))


def test_it_presents_itself_as_upstreams(running: ElementService) -> None:
    with running.service.client() as client:
        shown = next(one for one in client.list_providers() if one.id == ELEMENT)
        assert {2, 3, 4, 5, 7, 0xD, 0xF, 0x10, 0x13, 0x18, 0x19} <= set(client.list_opcodes(ELEMENT))
        assert len(client.generate_random(100)) == 100
    assert (shown.uuid, shown.vendor, shown.description) == (
        "b8ba81e2-e9f7-4bdd-b096-a29d0019960c",
        "Arm",
        "User space hardware provider, utilizing MicrochipTech CryptoAuthentication Library for ATECCx08 chips",
    )
    assert (shown.version_maj, shown.version_min, shown.version_rev) == (0, 1, 0)


def test_keys_outlive_restarts_reloads_and_the_host(running: ElementService) -> None:
    service = running.service
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
        point = client.export_public_key("key")
    check_signature(service, point)
    service.end()
    running.start()
    check_signature(service, point)
    at = (service.folder / "log").stat().st_size
    service.signal(signal.SIGHUP)
    service.wait_for_log(READY, after=at)
    check_signature(service, point)
    wait_until(lambda: len(service.children("host")) == 1, "one host runs")
    (host,) = service.children("host")
    os.kill(host, signal.SIGKILL)
    wait_until(lambda: service.children("host") not in ([], [host]), "another host runs")
    check_signature(service, point)


def test_a_destroyed_key_is_overwritten_in_its_slot(running: ElementService) -> None:
    with running.service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
        (slot,) = (number for number in range(16) if any(running.part.zones.read_slot(number)))
        before = running.part.zones.read_slot(slot)
        client.destroy_key("key")
    assert running.part.zones.read_slot(slot) != before


def test_an_element_is_full_and_has_room_again(running: ElementService) -> None:
    with running.service.client() as client:
        for number in range(14):
            client.generate_key(f"key-{number}", templates.ecdsa_p256())
        with pytest.raises(ServiceError) as raised:
            client.generate_key("one-too-many", templates.ecdsa_p256())
        assert raised.value.status == ResponseStatus.PSA_ERROR_INSUFFICIENT_STORAGE
        client.destroy_key("key-7")
        client.generate_key("one-more", templates.ecdsa_p256())
        assert len(client.list_keys()) == 14
        with pytest.raises(NotSupportedError):
            client.generate_key("rsa", templates.rsa_signing())


def _generates(client: Client) -> bool:
    try:
        client.generate_key("key", templates.ecdsa_p256())
    except ServiceError:
        return False
    return True


def others_serve(service: Service) -> None:
    with service.client(provider=SOFTWARE) as client:
        client.generate_key("software", templates.ecdsa_p256())
        client.sign_hash("software", ECDSA, DIGEST)
        client.destroy_key("software")


@contextmanager
def out_of_reach(status: ResponseStatus) -> Iterator[None]:
    with pytest.raises(ServiceError) as raised:
        yield
    assert raised.value.status == status


def test_it_starts_without_its_element_and_finds_it_later(running: ElementService) -> None:
    service = running.service
    service.end()
    running.take_away()
    running.start()
    assert "secure element i2c-1-c0: not available: Info ended with ATCA_" in service.log()
    with service.client() as client:
        assert not client.can_do_crypto(CheckType.GENERATE, templates.ecdsa_p256())
        with out_of_reach(ResponseStatus.PSA_ERROR_HARDWARE_FAILURE):
            client.generate_key("key", templates.ecdsa_p256())
        others_serve(service)
        running.put_back()
        wait_until(partial(_generates, client), "the element is found")
        assert client.can_do_crypto(CheckType.GENERATE, templates.ecdsa_p256())
        check_signature(service, client.export_public_key("key"))


def test_another_element_in_its_place_is_not_taken_for_it(running: ElementService) -> None:
    service = running.service
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
    service.end()
    running.exchange()
    running.start()
    reason = "the stored keys are in the element 0123456789abcdefee, and this is 0123456789abcd00ee"
    assert f"secure element i2c-1-c0: not available: {reason}" in service.log()
    with service.client() as client:
        with out_of_reach(ResponseStatus.PSA_ERROR_COMMUNICATION_FAILURE):
            client.generate_key("other", templates.ecdsa_p256())
        with out_of_reach(ResponseStatus.PSA_ERROR_COMMUNICATION_FAILURE):
            client.sign_hash("key", ECDSA, DIGEST)
        assert [key.name for key in client.list_keys()] == ["key"]
    others_serve(service)
