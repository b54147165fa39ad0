"""Somebody on the way between the service and its TPM: who listens hears no secret, who changes anything is noticed."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key
from tpm2_pytss.constants import ESYS_TR

from edgeroot import engine
from edgeroot.providers.api import LoadedKey
from edgeroot.providers.tpm import TpmProvider
from edgeroot.providers.tpm.keys import authorisation
from edgeroot.providers.tpm.native.esys import EsysConnection
from edgeroot.providers.tpm.native.machine import DeviceLock
from edgeroot.psa import (
    Algorithm,
    EccFamily,
    Hash,
    KeyAttributes,
    KeyType,
    PsaError,
    PsaStatus,
    UsageFlags,
)
from tests.support.swtpm import Swtpm, credential_for, esapi, running_swtpm, two_free_ports

ALL: Final = UsageFlags(sum(UsageFlags))
PAIR: Final = KeyType.ecc_key_pair(EccFamily.SECP_R1)
P256: Final = KeyAttributes(PAIR, 256, ALL, Algorithm.ecdsa(Hash.SHA_256))
OAEP: Final = KeyAttributes(KeyType.RSA_KEY_PAIR, 2048, ALL, Algorithm.rsa_oaep(Hash.SHA_256))
HMAC: Final = KeyAttributes(KeyType.HMAC, 256, ALL, Algorithm.hmac(Hash.SHA_256))
ECDH: Final = KeyAttributes(PAIR, 256, ALL, Algorithm.ECDH)
AES: Final = KeyAttributes(KeyType.AES, 256, ALL, Algorithm.CTR)
OWNER_AUTH: Final = b"the owner's secret"
PLAINTEXT: Final = b"a text that is nobody's business"


class Tap:
    """Passes on what goes between a client and a TPM, on both channels, and keeps it. ``change`` may change it."""

    def __init__(self, swtpm: Swtpm) -> None:
        self.folder = swtpm.directory
        self.port = two_free_ports()
        self.heard = bytearray()
        self.change: Callable[[bytes], bytes] = bytes
        self._listeners = [socket.create_server(("127.0.0.1", self.port + number)) for number in range(2)]
        self._threads = [
            Thread(target=self._serve, args=(listener, swtpm.port + number))
            for number, listener in enumerate(self._listeners)
        ]
        for thread in self._threads:
            thread.start()

    def _serve(self, listener: socket.socket, port: int) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, socket.create_connection(("127.0.0.1", port)) as tpm:
                self._pass_on({client: tpm, tpm: client})

    def _pass_on(self, other: dict[socket.socket, socket.socket]) -> None:
        while True:
            for source in select.select(list(other), [], [])[0]:
                data = source.recv(4096)
                if not data:
                    return
                self.heard += data
                other[source].sendall(self.change(data))

    def close(self) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for thread in self._threads:
            thread.join(10)


@contextmanager
def tapped(swtpm: Swtpm) -> Iterator[Tap]:
    tap = Tap(swtpm)
    try:
        yield tap
    finally:
        tap.close()


@pytest.fixture
def swtpm(tmp_path: Path) -> Iterator[Swtpm]:
    with running_swtpm(tmp_path / "tpm") as swtpm:
        yield swtpm


def numbers_of(attributes: KeyAttributes, exported: bytes) -> list[bytes]:
    """The secret numbers of a key."""
    if attributes.key_type != KeyType.RSA_KEY_PAIR:
        return [exported]
    private = load_der_private_key(exported, None)
    assert isinstance(private, RSAPrivateKey)
    found = private.private_numbers()
    return [number.to_bytes(128, "big") for number in (found.p, found.q)]


def imported(provider: TpmProvider, attributes: KeyAttributes, secrets: list[bytes]) -> LoadedKey:
    exported = engine.export(attributes, engine.generate(attributes))
    secrets += [*numbers_of(attributes, exported), authorisation(attributes)]
    return provider.load(provider.create(None, attributes, exported).reference, attributes)


def test_no_secret_is_heard(swtpm: Swtpm) -> None:
    with esapi(swtpm) as owner:
        owner.hierarchy_change_auth(ESYS_TR.OWNER, OWNER_AUTH)
        owner.hierarchy_change_auth(ESYS_TR.ENDORSEMENT, OWNER_AUTH)
    secrets = [OWNER_AUTH]
    with tapped(swtpm) as tap:
        provider = behind(tap, auth=OWNER_AUTH)
        digest = b"a digest that need not be secret"
        signer = imported(provider, P256, secrets)
        provider.sign_hash(signer, P256.algorithm, digest)
        secrets.append(PLAINTEXT)
        decrypting = imported(provider, OAEP, secrets)
        ciphertext = provider.asymmetric_encrypt(decrypting, OAEP.algorithm, PLAINTEXT, b"")
        assert provider.asymmetric_decrypt(decrypting, OAEP.algorithm, ciphertext, b"") == PLAINTEXT
        agreeing = imported(provider, ECDH, secrets)
        other = engine.load(ECDH, engine.generate(ECDH)).export_public()
        secrets.append(provider.raw_key_agreement(agreeing, Algorithm.ECDH, other))
        for data in (PLAINTEXT, PLAINTEXT * 100):
            secrets.append(provider.mac_compute(imported(provider, HMAC, secrets), HMAC.algorithm, data))
            encrypting = imported(provider, AES, secrets)
            hidden = provider.cipher_encrypt(encrypting, AES.algorithm, data)
            assert provider.cipher_decrypt(encrypting, AES.algorithm, hidden) == data
        secrets.append(provider.generate_random(32))
        name, _, endorsement = provider.prepare_key_attestation(signer, None)
        blob, secret = credential_for(endorsement, name, PLAINTEXT)
        assert provider.attest_key(signer, None, credential_blob=blob, secret=secret) == PLAINTEXT
        provider.close()
        heard = bytes(tap.heard)
    assert digest in heard, "the tap hears nothing"
    assert [one for one in secrets if one in heard] == []
    assert len(secrets) > 15


def test_a_changed_digest_is_not_signed(swtpm: Swtpm) -> None:
    wanted, other = b"the digest of what was meant...!", b"the digest of something else...!"
    with tapped(swtpm) as tap:
        provider, key = signing(tap)
        tap.change = lambda data: data.replace(wanted, other)
        with pytest.raises(PsaError) as refused:
            provider.sign_hash(key, P256.algorithm, wanted)
        assert refused.value.status is not PsaStatus.SUCCESS
        tap.change = bytes
        provider.verify_hash(key, P256.algorithm, wanted, provider.sign_hash(key, P256.algorithm, wanted))
        provider.close()


def flipped(at: int) -> Callable[[bytes], bytes]:
    """Changes one bit of each response that has an authorisation."""

    def flip(data: bytes) -> bytes:
        if not (data.startswith(b"\x80\x02") and data[6:10] == bytes(4)):
            return data
        changed = bytearray(data)
        changed[at] ^= 1
        return bytes(changed)

    return flip


@pytest.mark.parametrize("at", [14, 40, -1, -40], ids=["size", "signature", "authorisation", "nonce"])
def test_a_changed_response_is_noticed_and_what_follows_is_not_hurt(swtpm: Swtpm, at: int) -> None:
    with tapped(swtpm) as tap:
        provider, key = signing(tap)
        calls: list[Callable[[], bytes]] = [
            lambda: provider.sign_hash(key, P256.algorithm, bytes(32)),
            lambda: provider.generate_random(32),
        ]
        for call in calls:
            tap.change = flipped(at)
            with pytest.raises(PsaError) as refused:
                call()
            assert refused.value.status is PsaStatus.CORRUPTION_DETECTED
            tap.change = bytes
            assert call()
        provider.close()


def behind(tap: Tap, *, auth: bytes = b"") -> TpmProvider:
    """Not as the service opens it, which forks to look at the TPM: this process has threads."""
    tcti = f"swtpm:host=127.0.0.1,port={tap.port}"
    provider = TpmProvider(
        lambda: EsysConnection(tcti),
        owner_auth=lambda: auth,
        endorsement_auth=lambda: auth,
        lock=DeviceLock(tap.folder / "lock"),
    )
    provider.start(None)
    return provider


def signing(tap: Tap) -> tuple[TpmProvider, LoadedKey]:
    """A provider behind the tap with a key that has signed, so that everything is loaded."""
    provider = behind(tap)
    key = provider.load(provider.create(None, P256, None).reference, P256)
    provider.sign_hash(key, P256.algorithm, bytes(32))
    return provider, key
