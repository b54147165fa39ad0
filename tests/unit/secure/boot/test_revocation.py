"""A root key is revoked for ever, and only on a device that boots without it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgeroot.abi.firmware import IMAGE_TYPES
from edgeroot.secure.boot.commands import device
from edgeroot.secure.boot.root_keys import KeySlot, RootKeys
from edgeroot.secure.partitions.firmware_update import banks
from edgeroot.secure.partitions.firmware_update.firmware import FLASH_FILE, LAYOUT
from edgeroot.secure.partitions.firmware_update.metadata_store import MetadataStore
from edgeroot.secure.platform.files import FileLock
from edgeroot.secure.platform.flash import FileFlash
from edgeroot.secure.stage.device_fuses import read_fuses
from edgeroot.secure.stage.places import FLASH, LOCK, ONE_TIME_MEMORY
from tests.support.small_images import (
    FIRST,
    NEXT,
    key_hash,
    small_image,
    small_release,
    write_images,
    write_public_key,
)

BOTH: Final = RootKeys.of(key_hash(FIRST), key_hash(NEXT))
FIRST_REVOKED: Final = BOTH.without(0)


class Gateway:
    """A device with two root keys, in this folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.memory = self.state / ONE_TIME_MEMORY
        self._keys = [
            *("--root-key", write_public_key(folder / "first.pem", FIRST)),
            *("--root-key", write_public_key(folder / "next.pem", NEXT)),
        ]

    def command(self, *arguments: str | Path) -> tuple[bool, str]:
        """Whether it was carried out, and what was said."""
        name, *others = map(str, arguments)
        result = CliRunner().invoke(device, [name, "--state", str(self.state), *others])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code == 0, result.output

    def provision(self, *options: str | Path) -> tuple[bool, str]:
        return self.command("provision", "--security-counter", "1", *self._keys, *options)

    def secure(self) -> None:
        assert self.command("lifecycle", "secured")[0]

    def keys(self) -> RootKeys | None:
        fuses = read_fuses(self.memory)
        assert fuses is not None
        return fuses.root_keys()

    def install(self, images: Mapping[str, bytes], *, accepted: bool = True) -> None:
        """An update in the second bank, which is the active one from then on."""
        flash = FileFlash(self.state / FLASH / FLASH_FILE, size_bytes=LAYOUT.size_bytes)
        for name, data in images.items():
            area = LAYOUT.find(IMAGE_TYPES[name])
            assert area is not None
            flash.write(LAYOUT.offset_of(area, 1), data)
        flash.sync()
        begun = banks.begin(banks.fresh(LAYOUT, 0), 0)
        MetadataStore(flash).save(banks.finish(begun, 0, dict.fromkeys(IMAGE_TYPES.values(), accepted)), None)
        flash.close()

    def refusal(self, *arguments: str | Path) -> str:
        """Why a key is not revoked, and nothing is."""
        before = self.memory.read_bytes()
        done, said = self.command("revoke-key", *arguments)
        assert not done
        assert self.memory.read_bytes() == before
        return said


def another_key(path: Path) -> str:
    return write_public_key(path, ed25519.Ed25519PrivateKey.generate())


@pytest.fixture
def empty(tmp_path: Path) -> Gateway:
    """Provisioned, without firmware of its own."""
    gateway = Gateway(tmp_path)
    assert gateway.provision()[0]
    return gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    """Secured, with firmware by its first key in its first bank."""
    gateway = Gateway(tmp_path)
    done, said = gateway.provision("--images", write_images(tmp_path / "first", small_release(FIRST)))
    assert done, said
    gateway.secure()
    return gateway


def test_the_key_of_the_only_firmware_is_not_revoked(gateway: Gateway) -> None:
    assert gateway.refusal("0").splitlines()[-1] == (
        "Error: the device would not boot any more without root key 0: manager in bank 0 would not run on this device: "
        "it is signed by a revoked key, root key 0 of this device; what lies in bank 1 was not accepted (edgeroot "
        "update accept)"
    )


def test_the_key_that_nothing_is_signed_with_is(gateway: Gateway) -> None:
    assert gateway.command("revoke-key", "1")[0]

    assert gateway.keys() == BOTH.without(1)


def test_on_trial_the_firmware_before_it_may_yet_have_to_boot(gateway: Gateway) -> None:
    gateway.install(small_release(NEXT), accepted=False)
    assert "what lies in bank 1 was not accepted" in gateway.refusal("0")

    gateway.install({}, accepted=True)
    done, said = gateway.command("revoke-key", "0")
    assert done
    first, following = key_hash(FIRST).hex(), key_hash(NEXT).hex()
    lines = [f"root key 0: {first} (revoked)", f"root key 1: {following} (trusted)"]
    lines += ["root key 2: none", "root key 3: none"]
    assert said.splitlines() == ["life cycle: secured", *lines, "security counter: 1"]
    assert gateway.command("revoke-key", "0") == (True, said)
    assert "root key 1 is the last one that is left" in gateway.refusal("1")


def test_the_firmware_on_trial_may_be_the_one_that_is_shut_out(gateway: Gateway) -> None:
    gateway.install(small_release(NEXT), accepted=False)

    assert gateway.command("revoke-key", "1")[0]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (small_image("crypto", FIRST), "crypto in bank 1 would not run on this device: it is signed by a revoked key"),
        (small_image("crypto", NEXT, counter=0), "security counter 0 is below the device's, 1"),
        (small_image("storage", NEXT), "image of the partition storage"),
        (small_image("crypto", NEXT)[:-80], "crypto in bank 1 would not run"),
        (b"", "there is no image"),
    ],
)
def test_one_image_that_would_not_boot_is_enough(gateway: Gateway, wrong: bytes, why: str) -> None:
    gateway.install(small_release(NEXT) | {"crypto": wrong})

    assert why in gateway.refusal("0")


def test_encrypted_firmware_is_looked_at_with_the_devices_key(tmp_path: Path) -> None:
    image_key = x25519.X25519PrivateKey.generate()
    pem = image_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "image.pem").write_bytes(pem)
    gateway = Gateway(tmp_path)
    images = write_images(tmp_path / "first", small_release(FIRST))
    assert gateway.provision("--images", images, "--image-key", tmp_path / "image.pem")[0]
    gateway.install(small_release(NEXT, encrypt_to=image_key.public_key()))
    kept = (gateway.state / "image-key").rename(tmp_path / "kept")
    assert "the device has no key to read it" in gateway.refusal("0")

    kept.rename(gateway.state / "image-key")
    assert gateway.command("revoke-key", "0")[0]


def test_a_secured_device_without_firmware_of_its_own_says_from_where_it_boots(empty: Gateway, tmp_path: Path) -> None:
    folders = {key: write_images(tmp_path / name, small_release(key)) for name, key in (("a", FIRST), ("b", NEXT))}
    empty.secure()
    assert "name with --images the folder that it boots from" in empty.refusal("0")
    assert f"{folders[FIRST] / 'manager.img'} would not run" in empty.refusal("0", "--images", folders[FIRST])

    assert empty.command("revoke-key", "0", "--images", folders[NEXT])[0]


def test_a_folder_does_not_stand_for_the_flash_nor_the_flash_for_a_folder(gateway: Gateway, tmp_path: Path) -> None:
    good = write_images(tmp_path / "next", small_release(NEXT))
    assert "manager in bank 0 would not run" in gateway.refusal("0", "--images", good)
    gateway.install(small_release(NEXT))
    assert "manager.img would not run" in gateway.refusal("0", "--images", tmp_path / "first")

    assert gateway.command("revoke-key", "0", "--images", good)[0]


def test_what_is_installed_boots_a_device_that_is_not_secured_whatever_is_revoked(empty: Gateway) -> None:
    assert empty.command("revoke-key", "0")[0]

    assert empty.keys() == FIRST_REVOKED


def test_nothing_that_a_revoked_key_has_signed_is_provisioned(empty: Gateway, tmp_path: Path) -> None:
    assert empty.command("revoke-key", "0")[0]
    folders = {key: write_images(tmp_path / name, small_release(key)) for name, key in (("a", FIRST), ("b", NEXT))}

    done, said = empty.provision("--images", folders[FIRST])
    assert not done
    assert "manager.img would not run on this device: it is signed by a revoked key" in said
    assert empty.provision("--images", folders[NEXT])[0]
    assert empty.keys() == FIRST_REVOKED


def test_more_keys_than_slots_are_refused_with_images_too(empty: Gateway, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", small_release(FIRST))
    before = empty.memory.read_bytes()
    more = [option for number in range(3) for option in ("--root-key", another_key(tmp_path / f"{number}.pem"))]
    for options in ((), ("--images", images)):
        done, said = empty.provision(*more, *options)
        assert not done
        assert "a device has room for 4 root keys" in said
    assert empty.memory.read_bytes() == before


@pytest.mark.parametrize("named", ["0", key_hash(FIRST).hex(), key_hash(FIRST).hex().upper()])
def test_a_key_is_named_by_slot_or_hash(empty: Gateway, named: str) -> None:
    assert empty.command("revoke-key", named)[0]

    assert empty.keys() == RootKeys((KeySlot(0, key_hash(FIRST), is_revoked=True), KeySlot(1, key_hash(NEXT))))


@pytest.mark.parametrize("named", ["2", "4", "-1", "", "00", key_hash(FIRST).hex()[:-1]])
def test_a_key_that_there_is_not_is_refused(empty: Gateway, named: str) -> None:
    assert f"the device has no root key {named}" in empty.refusal("--", named)


def test_a_device_without_keys_has_none_to_revoke(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    assert "cannot use" in gateway.command("revoke-key", "0")[1]
    gateway.state.mkdir()
    assert "no root key that could be revoked" in gateway.command("revoke-key", "0")[1]


def test_nothing_is_revoked_under_a_secure_world_that_runs(empty: Gateway) -> None:
    lock = FileLock.acquire(empty.state / LOCK)
    assert "in use by another process" in empty.refusal("0")

    lock.release()
    assert empty.command("revoke-key", "0")[0]
