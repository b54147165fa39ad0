"""A service whose keys are behind /dev/tee0: one host owns the device, behind which the bridge has emulated partitions.

No Arm hardware is here; what is before the kernel's interface is what runs on it.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from edgeroot.client import Client, templates
from edgeroot.client.errors import AlreadyExistsError, DoesNotExistError, ServiceError
from edgeroot.psa import Algorithm, Hash
from edgeroot.secure.bridge.build import build_bridge
from tests.fault.test_secure_world_kills import all_ready, strike_partition
from tests.support.clients import DIGEST, ECDSA, wait_until
from tests.support.requirements import require_root
from tests.support.service import Service, running_service
from tests.support.world import World, running_world

DEVICE = '[[provider]]\nprovider_type = "TrustedService"\nkey_info_manager = "kim"\ntransport = "device"\n'


@pytest.fixture
def world() -> Iterator[World]:
    with running_world() as made:
        yield made


@pytest.fixture
def bridged(world: World, tmp_path: Path) -> dict[str, str]:
    """The environment of a process that finds the world behind /dev/tee0."""
    bridge = build_bridge(tmp_path / "libteebridge.so")
    return {"LD_PRELOAD": str(bridge), "EDGEROOT_SECURE_WORLD": str(world.socket)}


@pytest.fixture
def service(bridged: dict[str, str]) -> Iterator[Service]:
    with running_service(provider=DEVICE, start=False) as made:
        made.start(environment=bridged)
        yield made


def check_signature(client: Client, name: str) -> None:
    signature, point = client.sign_hash(name, ECDSA, DIGEST), client.export_public_key(name)
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    public.verify(encode_dss_signature(r, s), DIGEST, ec.ECDSA(Prehashed(SHA256())))


def test_a_service_with_its_keys_behind_a_device(service: Service, bridged: dict[str, str]) -> None:
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
        check_signature(client, "key")
        client.generate_key("aes", templates.aes_gcm())
        sealed = client.aead_encrypt("aes", Algorithm.GCM, bytes(12), b"head", b"text")
        assert client.aead_decrypt("aes", Algorithm.GCM, bytes(12), b"head", sealed) == b"text"
        assert client.hash_compute(Hash.SHA_256, b"text") == sha256(b"text").digest()
        with pytest.raises(AlreadyExistsError):
            client.generate_key("key", templates.ecdsa_p256())
    service.end()
    service.start(environment=bridged)
    with service.client() as client:
        assert [key.name for key in client.list_keys()] == ["aes", "key"]
        check_signature(client, "key")
        for name in ("aes", "key"):
            client.destroy_key(name)
        with pytest.raises(DoesNotExistError):
            client.sign_hash("key", ECDSA, DIGEST)


def test_its_keys_outlive_the_partition_and_the_host(service: Service, world: World, rng: random.Random) -> None:
    require_root("kill processes of other users")
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())

    def signs() -> bool:
        try:
            with service.client() as client:
                check_signature(client, "key")
        except ServiceError:
            return False
        return True

    strike_partition(world, "crypto", rng)
    wait_until(lambda: all_ready(world), "all partitions run")
    wait_until(signs, "the key is of use again")
    (host,) = service.children("host")
    os.kill(host, signal.SIGKILL)
    wait_until(lambda: service.children("host") not in ([], [host]), "another host runs")
    wait_until(signs, "the key is of use again")
