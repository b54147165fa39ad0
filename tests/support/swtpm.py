"""A TPM in software: the genuine swtpm, each in a folder of its own and on ports of its own."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from tpm2_pytss import ESAPI, TCTILdr
from tpm2_pytss.constants import TPM2_ALG
from tpm2_pytss.types import TPM2B_PUBLIC, TPMT_SYM_DEF_OBJECT, TPMU_SYM_KEY_BITS, TPMU_SYM_MODE
from tpm2_pytss.utils import make_credential

from tests.support.requirements import unavailable

_START_S: Final = 10.0
_PORTS: Final = range(12000, 32000, 2)
_PORT_TRIES: Final = 1000


class Swtpm:
    """A TPM that can be switched off and on; what is persistent in it survives that."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("swtpm") is None:
            unavailable("swtpm is not installed (Debian's package swtpm)")
        self.directory = directory
        self.port = two_free_ports()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def tcti(self) -> str:
        return f"swtpm:host=127.0.0.1,port={self.port}"

    def start(self) -> None:
        """Power on: the TPM is reset."""
        assert self._process is None
        self.directory.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [
                *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.directory}"),
                *("--server", f"type=tcp,port={self.port}", "--ctrl", f"type=tcp,port={self.port + 1}"),
                *("--flags", "not-need-init,startup-clear"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = monotonic() + _START_S
        # Whoever connects to the port of commands has the only connection, so only the other one is tried.
        while not _listens(self.port + 1):
            assert self._process.poll() is None, "swtpm ended"
            assert monotonic() < until, "swtpm did not start"
            sleep(0.01)

    def kill(self) -> None:
        """Cut the power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()


@contextmanager
def esapi(swtpm: Swtpm) -> Iterator[ESAPI]:
    """The TPM's only connection, for what an owner does with other tools; nothing is flushed at its end."""
    with TCTILdr.parse(swtpm.tcti) as tcti, ESAPI(tcti) as connection:
        yield connection


def with_tpm(swtpm: Swtpm, *lines: str) -> str:
    """What a service's configuration needs to have keys in this TPM, as provider 3."""
    table = ("[[provider]]", 'provider_type = "Tpm"', 'key_info_manager = "kim"', f'tcti = "{swtpm.tcti}"', *lines)
    return "".join(f"{line}\n" for line in table)


def credential_for(public: bytes, name: bytes, credential: bytes) -> tuple[bytes, bytes]:
    """What TPM2_MakeCredential gives (TPM 2.0 Library, Part 1, clause 24), as a verifier without a TPM makes it.

    ``public`` is the endorsement key as an RSAPublicKey, ``name`` that of the key that is to be attested.
    """
    key = load_der_public_key(public)
    area = TPM2B_PUBLIC.from_pem(
        key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        symmetric=TPMT_SYM_DEF_OBJECT(
            algorithm=TPM2_ALG.AES, keyBits=TPMU_SYM_KEY_BITS(aes=128), mode=TPMU_SYM_MODE(aes=TPM2_ALG.CFB)
        ),
    )
    blob, secret = make_credential(area, credential, name)
    return bytes(blob), bytes(secret)


@contextmanager
def running_swtpm(directory: Path) -> Iterator[Swtpm]:
    """A fresh TPM with its state in this folder."""
    swtpm = Swtpm(directory)
    swtpm.start()
    try:
        yield swtpm
    finally:
        swtpm.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def two_free_ports() -> int:
    """A port that is free, as is the one above it: the library takes that one for the control channel.

    From below those that the kernel gives to clients, of which one could take it before the TPM does.
    """
    for port in random.SystemRandom().sample(_PORTS, _PORT_TRIES):
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise AssertionError("no two free ports beside each other")
