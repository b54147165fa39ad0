"""A real service with its keys in a SoftHSM token: who loads the module, what is offered, what other software says."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from edgeroot.client import templates
from edgeroot.client.errors import NotPermittedError, NotSupportedError
from edgeroot.psa import Algorithm, Hash
from tests.support.clients import DIGEST, ECDSA, wait_until
from tests.support.service import READY, SOFTWARE_PROVIDER, Service, running_service
from tests.support.softhsm import SoftHsm, softhsm, with_hsm

PKCS11 = 2


@pytest.fixture
def hsm() -> Iterator[SoftHsm]:
    with softhsm(tokens=2) as made:
        yield made


@pytest.fixture
def service(hsm: SoftHsm) -> Iterator[Service]:
    with running_service(provider=with_hsm(hsm) + SOFTWARE_PROVIDER) as service:
        yield service


def has_module(pid: int) -> bool:
    return "libsofthsm2" in Path(f"/proc/{pid}/maps").read_text()


def test_it_presents_itself_as_upstreams(service: Service) -> None:
    with service.client() as client:
        shown = next(one for one in client.list_providers() if one.id == PKCS11)
        opcodes = client.list_opcodes(PKCS11)
    assert (shown.uuid, shown.vendor, shown.description) == (
        "30e39502-eba6-4d60-a4af-c518b7f5e38f",
        "OASIS Standard.",
        "PKCS #11 provider, interfacing with a PKCS #11 library.",
    )
    assert (shown.version_maj, shown.version_min, shown.version_rev) == (0, 1, 0)
    upstreams = {0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0A, 0x0B, 0x0D, 0x20}
    assert upstreams <= set(opcodes)


def test_the_module_is_in_the_host_process_and_in_no_other(service: Service) -> None:
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
        client.sign_hash("key", ECDSA, DIGEST)
    hosts = service.children("host")
    assert [has_module(pid) for pid in hosts] == [True]
    others = [service.pid, *(pid for pid in service.children() if pid not in hosts)]
    assert [pid for pid in others if has_module(pid)] == []


def test_keys_outlive_restarts_reloads_and_the_host(hsm: SoftHsm, service: Service) -> None:
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
        point = client.export_public_key("key")
    service.end()
    service.start()
    check_signature(service, point)
    (host,) = service.children("host")
    at = (service.folder / "log").stat().st_size
    service.signal(signal.SIGHUP)
    service.wait_for_log(READY, after=at)
    wait_until(partial(_has_another_host, service, host), "another host runs")
    check_signature(service, point)
    (host,) = service.children("host")
    os.kill(host, signal.SIGKILL)
    wait_until(partial(_has_another_host, service, host), "another host runs")
    check_signature(service, point)
    with service.client() as client:
        client.destroy_key("key")
    assert hsm.object_ids() == []


def _has_another_host(service: Service, old: int) -> bool:
    return service.children("host") not in ([], [old])


def check_signature(service: Service, point: bytes) -> None:
    """Signed in the token, verified by the package `cryptography`."""
    with service.client() as client:
        signature = client.sign_hash("key", ECDSA, DIGEST)
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    public.verify(encode_dss_signature(r, s), DIGEST, ec.ECDSA(Prehashed(SHA256())))


def test_other_software_agrees_about_rsa(hsm: SoftHsm) -> None:
    # SoftHSM 2.6.1 has OAEP over SHA-1 only, which the service lets nobody make keys for unless told to.
    with running_service(provider=with_hsm(hsm), core="allow_deprecated = true") as service, service.client() as client:
        client.generate_key("sign", templates.rsa_signing())
        client.generate_key("pss", templates.rsa_pss())
        client.generate_key("oaep", templates.rsa_oaep(hash_alg=Hash.SHA_1))
        client.generate_key("crypt", templates.rsa_pkcs1v15_crypt())
        of = {name: rsa_public(client.export_public_key(name)) for name in ("sign", "pss", "oaep", "crypt")}
        pkcs1 = client.sign_hash("sign", Algorithm.rsa_pkcs1v15_sign(Hash.SHA_256), DIGEST)
        pss = client.sign_hash("pss", Algorithm.rsa_pss(Hash.SHA_256), DIGEST)
        of["sign"].verify(pkcs1, DIGEST, padding.PKCS1v15(), Prehashed(SHA256()))
        of["pss"].verify(pss, DIGEST, padding.PSS(padding.MGF1(SHA256()), 32), Prehashed(SHA256()))
        sealed = of["oaep"].encrypt(b"a secret", padding.OAEP(padding.MGF1(SHA1()), SHA1(), None))
        assert client.asymmetric_decrypt("oaep", Algorithm.rsa_oaep(Hash.SHA_1), sealed) == b"a secret"
        sealed = of["crypt"].encrypt(b"a secret", padding.PKCS1v15())
        assert client.asymmetric_decrypt("crypt", Algorithm.RSA_PKCS1V15_CRYPT, sealed) == b"a secret"


def rsa_public(der: bytes) -> rsa.RSAPublicKey:
    key = load_der_public_key(der)
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def test_other_software_agrees_about_aes_and_ecdh(service: Service) -> None:
    with service.client() as client:
        client.import_key("aes", templates.aes_gcm(), bytes(range(32)))
        sealed = client.aead_encrypt("aes", Algorithm.GCM, bytes(12), b"header", b"plain")
        assert AESGCM(bytes(range(32))).decrypt(bytes(12), sealed, b"header") == b"plain"
        client.generate_key("agree", templates.ecdh(384))
        peer = ec.generate_private_key(ec.SECP384R1())
        own = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), client.export_public_key("agree"))
        point = peer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        assert client.raw_key_agreement(Algorithm.ECDH, "agree", point) == peer.exchange(ec.ECDH(), own)


def test_what_the_token_lacks_is_answered_so_and_nothing_is_left(hsm: SoftHsm, service: Service) -> None:
    with service.client() as client:
        with pytest.raises(NotSupportedError):
            client.generate_key("oaep", templates.rsa_oaep(hash_alg=Hash.SHA_256))
        with pytest.raises(NotSupportedError):
            client.generate_key("x25519", templates.x25519())
        assert client.list_keys() == ()
    assert hsm.object_ids() == []


def test_a_key_that_must_not_leave_the_token_does_not(hsm: SoftHsm) -> None:
    with running_service(provider=with_hsm(hsm, "allow_export = false")) as service, service.client() as client:
        with pytest.raises(NotPermittedError):
            client.generate_key("out", templates.ecdsa_p256(exportable=True))
        client.generate_key("in", templates.ecdsa_p256())
        with pytest.raises(NotPermittedError):
            client.export_key("in")


def test_the_pin_may_be_in_a_file_and_is_in_no_log(hsm: SoftHsm) -> None:
    pin = hsm.folder / "pin"
    pin.write_text("1234-right\n")
    with running_service(provider=with_hsm(hsm, pin=f"file:{pin}")) as service:
        text = service.config_path.read_text().replace('log_level = "info"', 'log_level = "trace"')
        service.end()
        service.config_path.write_text(text)
        service.start()
        with service.client() as client:
            client.generate_key("key", templates.ecdsa_p256())
        service.end()
        assert not re.search("1234-right|officer", service.log())


def test_two_tokens_are_two_providers(hsm: SoftHsm) -> None:
    second = with_hsm(hsm, 'token_label = "edgeroot-test-1"', 'name = "second"')
    with running_service(provider=with_hsm(hsm) + second) as service, service.client() as client:
        assert [one.name for one in client.list_providers()] == ["pkcs11-provider", "second", "core-provider"]
        client.generate_key("key", templates.ecdsa_p256())
        assert len(hsm.object_ids()) == 2
