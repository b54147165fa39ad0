"""Every command against a real service, and against upstream's, with the results checked by OpenSSL."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from peers import PeersRoot, UpstreamService, run_parsec_tool
from tests.support.requirements import unavailable
from tests.support.service import running_service

Run: TypeAlias = Callable[..., bytes]
SAMPLE = Path(__file__).parents[3] / "deploy" / "config" / "parsec.toml"


def _runner(endpoint: str) -> Run:
    def run(*args: str, stdin: bytes = b"", code: int = 0) -> bytes:
        environment = {**os.environ, "PARSEC_SERVICE_ENDPOINT": endpoint, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-m", "edgeroot", *args], input=stdin, env=environment, capture_output=True, check=False
        )
        assert done.returncode == code, (done.stdout + done.stderr).decode(errors="replace")
        assert b"Traceback" not in done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def edgeroot() -> Iterator[Run]:
    with running_service(
        authenticator='[authenticator]\nauth_type = "UnixPeerCredentials"\nadmins = [{ name = "0" }]\n'
    ) as service:
        yield _runner(service.endpoint)


@pytest.fixture(scope="module")
def upstream(upstream_service: UpstreamService) -> Run:
    return _runner(f"unix:{upstream_service.socket_path}")


def _openssl(*args: str, stdin: bytes = b"") -> bytes:
    if shutil.which("openssl") is None:
        unavailable("this needs openssl to check results")
    return subprocess.run(["openssl", *args], input=stdin, capture_output=True, check=True).stdout


def test_what_the_service_is(edgeroot: Run) -> None:
    assert edgeroot("ping") == b"1.0\n"
    assert b"ID: 0x01 (Mbed Crypto provider)\n" in edgeroot("list-providers")
    assert b"ID: 0x03 (Unix Peer Credentials authentication)\n" in edgeroot("list-authenticators")
    assert b"0x1a (ListKeys)\n" in edgeroot("list-opcodes")
    assert b"0x16 (PsaMacCompute)\n" in edgeroot("list-opcodes", "-p", "1")
    assert len(bytes.fromhex(edgeroot("generate-random", "-n", "20").decode())) == 20
    assert edgeroot("hash", "abc").startswith(b"ba7816bf")
    assert edgeroot("can-do-crypto", "generate", "--type", "aes", "-b", "256", "--alg", "gcm", "--usage", "encrypt")


def test_a_configuration_is_checked(edgeroot: Run, tmp_path: Path) -> None:
    assert json.loads(edgeroot("serve", "--check", "-c", str(SAMPLE), "--json")) == {
        "config": str(SAMPLE),
        "valid": True,
    }
    (tmp_path / "bad.toml").write_text("[listeners]\n")
    assert edgeroot("serve", "--check", "-c", str(tmp_path / "bad.toml"), "--json", code=1) == b""


def test_the_configuration_in_upstreams_package_is_good_as_it_is(edgeroot: Run, peers_root: PeersRoot) -> None:
    edgeroot("serve", "--check", "-c", str(peers_root.path / "etc" / "parsec" / "config.toml"))


@pytest.mark.parametrize(
    "create", ["create-ecc-key", "create-ecc-key --curve p-521", "create-rsa-key -s", "create-rsa-key -r"]
)
def test_signatures(edgeroot: Run, tmp_path: Path, create: str) -> None:
    edgeroot(*create.split(), "-k", "signer")
    try:
        data = os.urandom(3 << 20)
        (tmp_path / "data").write_bytes(data)
        (tmp_path / "key.pem").write_bytes(edgeroot("export-public-key", "-k", "signer"))
        edgeroot("sign", "-k", "signer", "-f", str(tmp_path / "data"), "-o", str(tmp_path / "signature"))
        edgeroot("verify", "-k", "signer", "-f", "-", "--signature-file", str(tmp_path / "signature"), stdin=data)
        edgeroot("verify", "-k", "signer", "other", "--signature-file", str(tmp_path / "signature"), code=1)
        hashing = "-sha512" if "521" in create else "-sha256"
        padding = ["-sigopt", "rsa_padding_mode:pss"] if create.endswith("-r") else []
        files = [
            "-verify",
            str(tmp_path / "key.pem"),
            "-signature",
            str(tmp_path / "signature"),
            str(tmp_path / "data"),
        ]
        assert _openssl("dgst", hashing, *padding, *files) == b"Verified OK\n"
        request = edgeroot("create-csr", "-k", "signer", "--cn", "a", "--serialNumber", "42", "--san", "a.example")
        assert b"serialNumber" in _openssl("req", "-noout", "-verify", "-subject", stdin=request)
        certificate = tmp_path / "certificate.pem"
        certificate.write_bytes(edgeroot("create-certificate", "-k", "signer", "--cn", "a", "--ca"))
        _openssl("verify", "-CAfile", str(certificate), str(certificate))
    finally:
        edgeroot("delete-key", "-k", "signer")


@pytest.mark.parametrize(("create", "padding"), [("create-rsa-key", "pkcs1"), ("create-rsa-key -o", "oaep")])
def test_rsa_encryption(edgeroot: Run, tmp_path: Path, create: str, padding: str) -> None:
    edgeroot(*create.split(), "-k", "mail")
    try:
        (tmp_path / "key.pem").write_bytes(edgeroot("export-public-key", "-k", "mail"))
        options = ["-pkeyopt", f"rsa_padding_mode:{padding}"]
        options += ["-pkeyopt", "rsa_oaep_md:sha256"] if padding == "oaep" else []
        sealed = _openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", str(tmp_path / "key.pem"), *options, stdin=b"text")
        assert edgeroot("decrypt", "-k", "mail", "-f", "-", stdin=sealed) == b"text\n"
        assert edgeroot("decrypt", "-k", "mail", edgeroot("encrypt", "-k", "mail", "hi").decode()) == b"hi\n"
    finally:
        edgeroot("delete-key", "-k", "mail")


def test_files(edgeroot: Run, tmp_path: Path) -> None:
    data = os.urandom((3 << 20) + 17)
    plain, sealed, opened = tmp_path / "plain", tmp_path / "sealed", tmp_path / "opened"
    plain.write_bytes(data)
    edgeroot("create-aes-key", "-k", "files")
    edgeroot("create-key", *"-k chacha --type chacha20 -b 256 --alg chacha20-poly1305 --usage encrypt,decrypt".split())
    for key in ("files", "chacha"):
        edgeroot("encrypt-file", "-k", key, str(plain), "-o", str(sealed), "--force")
        edgeroot("decrypt-file", str(sealed), "-o", str(opened), "--force")
        assert opened.read_bytes() == data
    opened.unlink()
    sealed.write_bytes(sealed.read_bytes()[: 1 << 20])
    edgeroot("decrypt-file", str(sealed), "-o", str(opened), code=1)
    assert not opened.exists()
    assert edgeroot("decrypt-file", "-", stdin=edgeroot("encrypt-file", "-k", "files", "-")) == b""

    edgeroot("create-aes-key", "-k", "disk", "--mode", "cbc-pkcs7", "-b", "128")
    assert edgeroot(
        "cipher-decrypt", "-k", "disk", "-", stdin=edgeroot("cipher-encrypt", "-k", "disk", "-", stdin=b"x")
    )
    edgeroot("cipher-encrypt", "-k", "disk", str(plain), code=1)


def test_macs(edgeroot: Run) -> None:
    edgeroot("import-key", "-k", "tokens", "-", "--type", "hmac", stdin=b"key")
    mac = edgeroot("mac", "-k", "tokens", "The quick brown fox jumps over the lazy dog").decode().strip()

    assert mac == "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"
    edgeroot("verify-mac", "-k", "tokens", "The quick brown fox jumps over the lazy dog", "--mac", mac)
    edgeroot("verify-mac", "-k", "tokens", "the quick brown fox", "--mac", mac, code=1)


def test_keys_in_and_out(edgeroot: Run, tmp_path: Path) -> None:
    key = b""
    for name, algorithm in {"rsa": ["RSA"], "ec": ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]}.items():
        key = _openssl("genpkey", "-algorithm", *algorithm)
        edgeroot("import-key", "-k", name, "-", "--exportable", stdin=key)
        assert edgeroot("export-public-key", "-k", name) == _openssl("pkey", "-pubout", stdin=key)
        exported = edgeroot("export-key", "-k", name)
        assert _openssl("pkey", "-outform", "DER", stdin=exported) == _openssl("pkey", "-outform", "DER", stdin=key)
    edgeroot("import-key", "-k", "ec", "-", stdin=key, code=1)
    shown = json.loads(edgeroot("key", "show", "ec", "--json"))
    assert (shown["key_type"], shown["key_bits"]) == ("ecc-key-pair:secp-r1", 256)
    assert "export" in shown["usage"]


def test_agreement(edgeroot: Run, tmp_path: Path) -> None:
    edgeroot("create-ecc-key", "-k", "agreement", "--curve", "x25519")
    private, public, ours = tmp_path / "private.pem", tmp_path / "public.pem", tmp_path / "ours.pem"
    private.write_bytes(_openssl("genpkey", "-algorithm", "X25519"))
    public.write_bytes(_openssl("pkey", "-in", str(private), "-pubout"))
    ours.write_bytes(edgeroot("export-public-key", "-k", "agreement"))

    secret = edgeroot("agree", "-k", "agreement", "--peer", str(public))

    assert secret == _openssl("pkeyutl", "-derive", "-inkey", str(private), "-peerkey", str(ours))
    edgeroot("export-key", "-k", "agreement", code=1)


def test_doctor(edgeroot: Run) -> None:
    report = json.loads(edgeroot("doctor", "--json"))

    assert report["healthy"]


def test_admins(edgeroot: Run) -> None:
    edgeroot("create-ecc-key", "-k", "of-root")
    assert b"0" in edgeroot("list-clients").split()
    edgeroot("delete-client", "-c", "0")
    assert edgeroot("list-keys") == b""


def test_upstreams_service_is_served_too(upstream: Run, tmp_path: Path) -> None:
    upstream("create-ecc-key", "-k", "device")
    signature = upstream("sign", "-k", "device", "hello").decode().strip()
    upstream("verify", "-k", "device", "hello", "-s", signature)
    upstream("create-aes-key", "-k", "files")
    plain, sealed = os.urandom(1 << 20), tmp_path / "sealed"
    upstream("encrypt-file", "-k", "files", "-", "-o", str(sealed), stdin=plain)
    assert upstream("decrypt-file", str(sealed)) == plain
    upstream("doctor")


def test_lists_read_as_those_of_upstreams_tool(upstream: Run, upstream_service: UpstreamService) -> None:
    for create in ("create-ecc-key", "create-rsa-key -s", "create-rsa-key -o", "create-rsa-key"):
        upstream(*create.split(), "-k", create.replace(" ", ""))
    for command in (
        ["ping"],
        ["list-providers"],
        ["list-authenticators"],
        ["list-keys"],
        ["export-public-key", "-k", "create-ecc-key"],
    ):
        theirs = run_parsec_tool(upstream_service.socket_path, *command, uid=os.geteuid())
        assert sorted(upstream(*command).decode().splitlines()) == sorted(theirs.stdout.splitlines()), command
