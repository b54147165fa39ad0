"""A real secure world that runs signed images: what runs is what was verified, and everything else is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from edgeroot.abi.mcuboot import Version, decode_image
from edgeroot.client import templates
from edgeroot.evidence import Lifecycle, read_token
from edgeroot.secure.boot.archive import decode_archive
from edgeroot.secure.boot.signing import sign_image
from tests.support.service import SOFTWARE_PROVIDER, running_service
from tests.support.world import World, descendants, running_world, with_world

KEY: Final = ec.generate_private_key(ec.SECP256R1())
PARTITIONS: Final = ("storage", "crypto", "attestation", "firmware-update")
IMAGES: Final = ("manager", *PARTITIONS)
BELOW: Final = ("kernel", "loader", "interpreter", "boot-stage")
COUNTER: Final = 5


def device(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeroot", "--json", "device", *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The maker's folder: keys and good images."""
    folder = tmp_path_factory.mktemp("maker")
    (folder / "key.pem").write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "public.pem").write_bytes(public)
    made = device(
        *("build-images", "--key", str(folder / "key.pem"), "--version", "1.2.3"),
        *("--security-counter", str(COUNTER), str(folder / "images")),
    )
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture
def images(maker: Path, tmp_path: Path) -> Path:
    """A copy of the images that a test may damage."""
    return Path(shutil.copytree(maker / "images", tmp_path / "images"))


def provision(maker: Path, state: Path, *options: str) -> None:
    done = device("provision", "--state", str(state), "--root-key", str(maker / "public.pem"), *options)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def state(maker: Path, tmp_path: Path) -> Path:
    """The state folder of a secured device."""
    provision(maker, tmp_path / "state", "--security-counter", str(COUNTER))
    done = device("lifecycle", "secured", "--state", str(tmp_path / "state"))
    assert json.loads(done.stdout)["lifecycle"] == "secured", done.stderr
    return tmp_path / "state"


def refusal(state: Path, *options: str) -> str:
    """Why the secure world does not start."""
    places = ("--state", str(state), "--runtime", str(state.with_name("run")))
    done = subprocess.run(
        [sys.executable, "-m", "edgeroot.secure.spm", *places, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert not (state / "device-secret").exists()  # nothing of the device was touched
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def world(maker: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    images = Path(shutil.copytree(maker / "images", tmp_path_factory.mktemp("device") / "images"))
    with running_world() as running:
        running.stop()
        provision(maker, running.state)
        assert device("lifecycle", "secured", "--state", str(running.state)).returncode == 0
        running.start("--images", str(images))
        shutil.rmtree(images)  # what runs does not come from there any more
        yield running


def test_keys_work_and_the_token_says_what_was_measured(maker: Path, world: World) -> None:
    with (
        running_service(provider=SOFTWARE_PROVIDER + with_world(world)) as service,
        service.client(provider=4) as client,
    ):
        client.generate_key("signer", templates.ecdsa_p256())
        key = client.private_key("signer")
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        client.destroy_key("signer")
        claims = read_token(client.attestation_token(os.urandom(32))).claims

    names = [one.measurement_type for one in claims.software_components]
    assert names == [*BELOW, "manager", "libraries", *PARTITIONS]
    components = {one.measurement_type: one for one in claims.software_components}
    public = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for name in IMAGES:
        data = (maker / "images" / f"{name}.img").read_bytes()
        assert components[name].measurement == sha256(data[: decode_image(data).hashed_bytes]).digest()
        assert components[name].signer_id == sha256(public).digest()
        assert components[name].version == "1.2.3"
    # Nobody has signed these, and the token says so.
    assert {components[name].signer_id for name in (*BELOW, "libraries")} == {bytes(32)}
    interpreter = sha256(Path(sys.executable).resolve().read_bytes()).digest()
    assert components["interpreter"].measurement == interpreter
    assert claims.lifecycle == Lifecycle.SECURED


def test_a_partition_starts_anew_from_what_was_verified(world: World) -> None:
    for name in PARTITIONS:
        before = world.partition(name)
        world.kill_partition(name)
        while (now := world.partition(name))["state"] != "ready" or now["restarts"] == before["restarts"]:
            pass
        assert now["restarts"] == before["restarts"] + 1


def test_a_partition_has_neither_site_nor_path(world: World) -> None:
    for name in PARTITIONS:
        lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in descendants(world.partition(name)["pid"])]
        assert all(b"\0-I\0-S\0-c\0" in line for line in lines)
        assert not any(b"edgeroot.secure.runtime.main\0" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("crypto", "edgeroot.secure.runtime.main"),
        ("crypto", "dataclasses"),
        ("manager", "cryptography.hazmat.bindings._rust"),
        ("manager", "edgeroot.secure.spm.images"),
        ("manager", "_cffi_backend"),
    ],
)
def test_one_flipped_bit_in_our_code_the_librarys_or_a_shared_object_is_refused(
    images: Path, state: Path, name: str, where: str
) -> None:
    path = images / f"{name}.img"
    data = bytearray(path.read_bytes())
    archive = decode_archive(bytes(decode_image(bytes(data)).body), partition=name)
    content = archive.native.get(where) or archive.code[where]
    data[data.index(content) + len(content) // 2] ^= 1
    path.write_bytes(data)

    said = refusal(state, "--images", str(images))

    assert said == (
        f"Error: the image {path} does not run: its hash is another one: it was changed, or damaged on the way. "
        "Put a good image there"
    )


def test_each_wrong_image_is_named_and_refused(images: Path, state: Path) -> None:
    good = (images / "crypto.img").read_bytes()
    body = bytes(decode_image(good).body)
    other = ec.generate_private_key(ec.SECP256R1())
    wrong = {
        "not this device's root key": sign_image(body, other, version=Version(1), security_counter=COUNTER),
        "security counter 4 is below": sign_image(body, KEY, version=Version(1), security_counter=COUNTER - 1),
        "image of the partition storage": (images / "storage.img").read_bytes(),
        "cut off": good[:1000],
        "too long": good + b"\0",
    }
    for complaint, data in wrong.items():
        (images / "crypto.img").write_bytes(data)
        said = refusal(state, "--images", str(images))
        assert complaint in said
        assert str(images / "crypto.img") in said


def test_a_missing_image_is_named(images: Path, state: Path) -> None:
    (images / "storage.img").unlink()

    said = refusal(state, "--images", str(images))
    assert f"the image {images / 'storage.img'} does not run: it cannot be read: No such file" in said


def test_a_secured_device_runs_nothing_unsigned(state: Path) -> None:
    assert "runs signed images only: name their folder with --images" in refusal(state)


@pytest.mark.parametrize("later", ["non-psa-rot-debug", "recoverable-psa-rot-debug", "decommissioned"])
def test_after_that_the_secure_world_starts_no_more(images: Path, state: Path, later: str) -> None:
    assert device("lifecycle", later, "--state", str(state)).returncode == 0

    assert f"the device is {later}" in refusal(state, "--images", str(images))


def test_images_without_a_root_key_are_refused(images: Path, tmp_path: Path) -> None:
    said = refusal(tmp_path / "state", "--images", str(images))

    assert "no root key to verify images with: `edgeroot device provision`" in said


def test_a_damaged_memory_is_not_a_blank_one(images: Path, state: Path) -> None:
    path = state / "one-time-memory"
    whole = path.read_bytes()
    for bit in (8 * 20, 8 * (16 + 8 * 16 + 5), 8 * (16 + 16 * 16)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1
        path.write_bytes(changed)
        assert "damaged" in refusal(state, "--images", str(images))


def test_a_device_with_a_development_key_runs_its_images_and_is_never_secured(maker: Path, images: Path) -> None:
    with running_world() as world:
        world.stop()
        provision(maker, world.state, "--development")
        done = device("lifecycle", "secured", "--state", str(world.state))
        assert "one for development" in done.stdout + done.stderr
        world.start("--images", str(images))
        assert json.loads(device("status", "--state", str(world.state)).stdout)["development"] is True


def test_images_that_imgtool_has_signed_run(maker: Path, tmp_path: Path) -> None:
    assert device("build-contents", str(tmp_path)).returncode == 0
    for name in IMAGES:
        signed = subprocess.run(
            [
                *(sys.executable, "-m", "imgtool.main", "sign", "--key", str(maker / "key.pem")),
                *("--public-key-format", "full", "--version", "1.0.0", "--security-counter", "1"),
                *("--header-size", "32", "--pad-header", "--align", "1", "--slot-size", "0x4000000"),
                *(str(tmp_path / f"{name}.bin"), str(tmp_path / f"{name}.img")),
            ],
            capture_output=True,
            check=False,
        )
        assert signed.returncode == 0, signed.stderr
    with running_world() as world:
        world.stop()
        provision(maker, world.state)
        world.start("--images", str(tmp_path))
        assert {one["state"] for one in world.status()["partitions"]} == {"ready"}


def test_encrypted_images_run_on_the_device_that_they_are_for_alone(maker: Path, images: Path, tmp_path: Path) -> None:
    device_key = ec.generate_private_key(ec.SECP256R1())
    private = device_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "device.pem").write_bytes(private)
    for name in IMAGES:
        body = bytes(decode_image((images / f"{name}.img").read_bytes()).body)
        image = sign_image(body, KEY, version=Version(1), security_counter=COUNTER, encrypt_to=device_key.public_key())
        (images / f"{name}.img").write_bytes(image)
    arguments = ("provision", "--root-key", str(maker / "public.pem"), "--images", str(images), "--state")
    refused = device(*arguments, str(tmp_path / "other"))
    assert "encrypted, and the device has no key to read it" in refused.stdout + refused.stderr
    with running_world() as world:
        world.stop()
        done = device(*arguments, str(world.state), "--image-key", str(tmp_path / "device.pem"))
        assert done.returncode == 0, done.stderr
        assert device("lifecycle", "secured", "--state", str(world.state)).returncode == 0
        world.start()  # from the flash
        assert world.status()["firmware"]["bank"] == 0
        assert (world.state / "image-key").stat().st_mode & 0o777 == 0o600
        world.stop()
        assert device("lifecycle", "decommissioned", "--state", str(world.state)).returncode == 0
        assert not (world.state / "image-key").exists()


def test_the_command_says_what_is_wrong(maker: Path, state: Path, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    (tmp_path / "p384.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "no.pem").write_text("-----BEGIN NOTHING-----")
    for arguments, complaint in {
        ("provision", "--root-key", str(maker / "public.pem")): "is provisioned no more",
        ("provision", "--root-key", str(tmp_path / "p384.pem")): "not with this key",
        ("provision", "--root-key", str(tmp_path / "no.pem")): "no public key in PEM",
        ("provision", "--root-key", str(tmp_path / "not-there")): "No such file",
        ("lifecycle", "secured"): "never goes back",
    }.items():
        done = device(*arguments, "--state", str(state))
        assert done.returncode != 0
        assert complaint in done.stdout + done.stderr
    built = device("build-images", "--key", str(maker / "key.pem"), "--version", "1.2", "--security-counter", "1", "x")
    assert "MAJOR.MINOR.REVISION" in built.stdout + built.stderr
