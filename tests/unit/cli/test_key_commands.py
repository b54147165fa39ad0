from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from edgeroot.client import templates
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags
from edgeroot.testing.wire_simulator import constant
from edgeroot.wire import operations as ops
from edgeroot.wire.opcodes import Opcode
from tests.unit.cli.command_line import CommandLine

RSA_CRYPT = templates.rsa_pkcs1v15_crypt()
CREATED = [
    ("create-rsa-key", RSA_CRYPT),
    ("create-rsa-key -b 1024", templates.rsa_pkcs1v15_crypt(1024)),
    ("create-rsa-key -o", templates.rsa_oaep()),
    ("create-rsa-key --for-signing", templates.rsa_signing()),
    ("create-rsa-key -r --bits 3072", templates.rsa_pss(3072)),
    ("create-rsa-key -s -r", templates.rsa_signing()),
    ("create-rsa-key -s --hash sha-512 --exportable", templates.rsa_signing(2048, Hash.SHA_512, exportable=True)),
    ("create-ecc-key", templates.ecdsa_p256()),
    ("create-ecc-key --curve p-384", templates.ecdsa_p384()),
    ("create-ecc-key --curve p-521", templates.ecdsa_p521()),
    ("create-ecc-key --curve p-256 --for-agreement", templates.ecdh()),
    ("create-ecc-key --curve x448", templates.x448()),
    ("create-aes-key", templates.aes_gcm()),
    ("create-aes-key -b 128 --mode ctr", templates.aes_cipher(Algorithm.CTR, 128)),
    ("create-aes-key --mode cmac", templates.aes_cmac()),
    ("create-hmac-key --hash sha-512", templates.hmac(Hash.SHA_512)),
    (
        "create-key --type chacha20 -b 256 --alg chacha20-poly1305 --usage encrypt,decrypt",
        templates.chacha20_poly1305(),
    ),
]


@pytest.mark.parametrize(("line", "attributes"), CREATED, ids=[line for line, _ in CREATED])
def test_keys_are_created_as_asked(edgeroot: CommandLine, line: str, attributes: KeyAttributes) -> None:
    edgeroot.service.answers[Opcode.PSA_GENERATE_KEY] = constant()

    result = edgeroot.run(*line.split(), "-k", "new")

    assert (result.exit_code, result.stdout) == (0, "")
    assert edgeroot.service.operations()[-1] == ops.PsaGenerateKey("new", attributes)


@pytest.mark.parametrize("line", ["create-rsa-key -k a -o -s", "create-ecc-key -k a --curve x25519 --hash sha-256"])
def test_contradictions_are_refused(edgeroot: CommandLine, line: str) -> None:
    edgeroot.error(*line.split(), code=2)


def test_keys_are_listed_as_upstreams_tool_does(edgeroot: CommandLine) -> None:
    empty = edgeroot.run("list-keys")
    edgeroot.out("create-ecc-key", "-k", "device")

    assert (empty.stdout, empty.stderr) == ("", "No keys currently available.\n")
    assert edgeroot.out("list-keys") == (
        "* device (Mbed Crypto provider, EccKeyPair { curve_family: SecpR1 }, 256 bits, permitted algorithm: "
        "AsymmetricSignature(Ecdsa { hash_alg: Specific(Sha256) }))\n"
    )


def test_one_key_is_shown(edgeroot: CommandLine) -> None:
    edgeroot.out("create-ecc-key", "-k", "device")

    shown = edgeroot.json("key", "show", "device")

    assert shown["algorithm"] == "ecdsa:sha-256"
    assert shown == edgeroot.json("list-keys")["keys"][0]
    assert "key bits: 256\n" in edgeroot.out("key", "show", "device")
    edgeroot.error("key", "show", "gone")


def test_keys_are_deleted(edgeroot: CommandLine) -> None:
    edgeroot.out("create-ecc-key", "-k", "device")

    assert edgeroot.json("key", "delete", "-k", "device") == {"deleted_key": "device"}
    assert "PsaErrorDoesNotExist" in edgeroot.error("delete-key", "-k", "device")


def _private(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey, passphrase: str = ""
) -> bytes:
    protection = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


def _imported(edgeroot: CommandLine) -> ops.PsaImportKey:
    operation = edgeroot.service.operations()[-1]
    assert isinstance(operation, ops.PsaImportKey)
    return operation


def test_key_pairs_are_imported_from_pem_and_der(edgeroot: CommandLine, tmp_path: Path) -> None:
    file, key = tmp_path / "key", ec.generate_private_key(ec.SECP384R1())
    scalar = key.private_numbers().private_value.to_bytes(48)
    for encoded in (_private(key), key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())):
        file.write_bytes(encoded)
        edgeroot.out("import-key", "-k", "new", str(file))
        assert _imported(edgeroot) == ops.PsaImportKey("new", templates.ecdsa_p384(), scalar)


def test_public_keys_verify_only(edgeroot: CommandLine) -> None:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()

    edgeroot.out(
        "import-key", "-k", "new", "-", stdin=public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )

    imported = _imported(edgeroot)
    assert imported.data == public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert imported.attributes == KeyAttributes(
        KeyType.ecc_public_key(EccFamily.SECP_R1),
        256,
        UsageFlags.VERIFY_HASH | UsageFlags.VERIFY_MESSAGE,
        Algorithm.ecdsa(Hash.SHA_256),
    )


def test_encrypted_keys_need_their_passphrase(edgeroot: CommandLine, tmp_path: Path) -> None:
    file, passphrase = tmp_path / "key.pem", tmp_path / "passphrase"
    file.write_bytes(_private(ec.generate_private_key(ec.SECP256R1()), "correct horse"))
    passphrase.write_text("correct horse\n")

    assert "--passphrase-file" in edgeroot.error("import-key", "-k", "new", str(file))
    edgeroot.out("import-key", "-k", "new", str(file), "--passphrase-file", str(passphrase))
    passphrase.write_text("battery staple\n")
    message = edgeroot.error("import-key", "-k", "new", str(file), "--passphrase-file", str(passphrase))
    assert "battery" not in message


def test_raw_keys_are_imported_as_what_they_are_said_to_be(edgeroot: CommandLine) -> None:
    edgeroot.out("import-key", "-k", "new", "-", "--type", "aes", stdin=bytes(16))

    assert _imported(edgeroot).attributes == KeyAttributes(
        KeyType.AES, 0, UsageFlags.ENCRYPT | UsageFlags.DECRYPT, Algorithm.GCM
    )


@pytest.mark.parametrize("data", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(edgeroot: CommandLine, data: bytes) -> None:
    assert "holds no key" in edgeroot.error("import-key", "-k", "new", "-", stdin=data)
    assert edgeroot.service.requests == []


def test_exported_keys_are_usable_elsewhere(edgeroot: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    edgeroot.out("create-ecc-key", "-k", "a", "--exportable")

    edgeroot.out("export-key", "-k", "a", "-o", str(file))

    private = load_pem_private_key(file.read_bytes(), None)
    public = load_pem_public_key(edgeroot.out("export-public-key", "-k", "a").encode())
    assert private.public_key() == public
    assert file.stat().st_mode & 0o77 == 0
    assert len(edgeroot.run("export-key", "-k", "a", "--format", "raw").stdout_bytes) == 32


def test_public_keys_are_exported_as_upstreams_tool_does(edgeroot: CommandLine) -> None:
    edgeroot.out("create-rsa-key", "-k", "r", "-b", "1024")
    edgeroot.out("create-ecc-key", "-k", "e")

    assert edgeroot.out("export-public-key", "-k", "r").startswith("-----BEGIN PUBLIC KEY-----\n")
    assert edgeroot.out("export-public-key", "-k", "r", "--pkcs1").startswith("-----BEGIN RSA PUBLIC KEY-----\n")
    assert "PKCS#1" in edgeroot.error("export-public-key", "-k", "e", "--pkcs1")
    assert edgeroot.run("export-public-key", "-k", "e", "--raw").stdout_bytes[:1] == b"\x04"


def test_secrets_are_agreed_with_a_peer(edgeroot: CommandLine, tmp_path: Path) -> None:
    peer, peer_file = x25519.X25519PrivateKey.generate(), tmp_path / "peer.pem"
    edgeroot.out("create-ecc-key", "-k", "x", "--curve", "x25519")
    ours = load_pem_public_key(edgeroot.out("export-public-key", "-k", "x").encode())
    assert isinstance(ours, x25519.X25519PublicKey)

    for encoded in (
        peer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        peer.public_key().public_bytes_raw(),
    ):
        peer_file.write_bytes(encoded)
        secret = edgeroot.run("agree", "-k", "x", "--peer", str(peer_file)).stdout_bytes
        assert secret == peer.exchange(ours)


@pytest.mark.parametrize(
    "command", ["export-key -k a", "export-public-key -k a", "export-public-key -k a --raw", "agree -k x --peer peer"]
)
def test_json_says_where_a_result_went(
    edgeroot: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("peer").write_bytes(x25519.X25519PrivateKey.generate().public_key().public_bytes_raw())
    edgeroot.out("create-ecc-key", "-k", "a", "--exportable")
    edgeroot.out("create-ecc-key", "-k", "x", "--curve", "x25519")

    assert edgeroot.json(*command.split(), "-o", "result")["output"] == "result"
    assert Path("result").read_bytes()


@pytest.mark.parametrize("words", ["edgeroot sign -k d", "edgeroot key show d"])
def test_names_of_keys_are_completed(edgeroot: CommandLine, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    edgeroot.out("create-ecc-key", "-k", "device")
    edgeroot.out("create-ecc-key", "-k", "other")
    monkeypatch.setenv("_EDGEROOT_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", "3")

    assert edgeroot.out() == "plain,device\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(edgeroot: CommandLine, shell: str) -> None:
    assert f"_EDGEROOT_COMPLETE={shell}_complete" in edgeroot.out("completion", shell)
