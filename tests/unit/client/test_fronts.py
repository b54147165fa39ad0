"""Both fronts offer the whole contract, and import little."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys

import pytest

from edgeroot.client import AsyncClient, Client
from edgeroot.client.core import Core
from edgeroot.client.transports.memory import AsyncMemoryTransport, MemoryTransport
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags
from edgeroot.testing.wire_simulator import WireSimulator, constant
from edgeroot.wire import operations as ops
from edgeroot.wire.opcodes import BY_OPERATION, Opcode
from edgeroot.wire.operations import CheckType, Operation

CALLS = sorted(name for name, member in vars(Core).items() if inspect.isgeneratorfunction(member) and name[0] != "_")
ATTRIBUTES = KeyAttributes(KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, UsageFlags.EXPORT, Algorithm.ECDSA_ANY)
SIGN, OAEP = Algorithm.ecdsa(Hash.SHA_256), Algorithm.rsa_oaep(Hash.SHA_256)
# Each call, what it is answered, what it must ask, and what it must give.
CONTRACT: list[tuple[str, tuple[object, ...], ops.Result, Operation, object]] = [
    ("ping", (), ops.PingResult(1, 0), ops.Ping(), (1, 0)),
    ("list_opcodes", (1,), ops.ListOpcodesResult((2, 3)), ops.ListOpcodes(1), frozenset({2, 3})),
    ("list_clients", (), ops.ListClientsResult(("a",)), ops.ListClients(), ("a",)),
    ("delete_client", ("a",), ops.Empty(), ops.DeleteClient("a"), None),
    ("list_keys", (), ops.ListKeysResult(()), ops.ListKeys(), ()),
    ("generate_key", ("k", ATTRIBUTES), ops.Empty(), ops.PsaGenerateKey("k", ATTRIBUTES), None),
    ("import_key", ("k", ATTRIBUTES, b"d"), ops.Empty(), ops.PsaImportKey("k", ATTRIBUTES, b"d"), None),
    ("destroy_key", ("k",), ops.Empty(), ops.PsaDestroyKey("k"), None),
    ("export_key", ("k",), ops.PsaExportKeyResult(b"d"), ops.PsaExportKey("k"), b"d"),
    ("export_public_key", ("k",), ops.PsaExportPublicKeyResult(b"d"), ops.PsaExportPublicKey("k"), b"d"),
    ("sign_hash", ("k", SIGN, b"h"), ops.PsaSignHashResult(b"s"), ops.PsaSignHash("k", SIGN, b"h"), b"s"),
    ("verify_hash", ("k", SIGN, b"h", b"s"), ops.Empty(), ops.PsaVerifyHash("k", SIGN, b"h", b"s"), None),
    ("sign_message", ("k", SIGN, b"m"), ops.PsaSignMessageResult(b"s"), ops.PsaSignMessage("k", SIGN, b"m"), b"s"),
    ("verify_message", ("k", SIGN, b"m", b"s"), ops.Empty(), ops.PsaVerifyMessage("k", SIGN, b"m", b"s"), None),
    (
        "asymmetric_encrypt",
        ("k", OAEP, b"p", b"l"),
        ops.PsaAsymmetricEncryptResult(b"c"),
        ops.PsaAsymmetricEncrypt("k", OAEP, b"p", b"l"),
        b"c",
    ),
    (
        "asymmetric_decrypt",
        ("k", OAEP, b"c", b"l"),
        ops.PsaAsymmetricDecryptResult(b"p"),
        ops.PsaAsymmetricDecrypt("k", OAEP, b"c", b"l"),
        b"p",
    ),
    (
        "aead_encrypt",
        ("k", Algorithm.GCM, b"n", b"a", b"p"),
        ops.PsaAeadEncryptResult(b"c"),
        ops.PsaAeadEncrypt("k", Algorithm.GCM, b"n", b"a", b"p"),
        b"c",
    ),
    (
        "aead_decrypt",
        ("k", Algorithm.GCM, b"n", b"a", b"c"),
        ops.PsaAeadDecryptResult(b"p"),
        ops.PsaAeadDecrypt("k", Algorithm.GCM, b"n", b"a", b"c"),
        b"p",
    ),
    (
        "cipher_encrypt",
        ("k", Algorithm.CTR, b"p"),
        ops.PsaCipherEncryptResult(b"c"),
        ops.PsaCipherEncrypt("k", Algorithm.CTR, b"p"),
        b"c",
    ),
    (
        "cipher_decrypt",
        ("k", Algorithm.CTR, b"c"),
        ops.PsaCipherDecryptResult(b"p"),
        ops.PsaCipherDecrypt("k", Algorithm.CTR, b"c"),
        b"p",
    ),
    (
        "mac_compute",
        ("k", Algorithm.CMAC, b"d"),
        ops.PsaMacComputeResult(b"m"),
        ops.PsaMacCompute("k", Algorithm.CMAC, b"d"),
        b"m",
    ),
    (
        "mac_verify",
        ("k", Algorithm.CMAC, b"d", b"m"),
        ops.Empty(),
        ops.PsaMacVerify("k", Algorithm.CMAC, b"d", b"m"),
        None,
    ),
    (
        "hash_compute",
        (Hash.SHA_256, b"d"),
        ops.PsaHashComputeResult(b"h"),
        ops.PsaHashCompute(Hash.SHA_256, b"d"),
        b"h",
    ),
    ("hash_compare", (Hash.SHA_256, b"d", b"h"), ops.Empty(), ops.PsaHashCompare(Hash.SHA_256, b"d", b"h"), None),
    (
        "raw_key_agreement",
        (Algorithm.ECDH, "k", b"p"),
        ops.PsaRawKeyAgreementResult(b"s"),
        ops.PsaRawKeyAgreement(Algorithm.ECDH, "k", b"p"),
        b"s",
    ),
    ("generate_random", (3,), ops.PsaGenerateRandomResult(b"abc"), ops.PsaGenerateRandom(3), b"abc"),
    ("can_do_crypto", (CheckType.USE, ATTRIBUTES), ops.Empty(), ops.CanDoCrypto(CheckType.USE, ATTRIBUTES), True),
    (
        "prepare_key_attestation",
        ("k",),
        ops.PrepareKeyAttestationResult(b"n", b"p", b"e"),
        ops.PrepareKeyAttestation("k", ""),
        ops.PrepareKeyAttestationResult(b"n", b"p", b"e"),
    ),
    ("attest_key", ("k", b"b", b"s"), ops.AttestKeyResult(b"c"), ops.AttestKey("k", "", b"b", b"s"), b"c"),
    ("storage_set", ("o", b"d"), ops.Empty(), ops.StorageSet("o", b"d", 0), None),
    ("storage_get", ("o", 1, 2), ops.StorageGetResult(b"d"), ops.StorageGet("o", 1, 2), b"d"),
    ("storage_info", ("o",), ops.StorageInfoResult(1, 1, 0), ops.StorageInfo("o"), ops.StorageInfoResult(1, 1, 0)),
    ("storage_remove", ("o",), ops.Empty(), ops.StorageRemove("o"), None),
    ("storage_list", (), ops.StorageListResult(()), ops.StorageList(), ()),
    ("attestation_token", (b"c",), ops.AttestationTokenResult(b"t"), ops.AttestationToken(b"c"), b"t"),
    ("key_statement", ("k", b"c"), ops.KeyStatementResult(b"e"), ops.KeyStatement("k", b"c"), b"e"),
]


def test_every_call_of_the_core_is_a_method_of_both_fronts() -> None:
    for name in CALLS:
        assert inspect.isfunction(vars(Client)[name]), name
        assert inspect.iscoroutinefunction(vars(AsyncClient)[name]), name
        assert vars(Client)[name].__doc__ == vars(Core)[name].__doc__


def test_every_operation_of_the_contract_can_be_called() -> None:
    lists = {ops.ListProviders, ops.ListAuthenticators}
    assert {type(operation) for _, _, _, operation, _ in CONTRACT} | lists == set(BY_OPERATION)


async def _asynchronously(simulator: WireSimulator, name: str, arguments: tuple[object, ...]) -> object:
    async with AsyncClient(transport=AsyncMemoryTransport(simulator.answer)) as client:
        return await getattr(client, name)(*arguments)


@pytest.mark.parametrize(("name", "arguments", "result", "asked", "given"), CONTRACT, ids=[row[0] for row in CONTRACT])
def test_a_call_asks_and_gives_what_the_contract_says(
    name: str, arguments: tuple[object, ...], result: ops.Result, asked: Operation, given: object
) -> None:
    opcode: Opcode = BY_OPERATION[type(asked)].opcode
    simulator = WireSimulator({opcode: constant(result)})
    with Client(transport=MemoryTransport(simulator.answer)) as client:
        assert getattr(client, name)(*arguments) == given
    assert simulator.operations()[-1] == asked
    simulator.requests.clear()
    assert asyncio.run(_asynchronously(simulator, name, arguments)) == given
    assert simulator.operations()[-1] == asked


def test_the_package_loads_neither_cryptography_nor_asyncio_nor_protobuf_by_itself() -> None:
    program = (
        "import sys; from edgeroot.client import Client, templates; Client('unix:/x');"
        "print([m for m in ('cryptography', 'asyncio', 'google.protobuf') if m in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert printed.strip() == "[]"
