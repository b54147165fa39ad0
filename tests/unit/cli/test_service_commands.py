from __future__ import annotations

from edgeroot.psa import Algorithm, KeyAttributes, KeyType, UsageFlags
from edgeroot.testing.wire_simulator import CORE, DIRECT, SOFTWARE, constant, refusal
from edgeroot.wire import operations as ops
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.operations import CheckType
from edgeroot.wire.status import ResponseStatus
from tests.unit.cli.command_line import CommandLine


def test_ping(edgeroot: CommandLine) -> None:
    result = edgeroot.run("ping")

    assert (result.stdout, result.stderr) == ("1.0\n", "Service wire protocol version\n")


def test_list_providers(edgeroot: CommandLine) -> None:
    lines = edgeroot.out("list-providers").splitlines()

    assert lines[:6] == [
        "ID: 0x01 (Mbed Crypto provider)",
        "Description: Software",
        "Version: 0.1.0",
        "Vendor: Unspecified",
        f"UUID: {SOFTWARE.uuid}",
        "",
    ]
    assert lines[6] == "ID: 0x00 (Core provider)"
    assert edgeroot.json("list-providers")["providers"][1]["uuid"] == CORE.uuid


def test_list_authenticators(edgeroot: CommandLine) -> None:
    assert edgeroot.out("list-authenticators").startswith("ID: 0x03 (Unix Peer Credentials authentication)\n")
    assert edgeroot.json("list-authenticators")["authenticators"][0]["id"] == 3


def test_list_opcodes_asks_the_core_without_an_option(edgeroot: CommandLine) -> None:
    edgeroot.out("list-opcodes")
    edgeroot.out("-p", "0", "list-opcodes")
    text = edgeroot.out("list-opcodes", "-p", "software-provider")

    assert "0x02 (PsaGenerateKey)\n" in text
    asked = [operation for operation in edgeroot.service.operations() if isinstance(operation, ops.ListOpcodes)]
    assert asked == [ops.ListOpcodes(0), ops.ListOpcodes(0), ops.ListOpcodes(1)]


def test_generate_random(edgeroot: CommandLine) -> None:
    edgeroot.service.answers[Opcode.PSA_GENERATE_RANDOM] = constant(ops.PsaGenerateRandomResult(b"\x00\xab\x7f"))

    assert edgeroot.out("generate-random", "-n", "3") == "00 AB 7F \n"
    assert edgeroot.json("generate-random", "-n", "3") == {"random_hex": "00ab7f"}
    assert edgeroot.run("generate-random", "-n", "3", "--raw").stdout_bytes == b"\x00\xab\x7f"


def test_admins_list_and_delete_clients(edgeroot: CommandLine) -> None:
    edgeroot.service.answers[Opcode.LIST_CLIENTS] = constant(ops.ListClientsResult(("1000", "tool")))
    edgeroot.service.answers[Opcode.DELETE_CLIENT] = constant()

    assert edgeroot.out("list-clients") == "1000\ntool\n"
    edgeroot.out("delete-client", "-c", "tool")
    assert edgeroot.service.operations()[-1] == ops.DeleteClient("tool")


def test_others_are_told_that_it_is_for_admins(edgeroot: CommandLine) -> None:
    edgeroot.service.answers[Opcode.LIST_CLIENTS] = refusal(ResponseStatus.ADMIN_OPERATION)

    assert "admins" in edgeroot.error("list-clients")


def test_can_do_crypto(edgeroot: CommandLine) -> None:
    edgeroot.service.answers[Opcode.CAN_DO_CRYPTO] = constant()
    question = ["can-do-crypto", "generate", "--type", "aes", "-b", "256", "--alg", "gcm", "--usage", "encrypt"]

    assert edgeroot.out(*question) == "yes\n"
    attributes = KeyAttributes(KeyType.AES, 256, UsageFlags.ENCRYPT, Algorithm.GCM)
    assert edgeroot.service.operations()[-1] == ops.CanDoCrypto(CheckType.GENERATE, attributes)

    edgeroot.service.answers[Opcode.CAN_DO_CRYPTO] = refusal(ResponseStatus.PSA_ERROR_NOT_SUPPORTED)
    result = edgeroot.run(*question)
    assert (result.exit_code, result.stdout) == (1, "no\n")


def test_the_application_name_is_that_of_upstreams_tool_unless_told(edgeroot: CommandLine) -> None:
    edgeroot.service.authenticators = (DIRECT,)
    edgeroot.out("list-keys")
    edgeroot.out("list-keys", "--app-name", "mine")

    names = [request.auth for request in edgeroot.service.requests if request.opcode == Opcode.LIST_KEYS]
    assert names == [b"parsec-tool", b"mine"]


def test_advice_is_in_words_of_the_command_line(edgeroot: CommandLine) -> None:
    assert "'edgeroot list-keys'" in edgeroot.error("delete-key", "-k", "gone")
    assert "the service has no provider 'x'" in edgeroot.error("-p", "x", "list-opcodes")


def test_a_bad_endpoint_is_told(monkeypatch: object) -> None:
    from click.testing import CliRunner

    from edgeroot.cli.frame import Root
    from tests.unit.cli.command_line import COMMANDS

    result = CliRunner().invoke(Root(COMMANDS), ["ping", "--endpoint", "tcp:host"])

    assert result.exit_code == 1
    assert "unix:/path" in result.stderr
