"""A real service with its keys in a TPM: over restarts, reloads and deaths of its host process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from tpm2_pytss.constants import TPM2_CAP

from edgeroot.client import templates
from edgeroot.client.errors import InvalidArgumentError, NotSupportedError, ServiceError
from edgeroot.psa import Algorithm, EccFamily, KeyType, UsageFlags
from tests.support.clients import DIGEST, ECDSA, wait_until
from tests.support.service import READY, SOFTWARE_PROVIDER, Service, running_service
from tests.support.swtpm import Swtpm, credential_for, esapi, running_swtpm, with_tpm

TPM = 3


@pytest.fixture
def swtpm(tmp_path: Path) -> Iterator[Swtpm]:
    with running_swtpm(tmp_path / "tpm") as swtpm:
        yield swtpm


@pytest.fixture
def service(swtpm: Swtpm) -> Iterator[Service]:
    with running_service(provider=with_tpm(swtpm)) as service:
        yield service


def check_signature(service: Service, name: str) -> None:
    """Signed by the TPM, verified by the package `cryptography`."""
    with service.client() as client:
        signature = client.sign_hash(name, ECDSA, DIGEST)
        point = client.export_public_key(name)
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    public.verify(encode_dss_signature(r, s), DIGEST, ec.ECDSA(Prehashed(SHA256())))


def reload(service: Service, old: str, new: str, *, expect: str = READY) -> None:
    text = service.config_path.read_text()
    assert old in text
    service.config_path.write_text(text.replace(old, new))
    at = (service.folder / "log").stat().st_size
    service.signal(signal.SIGHUP)
    service.wait_for_log(expect, after=at)


def has_another_host(service: Service, old: int) -> bool:
    return service.children("host") not in ([], [old])


def test_it_presents_itself_as_upstreams(service: Service) -> None:
    with service.client() as client:
        tpm = next(one for one in client.list_providers() if one.id == TPM)
        opcodes = client.list_opcodes(TPM)
    assert (tpm.uuid, tpm.vendor) == ("1e4954a4-ff21-46d3-ab0c-661eeb667e1d", "Trusted Computing Group (TCG)")
    upstreams = {0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0A, 0x0B, 0x0D, 0x1E, 0x1F, 0x20}
    assert upstreams <= set(opcodes)


def test_keys_outlive_a_restart_of_the_service_and_of_the_tpm(swtpm: Swtpm, service: Service) -> None:
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
    check_signature(service, "key")
    service.end()
    swtpm.restart()
    service.start()
    check_signature(service, "key")


def test_a_tpm_that_is_reset_under_the_service_is_taken_up_again(swtpm: Swtpm, service: Service) -> None:
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
        for _ in range(3):
            check_signature(service, "key")
            swtpm.restart()
        swtpm.kill()
        with pytest.raises(ServiceError, match="CommunicationFailure"):
            client.sign_hash("key", ECDSA, DIGEST)
        swtpm.start()
    check_signature(service, "key")


def test_a_host_that_dies_leaves_nothing_that_the_next_stumbles_over(service: Service) -> None:
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
        client.generate_key("other", templates.ecdsa_p256())
    for _ in range(4):  # three objects, three sessions: if one of each stayed, the fourth would not fit
        check_signature(service, "key")
        check_signature(service, "other")
        (host,) = service.children("host")
        os.kill(host, signal.SIGKILL)
        wait_until(partial(has_another_host, service, host), "another host")
    check_signature(service, "key")


def test_a_reload_hands_the_only_connection_over(service: Service) -> None:
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
    check_signature(service, "key")
    reload(service, "allow_root = true", "allow_root = true\nallow_deprecated = true")
    check_signature(service, "key")


def test_a_service_that_ends_leaves_the_tpm_empty(swtpm: Swtpm, service: Service) -> None:
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
    check_signature(service, "key")
    assert service.stop() == 0
    with esapi(swtpm) as others:
        for kind in (0x02000000, 0x80000000):
            _, found = others.get_capability(TPM2_CAP.HANDLES, kind, 8)
            assert found.data.handles.count == 0


def test_other_settings_for_a_tpm_with_one_connection_need_a_restart(service: Service) -> None:
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
    check_signature(service, "key")
    auth = 'owner_hierarchy_auth = "str:"\nprovider_type = "Tpm"'
    reload(service, 'provider_type = "Tpm"', auth, expect="the configuration stays as it was")
    assert "restart the service" in service.log()
    check_signature(service, "key")
    service.end()
    service.start()
    check_signature(service, "key")


def test_stored_keys_of_a_tpm_that_was_cleared_are_not_lost_in_silence(tmp_path: Path, service: Service) -> None:
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
    service.end()
    with running_swtpm(tmp_path / "another") as another:
        text = service.config_path.read_text()
        service.config_path.write_text(text.replace('tcti = "', f'tcti = "{another.tcti}" # "'))
        service.start(wait=False)
        assert service.process is not None
        assert service.process.wait(30) != 0
    assert "its primary key is not that of the stored keys" in service.log()


def test_without_a_tpm_the_service_does_not_start_unless_it_is_told_that_there_may_be_none(swtpm: Swtpm) -> None:
    swtpm.kill()
    with running_service(provider=SOFTWARE_PROVIDER, extra=with_tpm(swtpm), start=False) as service:
        service.start(wait=False)
        assert service.process is not None
        assert service.process.wait(30) != 0
        assert "provider tpm-provider cannot start: connecting" in service.log()
        service.config_path.write_text(service.config_path.read_text() + "skip_if_no_tpm = true\n")
        service.start()
        assert "provider tpm-provider is left out" in service.log()
        with service.client() as client:
            assert [one.id for one in client.list_providers()] == [1, 0]
            client.generate_key("key", templates.ecdsa_p256())
        swtpm.start()
        reload(service, "allow_root", "log_error_details = true\nallow_root")
        with service.client() as client:
            assert [one.id for one in client.list_providers()] == [1, TPM, 0]
        with service.client(provider=TPM) as client:
            client.generate_key("in the TPM", templates.ecdsa_p256())
            client.sign_hash("in the TPM", ECDSA, DIGEST)


def test_a_verifier_learns_that_a_key_is_in_the_tpm(service: Service) -> None:
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
        client.generate_key("other", templates.ecdsa_p256())
        prepared = client.prepare_key_attestation("key")
        blob, secret = credential_for(prepared.attesting_key_pub, prepared.name, b"a challenge")
        assert client.attest_key("key", blob, secret) == b"a challenge"
        for name, one, other in (
            ("other", blob, secret),
            ("key", blob, secret[::-1]),
            ("key", blob + b"x", secret),
            ("key", b"", b""),
            ("key", bytes(133), secret),
            ("key", blob, bytes(513)),
        ):
            with pytest.raises(InvalidArgumentError):
                client.attest_key(name, one, other)
        assert client.attest_key("key", blob, secret) == b"a challenge"
        with pytest.raises(NotSupportedError):
            client.prepare_key_attestation("key", "other")
        with pytest.raises(NotSupportedError):
            client.attest_key("key", blob, secret, "other")
        point = client.export_public_key("key")
    assert point[1:33] in prepared.public


def test_agreement_and_randomness(service: Service) -> None:
    family = KeyType.ecc_key_pair(EccFamily.SECP_R1)
    attributes = replace(templates.ecdsa_p256(), key_type=family, usage=UsageFlags.DERIVE, algorithm=Algorithm.ECDH)
    with service.client() as client:
        client.generate_key("one", attributes)
        client.generate_key("other", attributes)
        shared = client.raw_key_agreement(Algorithm.ECDH, "one", client.export_public_key("other"))
        assert shared == client.raw_key_agreement(Algorithm.ECDH, "other", client.export_public_key("one"))
        assert len(client.generate_random(10_000)) == 10_000


def test_the_log_says_what_is_wrong_with_the_tpm(swtpm: Swtpm, service: Service) -> None:
    with service.client() as client:
        swtpm.kill()
        for _ in range(3):
            with pytest.raises(ServiceError):
                client.generate_random(8)
        service.wait_for_log("provider 3 failed")
        swtpm.start()
        client.generate_random(8)
    complaints = [line for line in service.log().splitlines() if "provider 3 failed" in line]
    assert "the TPM does not answer" in complaints[0]
    assert len(set(complaints)) == len(complaints) <= 2  # the connection breaks, and then there is none
