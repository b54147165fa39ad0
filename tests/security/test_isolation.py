"""Who can reach whose keys: attempts across users, across authenticators, and by names made to be mistaken."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

import pytest

from edgeroot.client import templates
from edgeroot.psa import Algorithm, Hash
from edgeroot.wire import operations as ops
from edgeroot.wire.codec import decode_result, encode_operation
from edgeroot.wire.framing import encode_request
from edgeroot.wire.opcodes import BY_OPERATION, SPECS
from edgeroot.wire.operations import AuthType
from edgeroot.wire.status import ResponseStatus as Status
from tests.interop.raw_socket import answer
from tests.support.clients import ALICE, BOB, as_user
from tests.support.service import Service, running_service

ES256 = Algorithm.ecdsa(Hash.SHA_256)
BOTH = """\
[[authenticator]]
auth_type = "UnixPeerCredentials"
admins = [{ name = "0" }]
[[authenticator]]
auth_type = "Direct"
"""
EXPORTABLE = templates.ecdsa_p256(exportable=True)
DIRECT = AuthType.DIRECT
UNIX = AuthType.UNIX_PEER_CREDENTIALS


@pytest.fixture(scope="module")
def both() -> Iterator[Service]:
    """One socket for both authenticators; user 0 is an admin."""
    with running_service(authenticator=BOTH) as service:
        yield service


def say(
    service: Service, operation: ops.Operation, auth_type: AuthType, auth: bytes
) -> tuple[Status, ops.Result | None]:
    """Ask with these credentials, whoever we are."""
    spec = BY_OPERATION[type(operation)]
    body = encode_operation(operation)
    provider = 0 if spec.core else 1
    data = encode_request(opcode=spec.opcode, provider=provider, body=body, auth_type=auth_type, auth=auth)
    response = answer(service.socket_path, data)
    return response.status, decode_result(spec.opcode, response.body) if response.status is Status.SUCCESS else None


def uid(number: int) -> bytes:
    return struct.pack("<I", number)


def as_unix(service: Service, user: int, operation: ops.Operation) -> tuple[Status, ops.Result | None]:
    return as_user(user, lambda: say(service, operation, UNIX, uid(user)))


def direct(service: Service, name: str, operation: ops.Operation) -> tuple[Status, ops.Result | None]:
    return say(service, operation, DIRECT, name.encode())


def names(listed: tuple[Status, ops.Result | None]) -> list[str]:
    status, result = listed
    assert status is Status.SUCCESS
    assert isinstance(result, ops.ListKeysResult)
    return [key.name for key in result.keys]


def uses_of(key_name: str) -> list[ops.Operation]:
    """Every operation that takes an existing key."""
    return [
        ops.PsaSignHash(key_name, ES256, bytes(32)),
        ops.PsaVerifyHash(key_name, ES256, bytes(32), bytes(64)),
        ops.PsaSignMessage(key_name, ES256, b"m"),
        ops.PsaVerifyMessage(key_name, ES256, b"m", bytes(64)),
        ops.PsaAsymmetricEncrypt(key_name, Algorithm.RSA_PKCS1V15_CRYPT, b"p"),
        ops.PsaAsymmetricDecrypt(key_name, Algorithm.RSA_PKCS1V15_CRYPT, b"c"),
        ops.PsaAeadEncrypt(key_name, Algorithm.GCM, bytes(12), b"", b"p"),
        ops.PsaAeadDecrypt(key_name, Algorithm.GCM, bytes(12), b"", bytes(20)),
        ops.PsaCipherEncrypt(key_name, Algorithm.CTR, b"p"),
        ops.PsaCipherDecrypt(key_name, Algorithm.CTR, bytes(20)),
        ops.PsaMacCompute(key_name, Algorithm.CMAC, b"i"),
        ops.PsaMacVerify(key_name, Algorithm.CMAC, b"i", bytes(16)),
        ops.PsaRawKeyAgreement(Algorithm.ECDH, key_name, bytes(65)),
        ops.PsaExportKey(key_name),
        ops.PsaExportPublicKey(key_name),
        ops.PsaDestroyKey(key_name),
    ]


def test_every_use_of_a_key_is_tried_here() -> None:
    with_a_key = {
        spec.operation
        for spec in SPECS.values()
        if {"key_name", "private_key_name"} & set(getattr(spec.operation, "__slots__", ()))
    }
    # Only a TPM certifies keys; that it does so for nobody but their owner is tried with its evidence.
    elsewhere = {ops.PsaGenerateKey, ops.PsaImportKey, ops.KeyStatement}
    assert {type(use) for use in uses_of("k")} == with_a_key - elsewhere


@pytest.mark.usefixtures("as_root")
def test_keys_of_another_user_do_not_exist(both: Service) -> None:
    assert as_unix(both, ALICE, ops.PsaGenerateKey("hers", EXPORTABLE))[0] is Status.SUCCESS
    for use in uses_of("hers"):
        status, _ = as_unix(both, BOB, use)
        assert status is Status.PSA_ERROR_DOES_NOT_EXIST, use
    assert names(as_unix(both, BOB, ops.ListKeys())) == []
    # Nor is her name taken for him, and his key of that name is another.
    assert as_unix(both, BOB, ops.PsaGenerateKey("hers", EXPORTABLE))[0] is Status.SUCCESS
    assert as_unix(both, BOB, ops.PsaExportPublicKey("hers")) != as_unix(both, ALICE, ops.PsaExportPublicKey("hers"))
    assert as_unix(both, BOB, ops.PsaDestroyKey("hers"))[0] is Status.SUCCESS
    assert as_unix(both, ALICE, ops.PsaSignHash("hers", ES256, bytes(32)))[0] is Status.SUCCESS
    assert as_unix(both, ALICE, ops.PsaDestroyKey("hers"))[0] is Status.SUCCESS


@pytest.mark.usefixtures("as_root")
def test_claiming_to_be_another_user_is_refused_in_every_operation(both: Service) -> None:
    attempts: list[ops.Operation] = [*uses_of("k"), ops.Ping(), ops.ListKeys(), ops.ListClients(), ops.DeleteClient("")]

    def try_all() -> set[Status]:
        return {say(both, attempt, UNIX, uid(claimed))[0] for attempt in attempts for claimed in (0, ALICE, 2**32 - 1)}

    assert as_user(BOB, try_all) == {Status.AUTHENTICATION_ERROR}
    # Root is nobody else either.
    assert say(both, ops.ListKeys(), UNIX, uid(ALICE))[0] is Status.AUTHENTICATION_ERROR


@pytest.mark.usefixtures("as_root")
def test_equal_names_under_two_authenticators_are_two_applications(both: Service) -> None:
    assert as_unix(both, ALICE, ops.PsaGenerateKey("mine", EXPORTABLE))[0] is Status.SUCCESS
    for use in uses_of("mine"):
        assert direct(both, str(ALICE), use)[0] is Status.PSA_ERROR_DOES_NOT_EXIST, use
    assert names(direct(both, str(ALICE), ops.ListKeys())) == []
    assert direct(both, str(ALICE), ops.PsaGenerateKey("other", EXPORTABLE))[0] is Status.SUCCESS
    assert names(as_unix(both, ALICE, ops.ListKeys())) == ["mine"]
    assert direct(both, str(ALICE), ops.PsaDestroyKey("other"))[0] is Status.SUCCESS
    assert as_unix(both, ALICE, ops.PsaDestroyKey("mine"))[0] is Status.SUCCESS


@pytest.mark.usefixtures("as_root")
def test_admins_are_admins_under_their_own_authenticator_only(both: Service) -> None:
    for name in ("0", "00", " 0", "0\0", "root"):
        assert direct(both, name, ops.ListClients())[0] is Status.ADMIN_OPERATION
        assert direct(both, name, ops.DeleteClient("x"))[0] is Status.ADMIN_OPERATION
    assert as_unix(both, ALICE, ops.ListClients())[0] is Status.ADMIN_OPERATION
    assert say(both, ops.ListClients(), UNIX, uid(0))[0] is Status.SUCCESS
    assert say(both, ops.ListClients(), AuthType.NO_AUTH, uid(0))[0] is Status.NOT_AUTHENTICATED


@pytest.mark.usefixtures("as_root")
def test_what_an_admin_can_do(both: Service) -> None:
    admin = uid(0)
    assert as_unix(both, ALICE, ops.PsaGenerateKey("k", EXPORTABLE))[0] is Status.SUCCESS
    assert as_unix(both, BOB, ops.PsaGenerateKey("k", EXPORTABLE))[0] is Status.SUCCESS
    assert direct(both, str(ALICE), ops.PsaGenerateKey("k", EXPORTABLE))[0] is Status.SUCCESS
    for use in uses_of("k"):
        assert say(both, use, UNIX, admin)[0] is Status.PSA_ERROR_DOES_NOT_EXIST
    for _ in range(8):  # so that each worker has the key in its cache
        assert as_unix(both, ALICE, ops.PsaSignHash("k", ES256, bytes(32)))[0] is Status.SUCCESS
    listed = say(both, ops.ListClients(), UNIX, admin)[1]
    assert isinstance(listed, ops.ListClientsResult)
    assert listed.clients == (str(ALICE), str(BOB))
    # Destroying a client reaches its keys, not a namesake's under another authenticator, nor anybody else's.
    assert say(both, ops.DeleteClient("nobody"), UNIX, admin)[0] is Status.SUCCESS
    assert say(both, ops.DeleteClient(str(ALICE)), UNIX, admin)[0] is Status.SUCCESS
    assert names(as_unix(both, ALICE, ops.ListKeys())) == []
    for _ in range(8):
        assert as_unix(both, ALICE, ops.PsaSignHash("k", ES256, bytes(32)))[0] is Status.PSA_ERROR_DOES_NOT_EXIST
    assert names(as_unix(both, BOB, ops.ListKeys())) == ["k"]
    assert names(direct(both, str(ALICE), ops.ListKeys())) == ["k"]
    assert as_unix(both, BOB, ops.PsaDestroyKey("k"))[0] is Status.SUCCESS
    assert direct(both, str(ALICE), ops.PsaDestroyKey("k"))[0] is Status.SUCCESS


# Names that something on the way to the store might take for one another.
LOOK_ALIKES = [
    "app", "App", "app ", " app", "app\0", "app\0key", "app/", "app%", "app_", "%", "_", "*", "'; --", "../app", ".",
    "\u00e9", "e\u0301", "\ufeffapp", "\u202eppa", "\U0001f511", "a" * 5000, "a" * 5001,
]  # fmt: skip


def test_names_are_compared_as_they_are_spelt(both: Service) -> None:
    for application in LOOK_ALIKES:
        assert direct(both, application, ops.PsaGenerateKey("key", EXPORTABLE))[0] is Status.SUCCESS, application
    public_keys = {str(direct(both, application, ops.PsaExportPublicKey("key"))[1]) for application in LOOK_ALIKES}
    assert len(public_keys) == len(LOOK_ALIKES)
    for number, application in enumerate(LOOK_ALIKES):
        assert direct(both, application, ops.PsaDestroyKey("key"))[0] is Status.SUCCESS
        for other in LOOK_ALIKES[number + 1 :]:
            assert names(direct(both, other, ops.ListKeys())) == ["key"]


def test_key_names_are_compared_as_they_are_spelt(both: Service) -> None:
    key_names = ["", *LOOK_ALIKES]
    for key_name in key_names:
        assert direct(both, "client", ops.PsaGenerateKey(key_name, EXPORTABLE))[0] is Status.SUCCESS, key_name
    assert sorted(names(direct(both, "client", ops.ListKeys()))) == sorted(key_names)
    for key_name in key_names:
        assert direct(both, "client", ops.PsaDestroyKey(key_name))[0] is Status.SUCCESS
        assert direct(both, "client", ops.PsaExportKey(key_name))[0] is Status.PSA_ERROR_DOES_NOT_EXIST
    assert names(direct(both, "client", ops.ListKeys())) == []


def test_application_and_key_name_do_not_run_together(both: Service) -> None:
    assert direct(both, "ab", ops.PsaGenerateKey("c", EXPORTABLE))[0] is Status.SUCCESS
    for application, key_name in (("a", "bc"), ("abc", ""), ("ab\0c", ""), ("a", "b\0c")):
        assert direct(both, application, ops.PsaExportKey(key_name))[0] is Status.PSA_ERROR_DOES_NOT_EXIST
    assert direct(both, "ab", ops.PsaDestroyKey("c"))[0] is Status.SUCCESS


def listed_authenticators(service: Service) -> list[int]:
    listed = say(service, ops.ListAuthenticators(), AuthType.NO_AUTH, b"")[1]
    assert isinstance(listed, ops.ListAuthenticatorsResult)
    return [one.id for one in listed.authenticators]


def test_listener_accepts_its_own_authenticators_only() -> None:
    with running_service(authenticator=BOTH, listener='authenticators = ["UnixPeerCredentials"]') as service:
        assert direct(service, "app", ops.ListKeys())[0] is Status.AUTHENTICATOR_NOT_REGISTERED
        assert direct(service, "app", ops.Ping())[0] is Status.AUTHENTICATOR_NOT_REGISTERED


@pytest.mark.parametrize("accepted", [["Direct"], ["UnixPeerCredentials"], ["Direct", "UnixPeerCredentials"]])
def test_listener_names_the_authenticators_that_it_accepts_and_a_client_finds_its_own(accepted: list[str]) -> None:
    """Upstream's clients take the first that they know, and would be refused with one from another listener."""
    numbers = {"UnixPeerCredentials": UNIX, "Direct": DIRECT}
    with running_service(authenticator=BOTH, listener=f"authenticators = {json.dumps(accepted)}") as service:
        assert listed_authenticators(service) == [number for name, number in numbers.items() if name in accepted]
        with service.client(app_name="app") as client:
            assert client.list_keys() == ()
