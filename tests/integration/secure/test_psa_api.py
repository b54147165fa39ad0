"""The PSA functional API over real partitions: processes, shared memory, chained calls."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeroot.evidence.psa_claims import Profile
from edgeroot.evidence.psa_token import read_token
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyType, PsaError, PsaStatus, UsageFlags
from edgeroot.secure.bridge.build import build_bridge
from edgeroot.tee.psa import FwuComponentState, HashOperation, PsaClient, PsaKeyAttributes
from edgeroot.tee.psa.calls import BUFFER_BYTES
from tests.support import psa_walk
from tests.support.clients import wait_until
from tests.support.requirements import unavailable
from tests.support.world import World, running_world

ECDSA = Algorithm.ecdsa(Hash.SHA_256)
SHA_256 = Algorithm.from_hash(Hash.SHA_256)
SIGNING_KEY = PsaKeyAttributes(KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, UsageFlags.SIGN_HASH, ECDSA)
WRITE_ONCE = 1
LONG = bytes(range(256)) * 512


@pytest.fixture(scope="module")
def world() -> Iterator[World]:

    with running_world() as running:
        yield running


@pytest.fixture
def client(world: World) -> Iterator[PsaClient]:
    with world.transport() as transport, PsaClient(transport) as one:
        one.psa_crypto_init()
        yield one


def restart_crypto(world: World) -> None:
    """Kill the partition, and wait for the next one: the manager takes a moment to notice."""
    pid = world.partition("crypto")["pid"]
    world.kill_partition("crypto")

    def is_back() -> bool:
        partition = world.partition("crypto")
        return bool(partition["pid"] != pid and partition["state"] == "ready")

    wait_until(is_back, "the partition runs again")


def status_of(call: Callable[..., object], *arguments: object) -> PsaStatus:
    with pytest.raises(PsaError) as caught:
        call(*arguments)
    return caught.value.status


def test_a_key_is_used_and_never_taken_out(client: PsaClient) -> None:
    key = client.psa_generate_key(SIGNING_KEY)
    digest = hashlib.sha256(b"message").digest()
    signature = client.psa_sign_hash(key, ECDSA, digest)
    assert status_of(client.psa_verify_hash, key, ECDSA, digest, signature) is PsaStatus.NOT_PERMITTED
    assert status_of(client.psa_export_key, key) is PsaStatus.NOT_PERMITTED
    public = client.psa_import_key(
        PsaKeyAttributes(KeyType.ecc_public_key(EccFamily.SECP_R1), 0, UsageFlags.VERIFY_HASH, ECDSA),
        client.psa_export_public_key(key),
    )
    client.psa_verify_hash(public, ECDSA, digest, signature)
    assert status_of(client.psa_verify_hash, public, ECDSA, digest[::-1], signature) is PsaStatus.INVALID_SIGNATURE
    client.psa_destroy_key(key)
    client.psa_destroy_key(public)


def test_the_longest_message_that_is_signed(client: PsaClient) -> None:
    usage = UsageFlags.SIGN_MESSAGE | UsageFlags.VERIFY_MESSAGE
    key = client.psa_generate_key(PsaKeyAttributes(SIGNING_KEY.type, 256, usage, ECDSA))
    client.psa_verify_message(key, ECDSA, LONG[:65535], client.psa_sign_message(key, ECDSA, LONG[:65535]))
    assert status_of(client.psa_sign_message, key, ECDSA, LONG[:65536]) is PsaStatus.NOT_SUPPORTED
    client.psa_destroy_key(key)


def test_a_persistent_key_outlives_the_client_and_the_partition(world: World) -> None:
    attributes = PsaKeyAttributes(KeyType.AES, 128, UsageFlags.ENCRYPT | UsageFlags.DECRYPT, Algorithm.CTR)
    attributes.psa_set_key_id(1234)
    with world.transport() as transport, PsaClient(transport) as one:
        one.psa_crypto_init()
        one.psa_generate_key(attributes)
        sealed = one.psa_cipher_encrypt(1234, Algorithm.CTR, LONG)
    restart_crypto(world)
    with world.transport() as transport, PsaClient(transport) as other:
        other.psa_crypto_init()
        assert other.psa_cipher_decrypt(1234, Algorithm.CTR, sealed) == LONG
        other.psa_destroy_key(1234)


def test_an_operation_of_a_partition_that_has_died_is_over_and_the_next_one_works(world: World) -> None:
    with world.transport() as transport, PsaClient(transport) as client:
        client.psa_crypto_init()
        operation = HashOperation()
        client.psa_hash_setup(operation, SHA_256)
        other = HashOperation()
        client.psa_hash_setup(other, SHA_256)
        restart_crypto(world)
        with pytest.raises(PsaError):
            client.psa_hash_update(operation, b"data")
        assert not operation.is_active
        client.psa_hash_abort(operation)
        fresh = HashOperation()
        client.psa_hash_setup(fresh, SHA_256)
        assert status_of(client.psa_hash_update, other, b"into another's hash") is PsaStatus.BAD_STATE
        assert status_of(client.psa_hash_clone, other, operation) is PsaStatus.BAD_STATE
        client.psa_hash_abort(other)  # which must not abort the fresh one
        assert client.psa_hash_finish(fresh) == hashlib.sha256().digest()
        assert client.psa_hash_compute(SHA_256, LONG) == hashlib.sha256(LONG).digest()


def test_storage(client: PsaClient) -> None:
    client.psa_its_set(1, b"small")
    client.psa_ps_set(1, b"other")
    assert client.psa_its_get(1, 0, 100) == b"small"
    assert client.psa_its_get(1, 2, 2) == b"al"
    assert client.psa_ps_get(1, 0, 5) == b"other"
    assert tuple(client.psa_its_get_info(1)) == (5, 5, 0)
    assert status_of(client.psa_its_get, 1, 6, 1) is PsaStatus.INVALID_ARGUMENT
    assert status_of(client.psa_its_set, 0, b"") is PsaStatus.INVALID_ARGUMENT
    client.psa_its_remove(1)
    client.psa_ps_remove(1)
    assert status_of(client.psa_its_get, 1, 0, 1) is PsaStatus.DOES_NOT_EXIST
    assert status_of(client.psa_ps_get_info, 1) is PsaStatus.DOES_NOT_EXIST
    client.psa_ps_set(2**63 + 7, b"for ever", WRITE_ONCE)
    assert status_of(client.psa_ps_set, 2**63 + 7, b"") is PsaStatus.NOT_PERMITTED
    assert status_of(client.psa_ps_remove, 2**63 + 7) is PsaStatus.NOT_PERMITTED


def test_an_object_longer_than_a_call_is_written_in_parts(client: PsaClient) -> None:
    assert client.psa_ps_get_support() == 1
    assert status_of(client.psa_ps_set, 5, LONG) is PsaStatus.INSUFFICIENT_STORAGE
    client.psa_ps_create(5, 70000)
    client.psa_ps_set_extended(5, 0, LONG[:70000])
    assert tuple(client.psa_ps_get_info(5)) == (70000, 70000, 0)
    assert client.psa_ps_get(5, 0, 70000) == LONG[:70000]
    assert client.psa_ps_get(5, 69999, 100) == LONG[69999:70000]
    assert status_of(client.psa_ps_set_extended, 5, 69999, b"12") is PsaStatus.INVALID_ARGUMENT
    assert status_of(client.psa_ps_set_extended, 5, 1, LONG[:70000]) is PsaStatus.INVALID_ARGUMENT
    assert client.psa_ps_get(5, 0, 70000) == LONG[:70000]
    client.psa_ps_remove(5)


@pytest.mark.parametrize("size", [32, 48, 64])
def test_a_token_of_the_caller(client: PsaClient, size: int) -> None:
    challenge = bytes(range(size))
    token = client.psa_initial_attest_get_token(challenge)
    assert len(token) <= client.psa_initial_attest_get_token_size(size)
    read = read_token(token)
    assert (read.profile, read.claims.nonce) == (Profile.RFC9783, challenge)
    assert read.claims.client_id < 0


def test_other_challenges_are_refused(client: PsaClient) -> None:
    for size in (0, 31, 33, 65):
        assert status_of(client.psa_initial_attest_get_token, bytes(size)) is PsaStatus.INVALID_ARGUMENT
        assert status_of(client.psa_initial_attest_get_token_size, size) is PsaStatus.INVALID_ARGUMENT
    token = client.psa_initial_attest_get_token(bytes(32))
    with pytest.raises(PsaError, match="BUFFER_TOO_SMALL"):
        client.psa_initial_attest_get_token(bytes(32), token_buf_size=len(token) - 1)
    assert len(client.psa_initial_attest_get_token(bytes(32), token_buf_size=len(token))) == len(token)


@pytest.mark.parametrize("buffer_bytes", [4096, BUFFER_BYTES])
def test_every_family_over_the_emulated_channels(world: World, buffer_bytes: int) -> None:
    with world.transport() as transport, PsaClient(transport, buffer_bytes=buffer_bytes) as one:
        assert list(psa_walk.walk(one)) == psa_walk.EXPECTED


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        unavailable("this needs a C compiler")
    return build_bridge(tmp_path_factory.mktemp("bridge") / "teebridge.so")


@pytest.mark.parametrize("buffer_bytes", [4096, BUFFER_BYTES])
def test_every_family_over_linuxs_driver(world: World, bridge: Path, buffer_bytes: int) -> None:
    """The driver's own calls, which the bridge answers from the same world."""
    environment = os.environ | {"LD_PRELOAD": str(bridge), "EDGEROOT_SECURE_WORLD": str(world.socket)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.psa_walk", str(buffer_bytes)],
        env=environment,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (psa_walk.EXPECTED, "", 0)


def test_firmware_is_installed_tried_and_accepted(world: World) -> None:
    firmware = os.urandom(300_000)
    with world.transport() as transport, PsaClient(transport) as client:
        assert client.psa_fwu_query(0).state is FwuComponentState.READY
        client.psa_fwu_start(0)
        client.psa_fwu_write(0, 0, firmware)
        client.psa_fwu_finish(0)
        client.psa_fwu_install()
        assert client.psa_fwu_query(0).state is FwuComponentState.STAGED
    world.stop()
    world.start()
    with world.transport() as transport, PsaClient(transport) as client:
        assert client.psa_fwu_query(0).state is FwuComponentState.TRIAL
        client.psa_fwu_accept()
    with world.transport() as transport, PsaClient(transport) as client:
        assert client.psa_fwu_query(0).state is FwuComponentState.READY
    assert firmware in (world.state / "flash" / "flash").read_bytes()
