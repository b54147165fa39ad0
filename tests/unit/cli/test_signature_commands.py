from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509.oid import NameOID

from edgeroot.client import templates
from edgeroot.psa import Algorithm, Hash, KeyAttributes, KeyType, UsageFlags
from tests.unit.cli.command_line import CommandLine, FullKeyService


@pytest.fixture
def device(edgeroot: CommandLine) -> ec.EllipticCurvePublicKey:
    """The public part of a key called "device"."""
    edgeroot.out("create-ecc-key", "-k", "device")
    key = load_pem_public_key(edgeroot.out("export-public-key", "-k", "device").encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def test_text_is_signed_as_upstreams_tool_does(edgeroot: CommandLine, device: ec.EllipticCurvePublicKey) -> None:
    signature = base64.b64decode(edgeroot.out("sign", "-k", "device", "hello"))

    device.verify(signature, b"hello", ec.ECDSA(hashes.SHA256()))


def test_files_and_standard_input_are_signed(
    edgeroot: CommandLine, device: ec.EllipticCurvePublicKey, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 5000
    file, signature = tmp_path / "file", tmp_path / "signature"
    file.write_bytes(data)

    edgeroot.out("sign", "-k", "device", "--file", str(file), "-o", str(signature))
    device.verify(signature.read_bytes(), data, ec.ECDSA(hashes.SHA256()))
    edgeroot.out("verify", "-k", "device", "--file", "-", "--signature-file", str(signature), stdin=data)
    assert "do not trust" in edgeroot.error(
        "verify", "-k", "device", "--file", "-", "--signature-file", str(signature), stdin=data + b"x"
    )


def test_raw_signatures(edgeroot: CommandLine, device: ec.EllipticCurvePublicKey) -> None:
    raw = edgeroot.out("sign", "-k", "device", "hello", "--raw-signature").strip()

    assert len(base64.b64decode(raw)) == 64
    assert edgeroot.json("verify", "-k", "device", "hello", "-s", raw, "--raw-signature")["valid"] is True
    assert "--raw-signature" in edgeroot.error("verify", "-k", "device", "hello", "-s", raw)


def test_json_says_what_was_used(edgeroot: CommandLine, device: ec.EllipticCurvePublicKey) -> None:
    found = edgeroot.json("sign", "-k", "device", "hello")

    assert (found["key_name"], found["algorithm"]) == ("device", "ecdsa:sha-256")
    assert decode_dss_signature(base64.b64decode(found["signature_base64"]))


def test_a_key_for_any_hash_signs_with_the_one_asked_for(edgeroot: CommandLine) -> None:
    edgeroot.out(
        "create-key",
        "-k",
        "any",
        "--type",
        "ecc-key-pair:secp-r1",
        "-b",
        "256",
        "--alg",
        "ecdsa:any",
        "--usage",
        "sign",
    )

    assert edgeroot.json("sign", "-k", "any", "hello")["algorithm"] == "ecdsa:sha-256"
    assert edgeroot.json("sign", "-k", "any", "hello", "--hash", "sha-512")["algorithm"] == "ecdsa:sha-512"


def test_a_key_for_one_hash_refuses_others(edgeroot: CommandLine, device: ec.EllipticCurvePublicKey) -> None:
    assert "permits sha-256 only" in edgeroot.error("sign", "-k", "device", "hello", "--hash", "sha-512")


def test_a_key_for_messages_gets_the_message(edgeroot: CommandLine) -> None:
    edgeroot.out(*"create-key -k m --type ecc-key-pair:secp-r1 -b 256 --alg ecdsa:sha-256 --usage sign-message".split())
    public = load_pem_public_key(edgeroot.out("export-public-key", "-k", "m").encode())
    assert isinstance(public, ec.EllipticCurvePublicKey)

    signature = base64.b64decode(edgeroot.out("sign", "-k", "m", "hello"))

    public.verify(signature, b"hello", ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(
    "line",
    [
        "sign -k device",
        "sign -k device text --file x",
        "verify -k device text",
        "verify -k device text -s AAAA --signature-file x",
        "verify -k device --file - --signature-file -",
        "verify -k device text -s !!!",
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(edgeroot: CommandLine, line: str) -> None:
    edgeroot.error(*line.split(), code=2)


def test_missing_files_are_told(edgeroot: CommandLine, device: ec.EllipticCurvePublicKey, tmp_path: Path) -> None:
    message = edgeroot.error("sign", "-k", "device", "--file", str(tmp_path / "gone"))

    assert message.endswith("gone: No such file or directory\n")


def test_macs(edgeroot: CommandLine, keys: FullKeyService) -> None:
    keys.add_symmetric("tokens", templates.hmac())
    mac = edgeroot.out("mac", "-k", "tokens", "hello").strip()

    assert edgeroot.json("verify-mac", "-k", "tokens", "hello", "--mac", mac)["valid"] is True
    edgeroot.error("verify-mac", "-k", "tokens", "hallo", "--mac", mac)
    edgeroot.error("verify-mac", "-k", "tokens", "hello", "--mac", "xyz", code=2)


def test_a_key_for_something_else_is_told_apart(edgeroot: CommandLine, keys: FullKeyService) -> None:
    keys.add_symmetric("files", templates.aes_gcm())

    assert "is a key for gcm" in edgeroot.error("sign", "-k", "files", "hello")
    assert "create-hmac-key" in edgeroot.error("mac", "-k", "files", "hello")
    assert "encrypt-file" in edgeroot.error("encrypt", "-k", "files", "hello")


@pytest.mark.parametrize(
    "create",
    ["create-rsa-key -s -b 1024", "create-rsa-key -r -b 1024", "create-ecc-key", "create-ecc-key --curve p-384"],
)
def test_requests_verify(edgeroot: CommandLine, create: str) -> None:
    edgeroot.out(*create.split(), "-k", "web")

    pem = edgeroot.out(
        *"create-csr -k web --cn www.example --l X --o Y --ou Z --st S --c NL --serialNumber 4711".split(),
        *"--san www.example --san 192.0.2.7 --san a@example.com --san https://example.com/x".split(),
    )

    request = x509.load_pem_x509_csr(pem.encode())
    assert request.is_signature_valid
    assert request.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)[0].value == "4711"
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [type(name).__name__ for name in names] == [
        "DNSName",
        "IPAddress",
        "RFC822Name",
        "UniformResourceIdentifier",
    ]


@pytest.mark.parametrize("ca", [True, False])
def test_certificates_are_signed_by_their_own_key(edgeroot: CommandLine, tmp_path: Path, *, ca: bool) -> None:
    edgeroot.out("create-ecc-key", "-k", "web")
    file = tmp_path / "web.pem"

    edgeroot.out("create-certificate", "-k", "web", "--cn", "web", "--days", "3", "-o", str(file), *["--ca"] * ca)

    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    certificate.verify_directly_issued_by(certificate)
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 3
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is ca
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign is ca


@pytest.mark.parametrize("option", [("--c", "NLD"), ("--san", "münchen.example")])
def test_impossible_names_are_usage_errors(edgeroot: CommandLine, option: tuple[str, str]) -> None:
    edgeroot.out("create-ecc-key", "-k", "web")

    assert option[0] in edgeroot.error("create-csr", "-k", "web", *option, code=2)


def test_a_key_that_signs_nothing_gets_no_certificate(edgeroot: CommandLine) -> None:
    edgeroot.out("create-ecc-key", "-k", "x", "--curve", "x25519")

    assert "signs nothing" in edgeroot.error("create-csr", "-k", "x", "--cn", "x")


def test_texts_are_encrypted_and_decrypted(edgeroot: CommandLine, tmp_path: Path, keys: FullKeyService) -> None:
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    edgeroot.out("create-rsa-key", "-k", "mail", "--oaep", "-b", "1024")
    pair = keys.keys["mail"][1]
    assert isinstance(pair, rsa.RSAPrivateKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"label")
    sealed = pair.public_key().encrypt("grüezi".encode(), oaep)
    encoded = base64.b64encode(sealed).decode()

    assert edgeroot.out("decrypt", "-k", "mail", encoded, "--label", "label") == "grüezi\n"
    output = tmp_path / "plain"
    edgeroot.out("decrypt", "-k", "mail", "-f", "-", "--label", "label", "-o", str(output), stdin=sealed)
    assert output.read_bytes() == "grüezi".encode()
    edgeroot.error("decrypt", "-k", "mail", "%%%", code=2)


def test_signing_never_uses_a_wildcard() -> None:
    from edgeroot.client.commands.signatures import signing_algorithm

    policy = KeyAttributes(KeyType.RSA_KEY_PAIR, 2048, UsageFlags.SIGN_HASH, Algorithm.rsa_pss(Hash.ANY))

    assert signing_algorithm("k", policy, Hash.SHA_384) == Algorithm.rsa_pss(Hash.SHA_384)
