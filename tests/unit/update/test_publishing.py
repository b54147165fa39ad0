"""What is published is whole, once and for all, and survives a crash at any write."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeroot.abi.firmware import IMAGE_TYPES
from edgeroot.abi.mcuboot import Version
from edgeroot.update.bundle import write_bundle
from edgeroot.update.client import Client
from edgeroot.update.errors import BrokenRepositoryError, PublishedError, UnfitImagesError
from edgeroot.update.images import read_images, release_version
from edgeroot.update.keys import root_signers
from edgeroot.update.reference_values import reference_corim
from edgeroot.update.sources import bundle_source
from edgeroot.verifier.corim import read_corim
from tests.support.forked import exit_code_of
from tests.unit.update.releases import (
    FIRST,
    PRODUCT,
    SECOND,
    THIRD,
    Publisher,
    device,
    image_data,
    look,
    offered,
    release,
)


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    made = Publisher(tmp_path)
    made.publish(FIRST)
    return made


def test_keys_are_their_owners_alone_and_those_of_root_and_targets_apart(publisher: Publisher) -> None:
    found = {str(path.relative_to(publisher.keys)): path for path in publisher.keys.rglob("*.pem")}

    assert set(found) == {"offline/root.pem", "offline/targets.pem", "online/snapshot.pem", "online/timestamp.pem"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found.values()} == {0o600}
    assert len({path.read_bytes() for path in found.values()}) == 4


def test_a_device_sees_every_release_and_gets_the_images_that_were_published(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.publish(SECOND)
    catalogue = look(device(tmp_path / "device", publisher), publisher.www)

    newest = catalogue.of(PRODUCT)[-1]
    assert newest.version == SECOND
    assert set(newest.images) == set(IMAGE_TYPES.values())
    for image in release(SECOND):
        assert catalogue.download(newest.images[image.image_type]).read_bytes() == image.data


def test_the_same_again_renews_and_other_bytes_are_refused(publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish(FIRST)

    with pytest.raises(PublishedError, match=r"gateway/1\.0\.0 was published before"):
        publisher.publish(FIRST, size_bytes=40_000)
    with pytest.raises(PublishedError):  # neither are there fewer images of a sudden
        publisher.repository.publish(PRODUCT, FIRST, release(FIRST)[:2])
    assert offered(device(tmp_path / "device", publisher), publisher.www) == [FIRST]


def test_the_online_keys_are_enough_to_refresh(publisher: Publisher, tmp_path: Path) -> None:
    (publisher.keys / "offline").rename(tmp_path / "safe")
    publisher.repository.refresh()

    assert offered(device(tmp_path / "device", publisher), publisher.www) == [FIRST]
    with pytest.raises(BrokenRepositoryError, match=r"targets\.pem is not there"):
        publisher.publish(SECOND)


def test_a_repository_that_somebody_changed_is_not_signed_again(publisher: Publisher) -> None:
    path = publisher.metadata / "1.targets.json"
    path.write_bytes(path.read_bytes().replace(b"gateway/1.0.0/crypto", b"gateway/1.0.0/crypta"))

    with pytest.raises(BrokenRepositoryError, match="not as it was left"):
        publisher.publish(SECOND)


def test_no_image_is_published_that_no_device_could_verify(tmp_path: Path) -> None:
    good = image_data("manager", FIRST)
    for wrong in (good[:-1], good + b"\0", b"", good[:100] + b"X" + good[101:]):
        (tmp_path / "manager.img").write_bytes(wrong)
        with pytest.raises(UnfitImagesError, match=r"manager\.img cannot be published"):
            read_images(tmp_path)
    (tmp_path / "manager.img").rename(tmp_path / "attic.img")
    with pytest.raises(UnfitImagesError, match="no image of this name"):
        read_images(tmp_path)
    (tmp_path / "attic.img").unlink()
    with pytest.raises(UnfitImagesError, match="there is no image"):
        read_images(tmp_path)


def test_a_releases_version_is_the_managers(tmp_path: Path) -> None:
    (tmp_path / "manager.img").write_bytes(image_data("manager", SECOND))
    (tmp_path / "crypto.img").write_bytes(image_data("crypto", FIRST))

    assert release_version(read_images(tmp_path)) == SECOND
    (tmp_path / "manager.img").unlink()
    with pytest.raises(UnfitImagesError, match="say --version"):
        release_version(read_images(tmp_path))


def test_the_corim_has_what_tokens_say() -> None:
    images = release(SECOND)
    found = read_corim(reference_corim("gateway-1.1.0", b"\x11" * 32, images)).components_of(b"\x11" * 32)

    assert found is not None
    assert {(one.name, one.version, one.measurement, one.signer_id) for one in found} == {
        (image.name, "1.1.0", image.digest, image.signer_id) for image in images
    }


def test_a_bundle_is_all_that_a_device_needs_and_always_the_same(publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish(SECOND)
    needed = publisher.repository.newest_files(PRODUCT, SECOND)
    bundle = tmp_path / "bundle.tar"
    bundle.write_bytes(write_bundle(needed))
    assert write_bundle(dict(reversed(needed.items()))) == bundle.read_bytes()

    catalogue = device(tmp_path / "device", publisher).open(bundle_source(bundle))
    newest = catalogue.of(PRODUCT)[-1]
    for image in release(SECOND):
        assert catalogue.download(newest.images[image.image_type]).read_bytes() == image.data


def test_a_root_rotation_is_followed_and_the_old_key_is_gone(publisher: Publisher, tmp_path: Path) -> None:
    client = device(tmp_path / "device", publisher)
    old = root_signers(publisher.keys)[0].public_key

    assert publisher.repository.rotate_root() == 2
    assert root_signers(publisher.keys)[0].public_key != old
    assert publisher.repository.rotate_root() == 3
    publisher.publish(SECOND)
    assert offered(client, publisher.www) == [FIRST, SECOND]
    assert offered(device(tmp_path / "later", publisher), publisher.www) == [FIRST, SECOND]


_CHANGES = ("write", "fsync", "open")


def _dies_at(number: int, work: Callable[[], object]) -> bool:
    """Whether the process was killed (as by kill -9) at the change with this number, in a process of its own."""

    def run() -> None:
        left = number

        def counted(function: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **named: object) -> object:
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **named)

            return call

        with pytest.MonkeyPatch.context() as patch:
            for name in _CHANGES:
                patch.setattr(os, name, counted(getattr(os, name)))
            patch.setattr(Path, "replace", counted(Path.replace))
            work()
        os._exit(0)

    code = exit_code_of(run)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def test_a_crash_at_any_change_leaves_the_old_repository_or_the_new(publisher: Publisher, tmp_path: Path) -> None:
    client = device(tmp_path / "device", publisher)
    seen = []
    number = 0
    images = release(SECOND, size_bytes=3000)
    while _dies_at(number, lambda: publisher.repository.publish(PRODUCT, SECOND, images)):
        catalogue = look(client, publisher.www)
        seen.append([one.version for one in catalogue.of(PRODUCT)])
        for path in catalogue.of(PRODUCT)[-1].images.values():
            catalogue.download(path)
        number += 1

    assert number > 20
    assert seen == sorted(seen)  # old ones, then new ones
    assert seen[0] == [FIRST]
    publisher.publish(THIRD)
    assert offered(client, publisher.www) == [FIRST, SECOND, THIRD]


def test_a_crash_while_it_is_made_leaves_nothing_or_a_repository(tmp_path: Path) -> None:
    images = release(FIRST, size_bytes=3000)
    publisher = Publisher(tmp_path)
    number = 0
    while _dies_at(number, lambda: publisher.repository.publish(PRODUCT, FIRST, images)):
        if (publisher.metadata / "timestamp.json").exists():
            client = Client(tmp_path / f"device-{number}")
            client.trust(publisher.root())
            assert offered(client, publisher.www) == [FIRST]
        number += 1
    assert number > 20


@pytest.mark.parametrize("version", [Version(1, 0, 1)])
def test_a_crash_in_a_root_rotation_is_made_good(publisher: Publisher, tmp_path: Path, version: Version) -> None:
    client = device(tmp_path / "device", publisher)
    number = 0
    while _dies_at(number, publisher.repository.rotate_root):
        assert offered(client, publisher.www) == [FIRST]
        number += 1
    publisher.publish(version)
    assert offered(client, publisher.www) == [FIRST, version]
    assert number > 3
