from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeroot.abi.emulation import memory_slots
from edgeroot.providers.api import Function
from edgeroot.providers.trusted_services import TrustedServicesProviderType, TrustedServicesSettings, provider
from edgeroot.providers.trusted_services.capabilities import capabilities
from edgeroot.providers.trusted_services.native import ChannelLink
from edgeroot.providers.trusted_services.provider import TrustedServicesProvider
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaStatus, UsageFlags
from tests.unit.providers.trusted_services.test_steps_keys import P256
from tests.vectors.keys import refused


def opened(settings: TrustedServicesSettings) -> TrustedServicesProvider:
    return TrustedServicesProviderType().open(settings, store_path=Path("/nonexistent/keys"))


def emulated(path: Path = Path("/nonexistent/spm.sock")) -> TrustedServicesProvider:
    return opened(TrustedServicesSettings(socket_path=path))


def test_upstreams_identity() -> None:
    identity = TrustedServicesProvider.identity
    assert (identity.provider_id, identity.uuid) == (4, "71129441-508a-4da6-b6e8-7b98a777e4c0")
    assert (identity.vendor, identity.version) == ("Arm", (0, 1, 0))
    assert TrustedServicesProviderType.provider_type == "TrustedService"
    assert TrustedServicesProviderType().setting_names() == ("transport", "socket_path", "key_location")


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match='"emulated" or "device", not "radio"'):
        TrustedServicesSettings(transport="radio")
    with pytest.raises(ValueError, match="leave it out"):
        TrustedServicesSettings(transport="device", socket_path=Path("/x"))


def test_a_device_has_a_process_of_its_own_and_the_emulated_world_needs_none() -> None:
    device = opened(TrustedServicesSettings(transport="device"))
    assert device.needs_host
    assert device.stepped(1) is None
    assert not device.is_neighbour()
    assert not emulated().needs_host
    assert emulated().stepped(1) is not None


@pytest.mark.parametrize("cores", [1, 2, 4, 16, 64])
@pytest.mark.parametrize("processes_per_core", [1, 2, 4])
def test_all_processes_find_room_in_the_partition_also_during_a_reload(
    monkeypatch: pytest.MonkeyPatch, cores: int, processes_per_core: int
) -> None:
    processes = cores * processes_per_core
    monkeypatch.setattr(provider, "cores", lambda: cores)
    steps = emulated().stepped(processes)
    assert steps is not None
    assert isinstance(steps._link, ChannelLink)
    buffers = steps._link._buffer_count
    assert buffers >= 1
    assert 2 * processes * buffers < memory_slots(cores)
    if processes_per_core == 1:
        assert buffers >= 6  # several calls under way, where there is a process for each core


def test_without_a_secure_world_it_does_not_start(tmp_path: Path) -> None:
    absent = emulated(tmp_path / "spm.sock")
    with refused(PsaStatus.COMMUNICATION_FAILURE):
        absent.start(None)
    with refused(PsaStatus.COMMUNICATION_FAILURE):
        absent.plan(P256)
    absent.close()


def test_a_key_needs_a_planned_place() -> None:
    with refused(PsaStatus.INVALID_ARGUMENT):
        emulated().create(None, KeyAttributes(P256.key_type, 256, P256.usage, P256.algorithm), None)


@pytest.mark.usefixtures("as_root")
def test_only_a_world_of_the_same_ordinary_user_is_a_neighbour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "spm.sock"
    path.touch()
    assert not emulated(path).is_neighbour()  # root's own cannot be shut out
    monkeypatch.setattr("os.geteuid", lambda: path.stat().st_uid + 1000)
    assert not emulated(path).is_neighbour()
    path.chmod(0o600)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    os.chown(path, 1000, 1000)
    assert emulated(path).is_neighbour()


def test_new_keys_of_the_element_are_what_it_has_and_older_ones_stay_of_use() -> None:
    pair, everything, limited = KeyType.ecc_key_pair(EccFamily.SECP_R1), capabilities(), capabilities(in_element=True)
    assert limited.offered == everything.offered - {Function.IMPORT_KEY}
    makes = [row for row in limited.rows if row.functions & Function.GENERATE_KEY]
    assert [(row.key_type, tuple(row.key_bits)) for row in makes] == [(pair, (256,))]
    for alg, can in ((Algorithm.ecdsa(Hash.SHA_256), True), (Algorithm.ecdsa(Hash.SHA_384), False)):
        attributes = KeyAttributes(pair, 256, UsageFlags.SIGN_HASH, alg)
        assert limited.can_use(Function.SIGN_HASH, attributes) == can


def test_a_place_for_keys_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match='"local" or "secure-element", not "elsewhere"'):
        TrustedServicesSettings(key_location="elsewhere")
