from __future__ import annotations

from pathlib import Path

import pytest

from edgeroot.testing.wire_simulator import constant, refusal
from edgeroot.wire import operations as ops
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.status import ResponseStatus
from tests.unit.cli.command_line import CommandLine


@pytest.fixture
def storing(edgeroot: CommandLine) -> CommandLine:
    edgeroot.service.answers |= {
        Opcode.STORAGE_SET: constant(),
        Opcode.STORAGE_GET: constant(ops.StorageGetResult(b"\0secret")),
        Opcode.STORAGE_INFO: constant(ops.StorageInfoResult(9, 7, 1)),
        Opcode.STORAGE_REMOVE: constant(),
        Opcode.STORAGE_LIST: constant(ops.StorageListResult((ops.StoredObject(4, "wifi"),))),
        Opcode.ATTESTATION_TOKEN: constant(ops.AttestationTokenResult(b"\xd2token")),
        Opcode.KEY_STATEMENT: constant(ops.KeyStatementResult(b"\xa4statement")),
    }
    return edgeroot


def asked(edgeroot: CommandLine) -> ops.Operation:
    return edgeroot.service.operations()[-1]


def test_set_reads_standard_input_or_a_file_and_no_argument(storing: CommandLine, tmp_path: Path) -> None:
    result = storing.run("storage", "set", "wifi", stdin=b"piped")
    assert (result.stdout, result.stderr) == ("", 'Object "wifi" stored.\n')
    assert asked(storing) == ops.StorageSet("wifi", b"piped", 0)
    (tmp_path / "psk").write_bytes(b"filed\n")
    storing.out("storage", "set", "wifi", "--write-once", "-f", str(tmp_path / "psk"))
    assert asked(storing) == ops.StorageSet("wifi", b"filed\n", 1)
    assert storing.run("storage", "set", "wifi", "secret").exit_code == 2


def test_get_writes_the_bytes_themselves(storing: CommandLine, tmp_path: Path) -> None:
    assert storing.run("storage", "get", "wifi").stdout_bytes == b"\0secret"
    target = tmp_path / "psk"
    storing.out("storage", "get", "wifi", "-o", str(target))
    assert target.read_bytes() == b"\0secret"
    assert target.stat().st_mode & 0o777 == 0o600
    assert "--force" in storing.error("storage", "get", "wifi", "-o", str(target))
    assert storing.json("storage", "get", "wifi") == {"object_name": "wifi", "data_base64": "AHNlY3JldA=="}


def test_info_list_and_remove(storing: CommandLine) -> None:
    assert storing.out("storage", "info", "wifi") == "7 bytes, write-once\n"
    assert storing.json("storage", "info", "wifi")["capacity_bytes"] == 9
    assert storing.out("storage", "list") == "* wifi (Trusted Service provider)\n"
    assert storing.json("storage", "list") == {"objects": [{"object_name": "wifi", "provider_id": 4}]}
    assert storing.run("storage", "remove", "wifi").stderr == 'Object "wifi" removed.\n'
    assert asked(storing) == ops.StorageRemove("wifi")


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (ResponseStatus.PSA_ERROR_DOES_NOT_EXIST, "'edgeroot storage list'"),
        (ResponseStatus.PSA_ERROR_NOT_SUPPORTED, "provider 4"),
        (ResponseStatus.PSA_ERROR_DATA_CORRUPT, "do not trust the device"),
    ],
)
def test_refusals_speak_of_objects(storing: CommandLine, status: ResponseStatus, advice: str) -> None:
    storing.service.answers[Opcode.STORAGE_GET] = refusal(status)
    assert advice in storing.error("storage", "get", "wifi")


def test_an_attestation_token(storing: CommandLine, tmp_path: Path) -> None:
    challenge = bytes(range(32))
    assert storing.run("attestation-token", "--challenge", challenge.hex()).stdout_bytes == b"\xd2token"
    assert asked(storing) == ops.AttestationToken(challenge)
    storing.out("attestation-token", "--challenge", challenge.hex(), "-o", str(tmp_path / "token"))
    assert (tmp_path / "token").read_bytes() == b"\xd2token"
    assert storing.json("attestation-token", "--challenge", challenge.hex())["challenge_hex"] == challenge.hex()
    assert storing.run("attestation-token", "--challenge", "xyz").exit_code == 2
    assert storing.run("attestation-token").exit_code == 2


def test_a_statement_on_a_key(storing: CommandLine, tmp_path: Path) -> None:
    challenge = bytes(range(32))
    arguments = ("key", "attest", "-k", "device", "--challenge", challenge.hex())
    assert storing.run(*arguments).stdout_bytes == b"\xa4statement"
    assert asked(storing) == ops.KeyStatement("device", challenge)
    storing.out(*arguments, "-o", str(tmp_path / "statement"))
    assert (tmp_path / "statement").read_bytes() == b"\xa4statement"
    told = storing.json(*arguments)
    assert told == {
        "key_name": "device",
        "challenge_hex": challenge.hex(),
        "statement_base64": "pHN0YXRlbWVudA==",
    }
    assert storing.run("key", "attest", "-k", "device").exit_code == 2
