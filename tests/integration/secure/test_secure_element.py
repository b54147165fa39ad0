"""A service's keys in a secure element that is reached from within the secure world only."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from edgeroot.client import templates
from edgeroot.client.errors import NotSupportedError, ServiceError
from edgeroot.wire.operations import CheckType
from edgeroot.wire.status import ResponseStatus
from tests.fault.test_secure_world_kills import all_ready, strike_partition
from tests.support.clients import DIGEST, ECDSA, wait_until
from tests.support.element_world import ROOT, part_in, settings_file
from tests.support.requirements import require_root
from tests.support.service import Service, running_service
from tests.support.world import World, running_world, with_world

SLOTS = 14
MANAGER = ("-m", "tests.support.element_world")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    require_root("look into the partitions' folders")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with settings_file() as path, running_world("--secure-element", str(path), manager=MANAGER) as made:
        yield made


@pytest.fixture
def service(world: World) -> Iterator[Service]:
    with running_service(provider=with_world(world) + 'key_location = "secure-element"\n') as made:
        yield made


def listed(world: World) -> set[int]:
    """The slots that are taken."""
    (path,) = (world.state / "partitions" / "crypto").glob("*-slots")
    return {int(slot) for slot in json.loads(path.read_text())["slots"]}


def check_signature(service: Service, name: str) -> None:
    """Signed in the element, verified by the package `cryptography`."""
    with service.client() as client:
        signature, point = client.sign_hash(name, ECDSA, DIGEST), client.export_public_key(name)
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    public.verify(encode_dss_signature(r, s), DIGEST, ec.ECDSA(Prehashed(SHA256())))


def test_a_key_signs_and_its_private_part_is_in_the_element_only(world: World, service: Service) -> None:
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
    check_signature(service, "key")
    (slot,) = listed(world)
    private = part_in(world.state).zones.read_slot(slot)[4:36]
    assert any(private)
    element = world.state / "partitions" / "crypto"
    for path in [*world.state.rglob("*"), *service.folder.rglob("*")]:
        if path.is_file() and path.parent != element:
            assert private not in path.read_bytes(), path
    assert sorted(path.name for path in element.iterdir() if private in path.read_bytes()) == ["atecc608a"]
    with service.client() as client:
        client.destroy_key("key")
    assert listed(world) == set()
    assert part_in(world.state).zones.read_slot(slot)[4:36] != private


def test_it_offers_what_the_element_has(service: Service) -> None:
    with service.client() as client:
        assert client.can_do_crypto(CheckType.GENERATE, templates.ecdsa_p256())
        assert not client.can_do_crypto(CheckType.GENERATE, templates.rsa_signing())
        with pytest.raises(NotSupportedError):
            client.generate_key("rsa", templates.rsa_signing())
        for number in range(SLOTS):
            client.generate_key(f"key-{number}", templates.ecdsa_p256())
        with pytest.raises(ServiceError) as raised:
            client.generate_key("one-too-many", templates.ecdsa_p256())
        assert raised.value.status == ResponseStatus.PSA_ERROR_INSUFFICIENT_STORAGE
        client.destroy_key("key-7")
        client.generate_key("one-more", templates.ecdsa_p256())


def test_keys_outlive_the_secure_world(world: World, service: Service) -> None:
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
    strike_partition(world, "crypto", random.Random(1))
    wait_until(lambda: all_ready(world), "all partitions run")
    wait_until(lambda: _signs(service), "the key is of use again")
    check_signature(service, "key")


def _signs(service: Service) -> bool:
    try:
        check_signature(service, "key")
    except ServiceError:
        return False
    return True


@pytest.mark.timeout(300)
def test_a_partition_that_is_killed_while_it_makes_and_destroys_keys_leaves_no_slot_taken(
    world: World, service: Service, rounds: int, rng: random.Random
) -> None:
    for number in range(max(3, rounds // 4)):
        child = os.fork()
        if child == 0:
            _churn(service, number)
        wait_until(lambda: bool(_listed_now(world)), "the first key is made")
        wait_until(lambda: rng.random() < 0.05, "some moment")
        strike_partition(world, "crypto", rng)
        os.kill(child, signal.SIGKILL)  # it may have met nothing but a pause
        os.waitpid(child, 0)
        wait_until(lambda: all_ready(world), "all partitions run")
        service.end()
        service.start()
        with service.client() as client:
            for key in client.list_keys():
                client.destroy_key(key.name)
            for slot in range(SLOTS):
                client.generate_key(f"slot-{slot}", templates.ecdsa_p256())
            for slot in range(SLOTS):
                client.destroy_key(f"slot-{slot}")
        assert listed(world) == set()


def _listed_now(world: World) -> set[int]:
    try:
        return listed(world)
    except (ValueError, OSError):
        return set()


def _churn(service: Service, number: int) -> None:
    """Until the service says that something is wrong, or longer than anybody waits."""
    try:
        with service.client() as client:
            for count in range(10_000):
                client.generate_key(f"churn-{number}-{count}", templates.ecdsa_p256())
                client.destroy_key(f"churn-{number}-{count}")
    finally:
        os._exit(0)


def test_no_other_partition_is_given_anything_of_it(world: World) -> None:
    """Of the partitions only crypto has a folder for its slots, and the part's memory in it."""
    folders = {path.name: path for path in (world.state / "partitions").iterdir()}
    assert (folders["crypto"] / "atecc608a").exists()
    owners = {name: path.stat().st_uid for name, path in folders.items()}
    assert len(set(owners.values())) == len(owners)
    assert Path(folders["crypto"]).stat().st_mode & 0o777 == 0o700
