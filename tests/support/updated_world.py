"""Devices with firmware in their flash, and images of other versions for them; all of it real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from edgeroot.abi.firmware import IMAGE_TYPES
from edgeroot.abi.mcuboot import Dependency, Version, decode_image
from edgeroot.evidence import read_token
from edgeroot.secure.boot.signing import SigningKey, sign_image
from edgeroot.secure.partitions.firmware_update.firmware import FLASH_FILE, LAYOUT
from edgeroot.secure.stage.places import FLASH
from edgeroot.tee.psa import PsaClient
from tests.support.world import World

COMPONENTS: Final = {name: number for number, name in enumerate(IMAGE_TYPES)}
OLD, NEW = Version(1, 0), Version(1, 1)


def edgeroot(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeroot", "--json", *arguments], capture_output=True, text=True, check=False
    )


def done(*arguments: str) -> dict[str, Any]:
    """What a command says that succeeds."""
    finished = edgeroot(*arguments)
    assert finished.returncode == 0, finished.stderr
    said: dict[str, Any] = json.loads(finished.stdout)
    return said


@dataclass(frozen=True, slots=True)
class Maker:
    """Whoever makes the devices. ``folder`` has images of version 1.0.0 with security counter 1."""

    folder: Path
    key: ed25519.Ed25519PrivateKey
    bodies: Mapping[str, bytes]

    @classmethod
    def make(cls, folder: Path) -> Maker:
        key = ed25519.Ed25519PrivateKey.generate()
        (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / "public.pem").write_bytes(public)
        images = folder / "images"
        done(
            *("device", "build-images", "--key", str(folder / "key.pem"), "--version", "1.0.0"),
            *("--security-counter", "1", str(images)),
        )
        bodies = {name: bytes(decode_image((images / f"{name}.img").read_bytes()).body) for name in IMAGE_TYPES}
        return cls(folder, key, bodies)

    def image(
        self,
        name: str,
        *,
        version: Version = NEW,
        counter: int = 2,
        key: SigningKey | None = None,
        dependencies: tuple[Dependency, ...] = (),
    ) -> bytes:
        """The same code as in the first images."""
        return sign_image(
            self.bodies[name],
            self.key if key is None else key,
            version=version,
            security_counter=counter,
            dependencies=dependencies,
        )

    def release(self, version: Version, counter: int, *, key: SigningKey | None = None) -> dict[str, bytes]:
        return {name: self.image(name, version=version, counter=counter, key=key) for name in IMAGE_TYPES}

    def provision(self, state: Path, *further: ed25519.Ed25519PublicKey) -> Path:
        """A secured device with version 1.0.0 in its first bank, which has these root keys, too."""
        keys = [self.folder / "public.pem"]
        for number, key in enumerate(further, 1):
            keys.append(self.folder / f"public-{number}.pem")
            keys[-1].write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        done(
            *("device", "provision", *(f"--root-key={path}" for path in keys), "--security-counter", "1"),
            *("--images", str(self.folder / "images"), "--state", str(state)),
        )
        assert done("device", "lifecycle", "secured", "--state", str(state))["lifecycle"] == "secured"
        return state


@contextmanager
def device(state: Path) -> Iterator[World]:
    """A copy of a device, which does not run yet."""
    with tempfile.TemporaryDirectory(prefix="edgeroot-world-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        copy_device(state, folder / "state")
        world = World(folder)
        try:
            yield world
        finally:
            world.stop()


def copy_device(state: Path, target: Path) -> None:
    """With owners, and with the holes in the flash."""
    copy = shutil.which("cp")
    assert copy is not None
    subprocess.run([copy, "-a", "--sparse=always", str(state), str(target)], check=True)


@contextmanager
def client(world: World) -> Iterator[PsaClient]:
    with world.transport() as transport, PsaClient(transport, buffer_bytes=1 << 20) as one:
        yield one


def put(psa: PsaClient, name: str, data: bytes) -> None:
    """Up to a candidate."""
    psa.psa_fwu_start(COMPONENTS[name])
    psa.psa_fwu_write(COMPONENTS[name], 0, data)
    psa.psa_fwu_finish(COMPONENTS[name])


def install(world: World, images: Mapping[str, bytes]) -> None:
    with client(world) as psa:
        for name, data in images.items():
            put(psa, name, data)
        psa.psa_fwu_install()


def write_flash(world: World, bank: int, images: Mapping[str, bytes]) -> None:
    """Over what is there, as whoever has the disk can."""
    with (world.state / FLASH / FLASH_FILE).open("r+b") as file:
        for name, data in images.items():
            area = LAYOUT.find(IMAGE_TYPES[name])
            assert area is not None
            file.seek(LAYOUT.offset_of(area, bank))
            file.write(data)


def restart(world: World) -> tuple[int, bool]:
    """The bank that boots, and whether on trial."""
    world.stop()
    world.start()
    return booted(world)


def booted(world: World) -> tuple[int, bool]:
    firmware = world.status()["firmware"]
    return firmware["bank"], firmware["on_trial"]


def counter(world: World) -> int:
    """The device's security counter, as the command says it."""
    return int(done("device", "status", "--state", str(world.state))["security_counter"])


def versions(world: World, names: Iterable[str] = IMAGE_TYPES) -> set[str]:
    """Of these components, as a token says."""
    with client(world) as psa:
        claims = read_token(psa.psa_initial_attest_get_token(os.urandom(32))).claims
    found = {one.measurement_type: one.version for one in claims.software_components}
    return {str(found[name]) for name in names}


def damage(world: World, bank: int, name: str) -> None:
    """Change one bit in the middle of an image in the flash."""
    area = LAYOUT.find(IMAGE_TYPES[name])
    assert area is not None
    with (world.state / FLASH / FLASH_FILE).open("r+b") as file:
        at = LAYOUT.offset_of(area, bank) + 1_000_000
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
