"""A secure world and a service whose secrets are sealed to the genuine swtpm."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeroot.abi.services import CRYPTO, PROTECTED_STORAGE
from edgeroot.client import templates
from tests.support.service import SOFTWARE_PROVIDER, running_service
from tests.support.swtpm import Swtpm, running_swtpm
from tests.support.world import World, running_world
from tests.unit.sealing.test_tpm import extend


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[Swtpm]:
    with running_swtpm(tmp_path / "tpm") as running:
        yield running


def test_without_its_tpm_a_secure_world_is_worthless(tpm: Swtpm) -> None:
    sealed = ("--tpm", tpm.tcti, "--pcrs", "0,7")
    with running_world(*sealed) as world:
        assert (world.state / "device-secret").read_bytes().startswith(b"edgeroot device secret v1 sealed to a TPM\n")
        world.stop()
        world.start(*sealed)
        with world.transport() as transport, transport.open_session(CRYPTO) as session:
            assert session.call(0x010C, (8).to_bytes(4, "little"))[0] == 0
        world.stop()
        with pytest.raises(AssertionError, match="is sealed to a TPM: say in the configuration to which"):
            world.start()
        extend(tpm.tcti, 7)
        with pytest.raises(AssertionError, match="registers are not what they were"):
            world.start(*sealed)


def test_without_its_tpm_a_key_store_is_worthless(tpm: Swtpm) -> None:
    lines = f'wrapping_key_tcti = "{tpm.tcti}"\nwrapping_key_pcrs = "7"\n'
    with running_service(provider=SOFTWARE_PROVIDER + lines) as service:
        with service.client() as client:
            client.generate_key("key", templates.ecdsa_p256())
        service.end()
        service.start()
        with service.client() as client:
            client.sign_message("key", templates.ecdsa_p256().algorithm, b"message")
        service.end()
        configured = service.config_path.read_text()
        service.config_path.write_text(configured.replace(lines, ""))
        with pytest.raises(AssertionError, match="is sealed to a TPM: say in the configuration to which"):
            service.start()
        service.config_path.write_text(configured)
        extend(tpm.tcti, 7)
        with pytest.raises(AssertionError, match="registers are not what they were"):
            service.start()


def store(world: World, content: bytes) -> None:
    with world.transport() as transport, transport.open_session(PROTECTED_STORAGE) as session:
        uid = (1).to_bytes(8, "little")
        assert session.call(0x100, uid + len(content).to_bytes(8, "little") + bytes(4) + content) == (0, b"")


def copy(source: Path, target: Path) -> None:
    """With owners and modes, which nothing in Python's library copies."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def test_a_disk_that_was_put_back_is_refused(tpm: Swtpm, tmp_path: Path) -> None:
    sealed = ("--tpm", tpm.tcti)
    with running_world(*sealed) as world:
        store(world, b"old")
        world.stop()
        copy(world.state, tmp_path / "whole")
        world.start(*sealed)
        store(world, b"new")
        world.stop()
        copy(world.state, tmp_path / "newest")

        def put_back(older: Path, *names: str) -> None:
            shutil.rmtree(world.state)
            copy(tmp_path / "newest", world.state)
            for name in names:
                shutil.rmtree(world.state / name)
                copy(older / name, world.state / name)

        # Log and counter alone agree with each other, and the whole folder with itself; but not with the TPM.
        put_back(tmp_path / "whole", "partitions", "counters")
        with pytest.raises(AssertionError, match="they were put back"):
            world.start(*sealed)
        shutil.rmtree(world.state)
        copy(tmp_path / "whole", world.state)
        with pytest.raises(AssertionError, match=r"one of them was put back.*--accept-older-state"):
            world.start(*sealed)
        world.start(*sealed, "--accept-older-state")
        world.stop()
        world.start(*sealed)


def test_a_crash_is_not_taken_for_that(tpm: Swtpm) -> None:
    sealed = ("--tpm", tpm.tcti)
    with running_world(*sealed) as world:
        for number in range(3):
            store(world, b"%d" % number)
            world.kill()
            world.stop()
            world.start(*sealed)
