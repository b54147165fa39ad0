"""Upstream's own command line, every sub-command of it, against our service and as two users."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from peers import PeersRoot, run_parsec_tool
from tests.support.service import Service, running_service

ADMIN = '[authenticator]\nauth_type = "UnixPeerCredentials"\nadmins = [{ name = "0" }]\n'
OTHER_USER = 1001
USERS = [0, OTHER_USER]
DESCRIPTION = "User space software provider, based on Mbed Crypto - the reference implementation of the PSA crypto API"
LISTED_PROVIDERS = f"""\
ID: 0x01 (Mbed Crypto provider)
Description: {DESCRIPTION}
Version: 0.1.0
Vendor: Arm
UUID: 1c1139dc-ad7c-47dc-ad6b-db6fdb466552

ID: 0x00 (Core provider)
Description: Software provider that implements only administrative (i.e. no cryptographic) operations
Version: 1.5.0
Vendor: Unspecified
UUID: 47049873-2a43-4845-9d72-831eab668784

"""
LISTED_KEYS = """\
* ecc (Mbed Crypto provider, EccKeyPair { curve_family: SecpR1 }, 256 bits, permitted algorithm: \
AsymmetricSignature(Ecdsa { hash_alg: Specific(Sha256) }))
* oaep (Mbed Crypto provider, RsaKeyPair, 2048 bits, permitted algorithm: \
AsymmetricEncryption(RsaOaep { hash_alg: Sha256 }))
* pkcs1 (Mbed Crypto provider, RsaKeyPair, 1024 bits, permitted algorithm: AsymmetricEncryption(RsaPkcs1v15Crypt))
* signing (Mbed Crypto provider, RsaKeyPair, 2048 bits, permitted algorithm: \
AsymmetricSignature(RsaPkcs1v15Sign { hash_alg: Specific(Sha256) }))
"""


class Tool(NamedTuple):
    """The tool as a user of a service."""

    service: Service
    uid: int

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_parsec_tool(self.service.socket_path, *arguments, uid=self.uid)

    def succeed(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.returncode == 0, result.stderr
        assert "[ERROR" not in result.stderr
        return result.stdout

    def fail(self, reason: str, *arguments: str) -> None:
        result = self.run(*arguments)
        assert result.returncode == 1
        assert result.stdout == ""
        assert reason in result.stderr


@pytest.fixture(scope="module")
def administered(peers_root: PeersRoot) -> Iterator[Service]:
    del peers_root
    with running_service(authenticator=ADMIN) as service:
        yield service


@pytest.fixture(params=USERS, ids=["as root", "as another user"])
def tool(administered: Service, request: pytest.FixtureRequest) -> Tool:
    return Tool(administered, request.param)


@pytest.fixture(scope="module", params=USERS, ids=["as root", "as another user"])
def keyed(administered: Service, request: pytest.FixtureRequest) -> Iterator[Tool]:
    """With one key of each kind that the tool makes."""
    tool = Tool(administered, request.param)
    tool.succeed("create-ecc-key", "-k", "ecc")
    tool.succeed("create-rsa-key", "-k", "pkcs1", "--bits", "1024")
    tool.succeed("create-rsa-key", "-k", "oaep", "--oaep")
    tool.succeed("create-rsa-key", "-k", "signing", "--for-signing")
    yield tool
    for key_name in ("ecc", "pkcs1", "oaep", "signing"):
        tool.succeed("delete-key", "-k", key_name)


def test_ping(tool: Tool) -> None:
    assert tool.succeed("ping") == "1.0\n"
    assert tool.succeed("--timeout", "5", "ping") == "1.0\n"


def test_list_providers(tool: Tool) -> None:
    assert tool.succeed("list-providers") == LISTED_PROVIDERS


def test_list_authenticators(tool: Tool) -> None:
    listed = tool.succeed("list-authenticators")
    assert re.fullmatch(
        r"ID: 0x03 \(Unix Peer Credentials authentication\)\nDescription: Uses Unix peer credentials .*\n"
        r"Version: 0\.1\.0\n\n",
        listed,
    )


@pytest.mark.parametrize("arguments", [("list-opcodes", "--provider", "1"), ("--provider", "1", "list-opcodes")])
def test_list_opcodes(tool: Tool, arguments: tuple[str, ...]) -> None:
    lines = tool.succeed(*arguments).splitlines()
    assert len(lines) == len(set(lines)) == 20
    assert {"0x02 (PsaGenerateKey)", "0x14 (PsaCipherEncrypt)", "0x20 (CanDoCrypto)"} < set(lines)
    assert all(re.fullmatch(r"0x[0-9a-f]{2} \(\w+\)", line) for line in lines)


def test_list_opcodes_of_core(tool: Tool) -> None:
    assert sorted(tool.succeed("list-opcodes").splitlines()) == [
        "0x01 (Ping)",
        "0x08 (ListProviders)",
        "0x09 (ListOpcodes)",
        "0x0e (ListAuthenticators)",
        "0x1a (ListKeys)",
    ]


def test_generate_random(tool: Tool) -> None:
    first = tool.succeed("generate-random", "-n", "32")
    assert re.fullmatch("([0-9A-F]{2} ){32}\n", first)
    assert first != tool.succeed("generate-random", "-n", "32")


def test_list_keys(keyed: Tool) -> None:
    assert "".join(sorted(keyed.succeed("list-keys").splitlines(keepends=True))) == LISTED_KEYS


def test_export_public_key(keyed: Tool) -> None:
    curve_key = load_pem_public_key(keyed.succeed("export-public-key", "-k", "ecc").encode())
    assert isinstance(curve_key, ec.EllipticCurvePublicKey)
    assert curve_key.curve.name == "secp256r1"
    info = load_pem_public_key(keyed.succeed("export-public-key", "-k", "signing").encode())
    pkcs1 = keyed.succeed("export-public-key", "-k", "signing", "--pkcs1")
    assert pkcs1.startswith("-----BEGIN RSA PUBLIC KEY-----\n")
    assert load_pem_public_key(pkcs1.encode()) == info


def test_sign(keyed: Tool) -> None:
    curve_key = load_pem_public_key(keyed.succeed("export-public-key", "-k", "ecc").encode())
    signature = base64.b64decode(keyed.succeed("sign", "-k", "ecc", "a message"))
    assert isinstance(curve_key, ec.EllipticCurvePublicKey)
    curve_key.verify(signature, b"a message", ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        curve_key.verify(signature, b"another message", ec.ECDSA(hashes.SHA256()))

    rsa_key = load_pem_public_key(keyed.succeed("export-public-key", "-k", "signing").encode())
    signature = base64.b64decode(keyed.succeed("sign", "-k", "signing", "a message"))
    assert isinstance(rsa_key, rsa.RSAPublicKey)
    rsa_key.verify(signature, b"a message", padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize("key_name", ["pkcs1", "oaep"])
def test_encrypt_and_decrypt(keyed: Tool, key_name: str) -> None:
    ciphertext = keyed.succeed("encrypt", "-k", key_name, "a secret").strip()
    assert b"a secret" not in base64.b64decode(ciphertext)
    assert keyed.succeed("decrypt", "-k", key_name, ciphertext) == "a secret\n"


@pytest.mark.parametrize("key_name", ["ecc", "signing"])
def test_create_csr(keyed: Tool, key_name: str) -> None:
    subject = {"cn": "edge.example", "l": "Malmo", "o": "Org", "ou": "Unit", "st": "Skane", "c": "SE"}
    arguments = [part for name, value in subject.items() for part in (f"--{name}", value)]
    pem = keyed.succeed(
        "create-csr", "-k", key_name, *arguments, "--serialNumber", "EZ4U2CIXL", "--san", "a.example", "--san", "b"
    )
    request = x509.load_pem_x509_csr(pem.encode())
    assert request.is_signature_valid
    assert {attribute.value for attribute in request.subject} == {*subject.values(), "EZ4U2CIXL"}
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example", "b"]


@pytest.mark.parametrize("key_bits", [3072, 4096])
def test_larger_rsa_keys(tool: Tool, key_bits: int) -> None:
    """Upstream's software provider refuses the first of these sizes."""
    tool.succeed("create-rsa-key", "-k", "large", "-b", str(key_bits))
    public = load_pem_public_key(tool.succeed("export-public-key", "-k", "large").encode())
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.key_size == key_bits
    tool.succeed("delete-key", "-k", "large")


def test_delete_key(tool: Tool) -> None:
    tool.succeed("create-ecc-key", "-k", "short-lived")
    tool.succeed("delete-key", "-k", "short-lived")
    assert "short-lived" not in tool.succeed("list-keys")
    tool.fail("PsaErrorDoesNotExist", "delete-key", "-k", "short-lived")


def test_clients(administered: Service) -> None:
    admin, user = Tool(administered, 0), Tool(administered, 1002)
    user.succeed("create-ecc-key", "-k", "mine")
    assert "1002" in admin.succeed("list-clients").splitlines()
    user.fail("AdminOperation", "list-clients")
    user.fail("AdminOperation", "delete-client", "-c", "0")
    admin.succeed("delete-client", "--client", "1002")
    assert user.succeed("list-keys") == ""
    assert "1002" not in admin.succeed("list-clients").splitlines()
    admin.succeed("delete-client", "--client", "1002")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["create-ecc-key", "-k", "ecc"], "PsaErrorAlreadyExists"),
        (["create-rsa-key", "-k", "ecc"], "PsaErrorAlreadyExists"),
        (["create-rsa-key", "-k", "new", "-b", "1001"], "PsaErrorInvalidArgument"),
        (["create-rsa-key", "-k", "new", "-b", "512"], "PsaErrorInvalidArgument"),
        (["delete-key", "-k", "nothing"], "PsaErrorDoesNotExist"),
        (["export-public-key", "-k", "nothing"], "PsaErrorDoesNotExist"),
        (["sign", "-k", "nothing", "text"], "NotFound"),
        (["sign", "-k", "pkcs1", "text"], "WrongKeyAlgorithm"),
        (["encrypt", "-k", "ecc", "text"], "WrongKeyAlgorithm"),
        (["encrypt", "-k", "pkcs1", "x" * 118], "PsaErrorInvalidArgument"),
        (["decrypt", "-k", "oaep", "aGVsbG8="], "PsaErrorInvalidArgument"),
        (["decrypt", "-k", "oaep", base64.b64encode(b"\1" * 256).decode()], "PsaErrorInvalidPadding"),
        (["create-csr", "-k", "pkcs1", "--cn", "x"], "WrongKeyAlgorithm"),
        (["generate-random", "-n", "1048577"], "ResponseTooLarge"),
        (["--provider", "9", "create-ecc-key", "-k", "new"], "does not map with an existing provider"),
        (["--provider", "3", "create-ecc-key", "-k", "new"], "ProviderNotRegistered"),
        (["nonsense"], "wasn't expected"),
    ],
)
def test_failures(keyed: Tool, arguments: list[str], reason: str) -> None:
    keyed.fail(reason, *arguments)


def test_users_share_no_names(keyed: Tool) -> None:
    stranger = Tool(keyed.service, 1003)
    assert stranger.succeed("list-keys") == ""
    stranger.fail("NotFound", "sign", "-k", "ecc", "text")
    stranger.fail("PsaErrorDoesNotExist", "delete-key", "-k", "ecc")
    assert "ecc" in keyed.succeed("list-keys")
