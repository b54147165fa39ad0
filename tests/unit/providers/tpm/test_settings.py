from __future__ import annotations

import os
import signal
from pathlib import Path
from time import sleep

import pytest

from edgeroot.daemon.config import Host, parse_config
from edgeroot.providers.software.provider import SoftwareProviderType, SoftwareSettings
from edgeroot.providers.tpm import TpmProviderType, TpmSettings
from edgeroot.providers.tpm.errors import CONNECTING, TpmError, tpm_error
from edgeroot.providers.tpm.native.machine import DeviceLock, apart, read_authorisation
from edgeroot.providers.tpm.settings import AuthSource, parse_auth
from edgeroot.psa import PsaError, PsaStatus, Secret
from tests.vectors.keys import refused


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("", AuthSource()),
        ("plain", AuthSource(Secret(b"plain"))),
        ("with: colon", AuthSource(Secret(b"with: colon"))),
        ("str:", AuthSource()),
        ("str:hex:00", AuthSource(Secret(b"hex:00"))),
        ("hex:00ff", AuthSource(Secret(b"\x00\xff"))),
        ("file:/etc/auth", AuthSource(file="/etc/auth")),
        ("credential:owner", AuthSource(credential="owner")),
    ],
)
def test_ways_to_give_an_authorisation(text: str, source: AuthSource) -> None:
    assert parse_auth(Secret(text.encode())) == source


@pytest.mark.parametrize("text", ["hex:secret", "hex:0", "file:", "file:a", "credential:", "credential:../a"])
def test_malformed_authorisations_are_refused_and_not_repeated(text: str) -> None:
    malformed = Secret(text.encode())
    with pytest.raises(ValueError, match="owner_hierarchy_auth") as caught:
        TpmSettings("device", owner_hierarchy_auth=malformed)
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="endorsement_hierarchy_auth"):
        TpmSettings("device", endorsement_hierarchy_auth=malformed)
    with pytest.raises(ValueError, match="not a text"):
        parse_auth(Secret(b"\xff"))


@pytest.mark.parametrize("tcti", ["", "/dev/tpm0", ":", "Device"])
def test_ways_to_no_tpm(tcti: str) -> None:
    with pytest.raises(ValueError, match="tcti"):
        TpmSettings(tcti)


@pytest.mark.parametrize(
    ("tcti", "one"),
    [
        ("device", False),
        ("device:/dev/tpmrm0", False),
        ("device:/dev/tpm0", True),
        ("tabrmd:bus_type=system", False),
        ("swtpm:host=127.0.0.1,port=2321", True),
        ("mssim", True),
    ],
)
def test_which_ways_have_one_connection(tcti: str, one: bool) -> None:
    assert TpmSettings(tcti).has_one_connection is one


def test_the_configuration_shows_no_authorisation() -> None:
    text = """
        [core_settings]
        [listener]
        listener_type = "DomainSocket"
        timeout = 200
        [authenticator]
        auth_type = "UnixPeerCredentials"
        [[key_manager]]
        name = "keys"
        manager_type = "SQLite"
        [[provider]]
        provider_type = "Tpm"
        key_info_manager = "keys"
        tcti = "mssim"
        owner_hierarchy_auth = "hex:736563726574"
        endorsement_hierarchy_auth = "secret"
        skip_if_no_tpm = true
    """
    config = parse_config(text, {"Tpm": TpmProviderType()}, host=Host(Path("/"), 1, lambda _name: 0))
    (provider,) = config.providers
    assert provider.name == "tpm-provider"
    assert provider.wire_id == 3
    assert provider.settings == TpmSettings("mssim", Secret(b"hex:736563726574"), Secret(b"secret"), True)
    assert "secret" not in repr(config)
    assert "7365" not in repr(config)


def test_authorisations_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner").write_bytes(b"a secret\n")
    assert read_authorisation(str(tmp_path / "owner"), "") == b"a secret"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with refused(PsaStatus.STORAGE_FAILURE):
        read_authorisation("", "owner")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_authorisation("", "owner") == b"a secret"
    with refused(PsaStatus.STORAGE_FAILURE):
        read_authorisation(str(tmp_path / "none"), "")


def test_one_holds_the_lock(tmp_path: Path) -> None:
    one, other = DeviceLock(tmp_path / "lock"), DeviceLock(tmp_path / "lock")
    one.acquire(0)
    one.acquire(0)
    with refused(PsaStatus.CONNECTION_BUSY):
        other.acquire(0.1)
    one.release()
    one.release()
    other.acquire(0)
    other.release()


def test_what_is_looked_at_apart_comes_back() -> None:
    here = os.getpid()
    seen = apart(lambda: os.getpid().to_bytes(8))
    assert int.from_bytes(seen) != here


def test_errors_come_back_as_they_are() -> None:
    def fail(error: PsaError) -> bytes:
        raise error

    with pytest.raises(TpmError) as caught:
        apart(lambda: fail(tpm_error(CONNECTING, 0xA000A, "text")))
    assert caught.value.is_absent
    assert caught.value.detail == tpm_error(CONNECTING, 0xA000A, "text").detail
    with pytest.raises(PsaError, match="who knows") as plain:
        apart(lambda: fail(PsaError(PsaStatus.CONNECTION_BUSY, "who knows")))
    assert plain.value.status is PsaStatus.CONNECTION_BUSY
    assert not isinstance(plain.value, TpmError)


def test_a_look_that_hangs_or_dies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeroot.providers.tpm.native.machine._APART_S", 0.2)

    def hang() -> bytes:
        sleep(60)
        return b"too late"

    def die() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b"never"

    for look in (hang, die):
        with refused(PsaStatus.COMMUNICATION_FAILURE):
            apart(look)


@pytest.mark.parametrize(
    ("tcti", "devices"),
    [("device:/dev/tpmrm0", ["/dev/tpmrm0"]), ("device", ["/dev/tpm0"]), ("tabrmd", []), ("swtpm:port=2321", [])],
)
def test_a_confined_service_keeps_its_tpms_device(tcti: str, devices: list[str]) -> None:
    assert list(map(str, TpmProviderType().devices(TpmSettings(tcti)))) == devices
    assert list(map(str, SoftwareProviderType().devices(SoftwareSettings(wrapping_key_tcti=tcti)))) == devices


def test_a_wrapping_key_in_a_plain_file_needs_no_device() -> None:
    assert SoftwareProviderType().devices(SoftwareSettings()) == ()
