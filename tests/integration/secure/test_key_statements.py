"""What the secure world says of a workload's keys: client, service and a real emulated secure world."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from edgeroot.abi.key_statement import INSPECT_KEY, InspectKeyRequest
from edgeroot.abi.services import KEY_INSPECTION
from edgeroot.client import Client, templates
from edgeroot.client.errors import DoesNotExistError, InvalidArgumentError, NotSupportedError
from edgeroot.evidence import read_token, verify_key_statement
from edgeroot.psa import KeyOrigin, PsaStatus
from edgeroot.tee.transports.emulated import EmulatedTransport
from edgeroot.wire.opcodes import Opcode
from tests.support.clients import as_user
from tests.support.requirements import require_root
from tests.support.service import SOFTWARE_PROVIDER, Service, running_service
from tests.support.world import World, running_world, with_world

SOFTWARE, TRUSTED_SERVICES = 1, 4
CHALLENGE = os.urandom(64)
_OTHER_UID = 60311


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_world() as running:
        yield running


@pytest.fixture(scope="module")
def service(world: World) -> Iterator[Service]:
    with running_service(provider=SOFTWARE_PROVIDER + with_world(world)) as one:
        yield one


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with service.client(provider=TRUSTED_SERVICES) as client:
        yield client
        for key in client.list_keys():
            client.destroy_key(key.name)


def told(world: World, *options: str) -> str:
    command = [sys.executable, "-m", "edgeroot", *options, "secure-world", "attestation-key"]
    environment = {**os.environ, "EDGEROOT_SECURE_WORLD": str(world.socket)}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def iak(world: World) -> ec.EllipticCurvePublicKey:
    """What a verifier was told of this device."""
    key = load_pem_public_key(told(world).encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def test_the_attestation_key_says_which_device_it_is(world: World, client: Client) -> None:
    shown = json.loads(told(world, "--json"))
    assert shown["attestation_key_pem"] == told(world)
    claims = read_token(client.attestation_token(CHALLENGE)).claims
    assert claims.instance_id.hex() == shown["instance_id_hex"]


def test_a_certificate_request_can_be_trusted(client: Client, iak: ec.EllipticCurvePublicKey) -> None:
    client.generate_key("device", templates.ecdsa_p256())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "device")])
    key = client.private_key("device")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    statement = verify_key_statement(client.key_statement("device", CHALLENGE), iak, challenge=CHALLENGE)
    asked = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert statement.key.subject_public_key_info() == asked
    assert statement.key.never_left
    assert statement.key.attributes == client.key_attributes("device")
    assert statement.token.claims.client_id < 0  # of the normal world


def test_keys_that_others_may_have_are_told_apart(client: Client, iak: ec.EllipticCurvePublicKey) -> None:
    mine = ec.generate_private_key(ec.SECP256R1())
    client.import_key("brought", templates.ecdsa_p256(), mine.private_numbers().private_value.to_bytes(32))
    statement = verify_key_statement(client.key_statement("brought", CHALLENGE), iak, challenge=CHALLENGE)
    assert statement.key.origin is KeyOrigin.IMPORTED
    assert not statement.key.never_left


def test_only_the_owner_gets_a_statement(service: Service, client: Client) -> None:
    require_root("be another user")
    client.generate_key("device", templates.ecdsa_p256())

    def other() -> str:
        with service.client(provider=TRUSTED_SERVICES) as stranger:
            try:
                stranger.key_statement("device", CHALLENGE)
            except DoesNotExistError:
                return "unknown"
        return "stated"

    assert as_user(_OTHER_UID, other) == "unknown"


@pytest.mark.parametrize("size_bytes", [0, 31, 65])
def test_a_challenge_of_another_size(client: Client, size_bytes: int) -> None:
    client.generate_key("device", templates.ecdsa_p256())
    with pytest.raises(InvalidArgumentError):
        client.key_statement("device", bytes(size_bytes))


def test_keys_outside_the_secure_world_have_none(service: Service, client: Client) -> None:
    assert Opcode.KEY_STATEMENT in client.list_opcodes(TRUSTED_SERVICES)
    assert Opcode.KEY_STATEMENT not in client.list_opcodes(SOFTWARE)
    with service.client(provider=SOFTWARE) as software:
        software.generate_key("device", templates.ecdsa_p256())
        with pytest.raises(NotSupportedError):
            software.key_statement("device", CHALLENGE)
        software.destroy_key("device")


def test_symmetric_keys_have_none(client: Client) -> None:
    client.generate_key("secret", templates.aes_gcm())
    with pytest.raises(InvalidArgumentError):
        client.key_statement("secret", CHALLENGE)


def test_the_service_itself_may_not_inspect_keys(world: World) -> None:
    """As whoever has taken the service over: it speaks to the crypto partition, and asks what its keys are called."""
    with EmulatedTransport(world.socket) as transport, transport.open_session(KEY_INSPECTION) as session:
        for source_id in (1, 0x8003):
            request = INSPECT_KEY.request.encode(InspectKeyRequest(source_id, 1))
            assert session.call(INSPECT_KEY.opcode, request) == (PsaStatus.NOT_PERMITTED, b"")


def test_a_statement_after_the_partitions_were_restarted(
    world: World, client: Client, iak: ec.EllipticCurvePublicKey
) -> None:
    client.generate_key("device", templates.ecdsa_p256())
    before = client.export_public_key("device")
    world.stop()
    world.start()
    statement = verify_key_statement(client.key_statement("device", CHALLENGE), iak, challenge=CHALLENGE)
    assert (statement.key.public_key, statement.key.origin) == (before, KeyOrigin.GENERATED)
