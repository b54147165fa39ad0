"""Secrets stay where they belong: not in logs, not in printed values, not readable on disk, not open to a debugger."""

from __future__ import annotations

import base64
import ctypes
import errno
import os
import random
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.client import Client, errors, templates
from edgeroot.psa import Algorithm, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret, UsageFlags
from edgeroot.service.jobs import Job, JobOutcome
from edgeroot.wire import operations as ops
from edgeroot.wire.framing import Request, Response
from edgeroot.wire.opcodes import SPECS
from edgeroot.wire.record import Record
from edgeroot.wire.status import ResponseStatus
from tests.interop.random_operations import ec_key, rsa_key, rsa_pair_der, scalar
from tests.support.clients import as_user, wait_until
from tests.support.requirements import require_root
from tests.support.service import Service, running_service

RAW = KeyAttributes(KeyType.RAW_DATA, 256, UsageFlags.EXPORT, Algorithm.NONE)
MARK = b"\xa5SECRET\x5a"


def forms(secret: bytes) -> list[bytes]:
    """How a secret might be written down."""
    text = [secret.hex(), secret.hex(" "), secret.hex(":"), base64.b64encode(secret[: len(secret) // 3 * 3]).decode()]
    return [secret, repr(secret)[2:-1].encode(), str(list(secret))[1:-1].encode(), *map(str.encode, text)]


def found_in(haystack: bytes, secrets: dict[str, bytes]) -> list[str]:
    lowered = haystack.lower()
    return [name for name, secret in secrets.items() for form in forms(secret) if form.lower() in lowered]


def use_secrets(service: Service) -> dict[str, bytes]:
    """Known secrets through every operation that takes or gives one, rightly and wrongly; what they are."""
    rng = random.Random(7)
    crypt = templates.rsa_pkcs1v15_crypt(1024, exportable=True)
    secrets = {name: rng.randbytes(32) for name in ("aes", "hmac", "raw", "plaintext", "message", "malformed")}
    rsa_private = rsa_key(1024)
    secrets["rsa p"] = rsa_private.private_numbers().p.to_bytes(64, "big")
    secrets["ec"] = scalar(ec_key(ec.SECP256R1))
    with service.client() as client:
        client.import_key("aes", templates.aes_gcm(256, exportable=True), secrets["aes"])
        client.import_key("ctr", templates.aes_cipher(Algorithm.CTR, exportable=True), secrets["aes"])
        client.import_key("hmac", templates.hmac(exportable=True), secrets["hmac"])
        client.import_key("raw", RAW, secrets["raw"])
        client.import_key("rsa", crypt, rsa_pair_der(rsa_private))
        client.import_key("ec", templates.ecdsa_p256(exportable=True), secrets["ec"])
        client.import_key("ecdh", templates.ecdh(exportable=True), secrets["ec"])
        for attributes in (crypt, templates.aes_gcm(128), templates.ecdsa_p384()):
            with pytest.raises(errors.ServiceError):
                client.import_key("malformed", attributes, secrets["malformed"])
        with pytest.raises(errors.AlreadyExistsError):
            client.import_key("aes", templates.aes_gcm(256), secrets["malformed"])
        assert client.export_key("aes") == secrets["aes"]
        assert client.export_key("ec") == secrets["ec"]
        sealed = client.aead_encrypt("aes", Algorithm.GCM, bytes(12), b"", secrets["plaintext"])
        assert client.aead_decrypt("aes", Algorithm.GCM, bytes(12), b"", sealed) == secrets["plaintext"]
        with pytest.raises(errors.InvalidSignatureError):
            client.aead_decrypt("aes", Algorithm.GCM, bytes(12), b"x", sealed)
        client.cipher_decrypt("ctr", Algorithm.CTR, client.cipher_encrypt("ctr", Algorithm.CTR, secrets["plaintext"]))
        ciphertext = client.asymmetric_encrypt("rsa", Algorithm.RSA_PKCS1V15_CRYPT, secrets["plaintext"])
        assert client.asymmetric_decrypt("rsa", Algorithm.RSA_PKCS1V15_CRYPT, ciphertext) == secrets["plaintext"]
        with pytest.raises(errors.ServiceError):
            client.asymmetric_encrypt("rsa", Algorithm.RSA_PKCS1V15_CRYPT, secrets["plaintext"] * 5)
        client.mac_compute("hmac", Algorithm.hmac(Hash.SHA_256), secrets["message"])
        client.sign_message("ec", Algorithm.ecdsa(Hash.SHA_256), secrets["message"])
        client.hash_compute(Hash.SHA_256, secrets["message"])
        peer = client.export_public_key("ecdh")
        secrets["shared"] = bytes(client.raw_key_agreement(Algorithm.ECDH, "ecdh", peer))
        with pytest.raises(errors.NotPermittedError):
            client.asymmetric_encrypt("aes", Algorithm.RSA_PKCS1V15_CRYPT, secrets["plaintext"])
        secrets["random"] = bytes(client.generate_random(32))
        client.destroy_key("raw")
    return secrets


def test_a_search_for_secrets_finds_them() -> None:
    secret = {"it": MARK}
    for written in (MARK, MARK.hex().encode(), repr(MARK).encode(), base64.b64encode(MARK[:6]), str([*MARK]).encode()):
        assert found_in(b"... " + written + b" ...", secret), written
    assert not found_in(b"... nothing ...", secret)


def test_no_secret_in_logs_or_on_disk() -> None:
    with running_service(core="log_error_details = true", start=False) as service:
        config = service.config_path.read_text()
        assert 'log_level = "info"' in config
        service.config_path.write_text(config.replace('"info"', '"trace"'))
        service.start()
        secrets = use_secrets(service)
        wrapping_key_path = Path(f"{service.store_path}.key")
        secrets["wrapping key"] = wrapping_key_path.read_bytes()[-32:]
        on_disk = [path for path in (service.folder / "store").rglob("*") if path.is_file()]
        assert {path.suffix for path in on_disk} >= {".edgeroot", ".key", ".edgeroot-wal"}
        for path in on_disk:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
            if path != wrapping_key_path:
                assert found_in(path.read_bytes(), secrets) == [], path
        assert service.stop() == 0  # and what it writes out at the end
        for path in (service.folder / "store").rglob("*"):
            if path.is_file() and path != wrapping_key_path:
                assert found_in(path.read_bytes(), secrets) == [], path
        log = service.log()
        assert "AUDIT" in log
        assert found_in(log.encode(), secrets) == []


def test_folders_that_the_service_makes_are_its_own(service: Service) -> None:
    for path in (service.folder / "store", *(service.folder / "store").rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


SECRET_FIELDS = {"data", "plaintext", "message", "input", "shared_secret", "random_bytes", "secret", "credential"}
PUBLIC = {ops.PsaExportPublicKeyResult}


@pytest.mark.parametrize(
    "kind",
    sorted({kind for spec in SPECS.values() for kind in (spec.operation, spec.result)}, key=str),
)
def test_printed_operations_and_results_hold_no_secret(kind: type[Record]) -> None:
    names = kind.__match_args__
    printed = repr(kind(**dict.fromkeys(names, MARK)))
    for name in names:
        if name in SECRET_FIELDS and kind not in PUBLIC:
            assert f"{name}=" not in printed


def test_printed_messages_jobs_and_secrets_hold_no_secret() -> None:
    values = [
        Secret(MARK),
        f"{Secret(MARK)} {Secret(MARK)!r} {Secret(MARK):>40}",
        [Secret(MARK)],
        Request(0, 1, 0, 0, 0, 3, 2, MARK, MARK, 44),
        Response(1, 0, 2, ResponseStatus.SUCCESS, MARK),
        Job(0, 2, MARK),
        JobOutcome(0, MARK),
        PsaError(PsaStatus.INVALID_ARGUMENT),
    ]
    for value in values:
        for printed in (repr(value), str(value), f"{value}"):
            assert found_in(printed.encode(), {"mark": MARK}) == []


# Processes. As root nobody is kept out, so the service runs as a user of its own here.


@pytest.fixture(scope="module")
def unprivileged() -> Iterator[tuple[list[int], int]]:
    """The processes of a service started by ``edgeroot up``, and their user."""
    require_root("start a service as another user")
    with tempfile.TemporaryDirectory(prefix="edgeroot-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        command = [sys.executable, "-m", "edgeroot", "up", "--socket", f"{folder}/run/s", "--state", f"{folder}/state"]
        command += ["--world-state", f"{folder}/world", "--world-runtime", f"{folder}/world-run"]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            wait_until(lambda: _answers(f"unix:{folder}/run/s"), "the service answers")
            yield _family(process.pid), (folder / "state").stat().st_uid
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(endpoint: str) -> bool:
    try:
        with Client(endpoint) as client:
            client.generate_key(f"key{time.monotonic_ns()}", templates.ecdsa_p256())
    except errors.ClientError:
        return False
    return True


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert len(children) >= 3  # workers, a writer, helpers
    return [pid, *map(int, children)]


@contextmanager
def process_of(uid: int) -> Iterator[int]:
    """A process of this user that nothing protects."""
    with subprocess.Popen(["sleep", "60"], user=uid, group=uid, extra_groups=[]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def _open(path: str) -> str:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "opened"


def _attach(pid: int) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    seize, detach = 0x4206, 17
    if libc.ptrace(seize, pid, None, None) == 0:
        libc.ptrace(detach, pid, None, None)
        return "attached"
    return errno.errorcode[ctypes.get_errno()]


def _read_memory(pid: int) -> str:
    libc = ctypes.CDLL(None, use_errno=True)

    class Area(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    buffer = ctypes.create_string_buffer(8)
    here = Area(ctypes.addressof(buffer), 8)
    there = Area(0x400000, 8)
    libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    return errno.errorcode.get(ctypes.get_errno(), "read")


def test_processes_of_the_same_user_cannot_look_inside(unprivileged: tuple[list[int], int]) -> None:
    pids, uid = unprivileged
    assert uid != 0

    def attempts(pid: int) -> list[str]:
        files = [f"/proc/{pid}/{name}" for name in ("mem", "maps", "environ", "auxv", "fd/0")]
        return as_user(uid, lambda: [*map(_open, files), _attach(pid), _read_memory(pid)])

    with process_of(uid) as other:
        assert attempts(other)[:4] == ["opened"] * 4, "the attempts do not work at all"
        assert attempts(other)[5] in ("attached", "EPERM")  # Yama forbids it on some machines
    for pid in pids:
        assert set(attempts(pid)) <= {"EACCES", "EPERM"}, pid


def test_no_core_dumps_and_no_new_privileges(unprivileged: tuple[list[int], int]) -> None:
    for pid in unprivileged[0]:
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits)
        assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()
