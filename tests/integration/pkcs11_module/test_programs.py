"""Programs that know nothing of Parsec use its keys through PKCS#11."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from edgeroot.client import templates
from edgeroot.psa import Hash
from tests.support.clients import wait_until
from tests.support.pkcs11_module import Programs, module
from tests.support.requirements import require_root
from tests.support.tls_material import self_signed
from tests.support.tls_servers import free_port, listening


@pytest.fixture
def device(programs: Programs) -> Programs:
    """With a P-256 key "device", an RSA key "signer", and a certificate of the first in ``device.crt``."""
    with programs.service.client() as client:
        client.generate_key("device", templates.ecdsa_p256())
        client.generate_key("signer", templates.rsa_signing(2048, Hash.ANY))
        programs.path("device.crt").write_bytes(self_signed(client, "device", "device"))
    return programs


@pytest.mark.parametrize("key", ["device", "signer"])
def test_openssl_requests_a_certificate(device: Programs, key: str) -> None:
    request = device.openssl("req", "-new", "-key", f"pkcs11:object={key};type=private", "-subj", "/CN=gateway-17")
    made = x509.load_pem_x509_csr(request.encode())
    assert made.is_signature_valid
    assert made.subject.rfc4514_string() == "CN=gateway-17"


def test_openssl_signs_files_and_messages(device: Programs) -> None:
    message, signature = device.path("message"), device.path("signature")
    message.write_bytes(b"reading" * 10_000)
    device.openssl(
        "pkeyutl", "-sign", "-rawin", "-digest", "sha256", "-inkey", "pkcs11:object=device;type=private",
        "-in", message, "-out", signature,
    )  # fmt: skip
    certificate = device.path("device.crt")
    device.path("device.pub").write_text(device.run("openssl", "x509", "-in", certificate, "-pubkey", "-noout"))
    verify = ("openssl", "dgst", "-sha256", "-verify", device.path("device.pub"), "-signature", signature)
    assert device.run(*verify, message) == "Verified OK\n"
    device.openssl(
        "cms", "-sign", "-in", message, "-signer", certificate, "-inkey", "pkcs11:object=device;type=private",
        "-outform", "DER", "-out", signature, "-binary",
    )  # fmt: skip
    device.run(
        "openssl", "cms", "-verify", "-in", signature, "-inform", "DER", "-content", message, "-CAfile", certificate,
        "-purpose", "any", "-out", "/dev/null", "-binary",
    )  # fmt: skip


def test_gnutls_on_both_sides(device: Programs) -> None:
    port, certificate = free_port(), device.path("device.crt")
    key = "pkcs11:token=mbed-crypto-provider;object=device;type=private"
    both = ("--provider", module(), "--x509cafile", certificate, "--x509certfile", certificate, "--x509keyfile", key)
    server = ("gnutls-serv", "--http", "--quiet", "--require-client-cert", "--port", str(port), *both)
    with listening(server, port, device.environment, device.path("log")):
        said = device.run(
            "gnutls-cli", *both, "--port", str(port), "localhost", text="GET / HTTP/1.0\r\n\r\n"
        )  # fmt: skip
    assert "HTTP/1.0 200 OK" in said


def test_gnutls_lists_tokens_and_keys(device: Programs) -> None:
    listed = device.run("p11tool", "--provider", module(), "--list-all", "pkcs11:token=mbed-crypto-provider")
    assert "object=device;type=private" in listed
    assert "object=signer;type=public" in listed


@contextmanager
def ssh_server(programs: Programs, *, keys: str) -> Iterator[int]:
    """An sshd of its own that lets the owners of these keys in as root."""
    port = free_port()
    programs.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", programs.path("host"))
    programs.path("authorized").write_text(keys)
    configuration = programs.path("sshd.conf")
    configuration.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {programs.path('host')}\n"
        f"AuthorizedKeysFile {programs.path('authorized')}\nStrictModes no\nPidFile none\n"
        "AuthenticationMethods publickey\nPermitRootLogin yes\nUsePAM no\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)  # where it gives up its privileges
    server = (shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", configuration)
    with listening(server, port, programs.environment, programs.path("sshd.log")):
        yield port


def ssh(programs: Programs, port: int, *options: str, environment: dict[str, str] | None = None) -> str:
    return programs.run(
        "ssh", "-F", "none", "-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no",
        "-o", "BatchMode=yes", "-o", "IdentityFile=none", *options, "-p", str(port), "root@127.0.0.1", "echo let in",
        environment=environment,
    )  # fmt: skip


def test_ssh_by_the_module_and_by_an_agent(device: Programs) -> None:
    require_root("run an sshd that lets in its own user")
    keys = device.run("ssh-keygen", "-D", module())
    assert [line.split()[-1] for line in keys.splitlines()] == ["device", "signer"]
    with ssh_server(device, keys=keys.splitlines()[0] + "\n") as port:
        assert ssh(device, port, "-o", f"PKCS11Provider={module()}", "-o", "IdentityAgent=none") == "let in\n"
        agent = device.path("agent")
        command = ("ssh-agent", "-D", "-a", agent, "-P", str(module()))
        with listening_agent(device, command, agent):
            environment = {
                **device.environment,
                "SSH_AUTH_SOCK": str(agent),
                "SSH_ASKPASS": "/bin/true",
                "SSH_ASKPASS_REQUIRE": "force",
            }
            device.run("ssh-add", "-s", module(), environment=environment)
            assert "device (ECDSA)" in device.run("ssh-add", "-l", environment=environment)
            assert ssh(device, port, environment=environment) == "let in\n"


@contextmanager
def listening_agent(programs: Programs, command: tuple[str | Path, ...], place: Path) -> Iterator[None]:
    with subprocess.Popen([str(one) for one in command], env=programs.environment, stdout=subprocess.DEVNULL) as agent:
        try:
            wait_until(place.exists, "the agent listens")
            yield
        finally:
            agent.terminate()


def test_java_finds_the_key_by_its_certificate(device: Programs) -> None:
    der = device.path("device.der")
    certificate = x509.load_pem_x509_certificate(device.path("device.crt").read_bytes())
    der.write_bytes(certificate.public_bytes(Encoding.DER))
    device.pkcs11_tool("--write-object", der, "--type", "cert", "--label", "device", "--id", b"device".hex())
    configuration = device.path("pkcs11.cfg")
    configuration.write_text(f"name = edgeroot\nlibrary = {module()}\nslotListIndex = 0\n")
    store = (
        "-storetype", "PKCS11", "-keystore", "NONE", "-storepass", "none",
        "-addprovider", "SunPKCS11", "-providerArg", configuration,
    )  # fmt: skip
    assert "device, PrivateKeyEntry" in device.run("keytool", "-list", *store)
    request = device.run("keytool", "-certreq", "-alias", "device", "-sigalg", "SHA256withECDSA", *store)
    made = x509.load_pem_x509_csr(request.replace(" NEW ", " ").encode())
    assert made.is_signature_valid
    assert made.public_key() == certificate.public_key()


def test_python_pkcs11(device: Programs) -> None:
    """In a process of its own, which its library is loaded into for good."""
    script = device.path("sign.py")
    script.write_text(
        "import sys, pkcs11\n"
        "from pkcs11.util.ec import encode_ecdsa_signature\n"
        "token = pkcs11.lib(sys.argv[1]).get_token(token_label='mbed-crypto-provider')\n"
        "with token.open() as session:\n"
        "    key = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label='device')\n"
        "    public = session.get_key(object_class=pkcs11.ObjectClass.PUBLIC_KEY, label='device')\n"
        "    raw = key.sign(b'message', mechanism=pkcs11.Mechanism.ECDSA_SHA256)\n"
        "    assert public.verify(b'message', raw, mechanism=pkcs11.Mechanism.ECDSA_SHA256)\n"
        "    assert not public.verify(b'another', raw, mechanism=pkcs11.Mechanism.ECDSA_SHA256)\n"
        "    print(encode_ecdsa_signature(raw).hex())\n"
    )
    signature = bytes.fromhex(device.run(sys.executable, script, module()))
    key = x509.load_pem_x509_certificate(device.path("device.crt").read_bytes()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(signature, b"message", ec.ECDSA(hashes.SHA256()))


MAKES_WHILE_OTHERS_LIST = """
import sys, threading, traceback, pkcs11
from contextlib import suppress
from pkcs11.util.ec import encode_named_curve_parameters

token = pkcs11.lib(sys.argv[1]).get_token(token_label="mbed-crypto-provider")
curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
over, failures = threading.Event(), []

def make(maker):
    try:
        with token.open(rw=True) as session:
            parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
            for number in range(25):
                label = f"key {maker} {number}"
                _, private = parameters.generate_keypair(store=True, label=label)
                private.sign(b"message", mechanism=pkcs11.Mechanism.ECDSA_SHA256)
                private.destroy()
                assert not list(session.get_objects({pkcs11.Attribute.LABEL: label})), f"{label}: still there"
    except (AssertionError, pkcs11.PKCS11Error):
        failures.append(traceback.format_exc())

def find():
    with token.open() as session:
        while not over.is_set():
            # The library reads the attributes of what was found, which may be destroyed by then.
            with suppress(pkcs11.exceptions.ObjectHandleInvalid):
                list(session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY}))

finders = [threading.Thread(target=find) for _ in range(4)]
makers = [threading.Thread(target=make, args=(number,)) for number in range(4)]
for one in finders + makers:
    one.start()
for one in makers:
    one.join()
over.set()
for one in finders:
    one.join()
sys.exit("\\n".join(failures) or 0)
"""


def test_a_key_made_while_other_threads_list_keeps_its_handle(programs: Programs) -> None:
    """By python-pkcs11, which lets other threads run while the module does."""
    script = programs.path("make_and_list.py")
    script.write_text(MAKES_WHILE_OTHERS_LIST)
    programs.run(sys.executable, script, module())
