"""A device changes from one root key to the next: by the commands, and all of it real."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from edgeroot.abi.firmware import IMAGE_TYPES
from edgeroot.abi.mcuboot import Version
from edgeroot.evidence import read_token
from edgeroot.secure.boot.fuses import OLDER_WORDS
from edgeroot.secure.boot.verify import encode_root_key
from edgeroot.secure.stage.places import ONE_TIME_MEMORY
from edgeroot.verifier.corim import read_corim
from tests.support.updated_world import Maker, booted, client, counter, damage, device, done, edgeroot, install, restart
from tests.support.world import World

NEXT: Final = ed25519.Ed25519PrivateKey.generate()
IMPLEMENTATION: Final = "42" * 32
REVOKED: Final = "it is signed by a revoked key, root key 0 of this device"


def hash_of(key: ed25519.Ed25519PrivateKey) -> bytes:
    return sha256(encode_root_key(key.public_key())).digest()


def signers(world: World) -> Mapping[str | None, bytes | None]:
    """Of the images, as a token says."""
    with client(world) as psa:
        claims = read_token(psa.psa_initial_attest_get_token(os.urandom(32))).claims
    return {
        one.measurement_type: one.signer_id for one in claims.software_components if one.measurement_type in IMAGE_TYPES
    }


def states(world: World) -> list[str]:
    """Of the slots, as the command and as the manager say."""
    slots: list[dict[str, Any]] = done("device", "status", "--state", str(world.state))["root_keys"]
    if world.socket.exists():
        assert world.status()["firmware"]["root_keys"] == slots
    return [one["state"] for one in slots]


def refusal(*arguments: str) -> str:
    """Why a command does nothing."""
    finished = edgeroot(*arguments)
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    return finished.stderr


def revoke(key: str, world: World) -> tuple[str, ...]:
    return ("device", "revoke-key", key, "--state", str(world.state))


def failed_start(world: World) -> str:
    """Why the secure world does not start."""
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "edgeroot.secure.spm", "--state", str(world.state)),
            *("--runtime", str(world.folder / "run")),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert finished.returncode == 1
    return finished.stderr


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker.make(tmp_path_factory.mktemp("maker"))


def test_the_key_is_changed_and_the_old_one_revoked(maker: Maker, tmp_path: Path) -> None:
    first = hash_of(maker.key)

    def publish(version: Version, counter: int, key: ed25519.Ed25519PrivateKey) -> None:
        folder = tmp_path / version.short
        folder.mkdir()
        for name, data in maker.release(version, counter, key=key).items():
            (folder / f"{name}.img").write_bytes(data)
        places = ("--repository", str(tmp_path / "www"), "--keys", str(tmp_path / "keys"), "--images", str(folder))
        done("update", "publish", *places, "--product", "gateway", "--implementation-id", IMPLEMENTATION)

    publish(Version(1, 1), 2, NEXT)
    publish(Version(1, 2), 3, maker.key)
    with device(maker.provision(tmp_path / "state", NEXT.public_key())) as world:
        update = ("--state", str(tmp_path / "device"), "--world-socket", str(world.socket))
        world.start()
        assert signers(world) == dict.fromkeys(IMAGE_TYPES, first)
        assert states(world) == ["trusted", "trusted", "blank", "blank"]
        assert "in use by another process" in refusal(*revoke(first.hex(), world))

        root = tmp_path / "www" / "metadata" / "1.root.json"
        options = ("--repository", tmp_path / "www", "--root", root, "--product", "gateway", "--version", "1.1.0")
        done("update", "install", *map(str, options), *update)
        assert restart(world) == (1, True)
        world.stop()
        assert "what lies in bank 1 was not accepted (edgeroot update accept)" in refusal(*revoke(first.hex(), world))
        world.start()
        done("update", "accept", "--without-verdict", "--world-socket", str(world.socket))
        world.stop()
        done(*revoke(first.hex(), world))

        world.start()
        assert states(world) == ["revoked", "trusted", "blank", "blank"]
        assert signers(world) == dict.fromkeys(IMAGE_TYPES, hash_of(NEXT))
        told = read_corim((tmp_path / "www" / "gateway-1.1.0.corim").read_bytes())
        references = told.components_of(bytes.fromhex(IMPLEMENTATION))
        assert references is not None
        assert {one.name: one.signer_id for one in references} == signers(world)

        said = refusal("update", "install", *update)
        assert "is signed by a revoked key, " + first.hex() in said
        assert {one["state"] for one in done("update", "status", *update)["components"]} == {"READY"}
        world.stop()
        damage(world, 1, "manager")
        assert f"the image manager in bank 0 does not run: {REVOKED}" in failed_start(world)


def test_images_of_both_keys_run_together_each_with_its_own_signer(maker: Maker, tmp_path: Path) -> None:
    with device(maker.provision(tmp_path / "state", NEXT.public_key())) as world:
        world.start()
        install(world, {"crypto": maker.image("crypto", key=NEXT)})
        assert restart(world) == (1, True)
        assert signers(world) == dict.fromkeys(IMAGE_TYPES, hash_of(maker.key)) | {"crypto": hash_of(NEXT)}
        with client(world) as psa:
            psa.psa_fwu_accept()
        world.stop()
        assert "in bank 1 would not run on this device: it is signed by a revoked key" in refusal(*revoke("0", world))
        done(*revoke("1", world))
        world.start()  # what ran before is whole without that key, and older than nothing that the device asks for
        assert booted(world) == (0, False)
        assert signers(world) == dict.fromkeys(IMAGE_TYPES, hash_of(maker.key))


def test_a_device_whose_memory_is_an_earlier_versions_boots_and_is_updated(maker: Maker, tmp_path: Path) -> None:
    with device(maker.provision(tmp_path / "state")) as world:
        path = world.state / ONE_TIME_MEMORY
        whole = path.read_bytes()
        size_bytes = 16 * (1 + OLDER_WORDS)
        path.write_bytes(whole[:8] + OLDER_WORDS.to_bytes(8, "little") + whole[16:size_bytes])
        world.start()
        assert booted(world) == (0, False)
        assert states(world) == ["trusted", "blank", "blank", "blank"]
        install(world, maker.release(Version(1, 1), 2))
        assert restart(world) == (1, True)
        with client(world) as psa:
            psa.psa_fwu_accept()
        assert counter(world) == 2
        world.stop()
        assert "root key 0 is the last one that is left" in refusal(*revoke("0", world))
        assert path.stat().st_size == size_bytes
        world.start()
        assert booted(world) == (1, False)
