"""A repository that lies: the genuine client takes nothing of it, and says what it is."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from edgeroot.update import errors
from edgeroot.update.client import Client
from edgeroot.update.keys import load_signer
from edgeroot.update.sources import bundle_source, read_source
from tests.unit.update.releases import FIRST, PRODUCT, SECOND, THIRD, Publisher, device, look, offered


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    made = Publisher(tmp_path)
    made.publish(FIRST)
    made.publish(SECOND)
    return made


@pytest.fixture
def client(publisher: Publisher, tmp_path: Path) -> Client:
    """A device that has seen both releases."""
    made = device(tmp_path / "device", publisher)
    assert offered(made, publisher.www) == [FIRST, SECOND]
    return made


def change(publisher: Publisher, name: str, role: str, **fields: object) -> None:
    """Metadata that the role's own key has signed, with other contents."""
    path = publisher.metadata / name
    metadata: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
    for field, value in fields.items():
        setattr(metadata.signed, field, value)
    metadata.sign(load_signer(publisher.keys, role))
    path.write_bytes(metadata.to_bytes())


def test_an_old_timestamp_is_a_replay(publisher: Publisher, client: Client, tmp_path: Path) -> None:
    shutil.copytree(publisher.www, tmp_path / "old")
    publisher.publish(THIRD)
    assert offered(client, publisher.www) == [FIRST, SECOND, THIRD]

    with pytest.raises(errors.ReplayedError, match="older than it did before"):
        look(client, tmp_path / "old")


def test_an_old_snapshot_under_the_new_name_is_a_mixture(publisher: Publisher, client: Client) -> None:
    publisher.publish(THIRD)
    shutil.copy(publisher.metadata / "2.snapshot.json", publisher.metadata / "3.snapshot.json")

    with pytest.raises(errors.MixedError):
        look(client, publisher.www)


def test_targets_of_another_time_are_a_mixture(publisher: Publisher, client: Client) -> None:
    publisher.publish(THIRD)
    shutil.copy(publisher.metadata / "2.targets.json", publisher.metadata / "3.targets.json")

    with pytest.raises((errors.MixedError, errors.OversizedError)):
        look(client, publisher.www)


def test_a_frozen_repository_expires(publisher: Publisher, client: Client) -> None:
    change(publisher, "timestamp.json", "timestamp", version=9, expires=datetime.now(UTC) - timedelta(seconds=5))

    with pytest.raises(errors.ExpiredError, match="edgeroot update refresh"):
        look(client, publisher.www)
    publisher.repository.refresh()
    assert offered(client, publisher.www) == [FIRST, SECOND]


def test_another_root_is_unknown_and_another_repository_unsigned(
    publisher: Publisher, client: Client, tmp_path: Path
) -> None:
    other = Publisher(tmp_path / "other")
    for version in (FIRST, SECOND, THIRD):
        other.publish(version)

    with pytest.raises(errors.UnsignedError):
        look(client, other.www)
    with pytest.raises(errors.UnknownRootError, match="trusts another root"):
        client.trust(other.root())
    with pytest.raises(errors.UnknownRootError, match="no root to trust yet"):
        look(Client(tmp_path / "blank"), publisher.www)
    for wrong in (b"", b"{}", publisher.root()[:-9], publisher.root().replace(b"1", b"2", 1), b" " * 600_000):
        with pytest.raises(errors.UnknownRootError):
            Client(tmp_path / "blank").trust(wrong)
    assert not (tmp_path / "blank" / "root.json").exists()


def test_a_missing_signature_is_noticed(publisher: Publisher, client: Client) -> None:
    path = publisher.metadata / "timestamp.json"
    metadata: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
    metadata.signed.version += 1
    metadata.signatures.clear()
    path.write_bytes(metadata.to_bytes())

    with pytest.raises(errors.UnsignedError):
        look(client, publisher.www)


def test_a_key_that_a_root_rotation_revoked_signs_nothing_more(publisher: Publisher, client: Client) -> None:
    root: Metadata[Any] = Metadata.from_bytes(publisher.root())
    revoked = load_signer(publisher.keys, "timestamp").public_key
    root.signed.revoke_key(revoked.keyid, "timestamp")
    root.signed.add_key(CryptoSigner.generate_ed25519().public_key, "timestamp")
    root.signed.version = 2
    root.sign(load_signer(publisher.keys, "root"))
    (publisher.metadata / "2.root.json").write_bytes(root.to_bytes())

    with pytest.raises(errors.UnsignedError):
        look(client, publisher.www)


def test_a_root_that_the_old_one_has_not_signed_is_refused(publisher: Publisher, client: Client) -> None:
    root: Metadata[Any] = Metadata.from_bytes(publisher.root())
    mine = CryptoSigner.generate_ed25519()
    root.signed.revoke_key(load_signer(publisher.keys, "root").public_key.keyid, "root")
    root.signed.add_key(mine.public_key, "root")
    root.signed.version = 2
    root.sign(mine)
    (publisher.metadata / "2.root.json").write_bytes(root.to_bytes())

    with pytest.raises(errors.UnsignedError):
        look(client, publisher.www)


@pytest.mark.parametrize("name", ["timestamp.json", "3.snapshot.json", "3.targets.json"])
def test_endless_metadata_is_cut_off(publisher: Publisher, client: Client, name: str) -> None:
    publisher.publish(THIRD)
    with (publisher.metadata / name).open("r+b") as file:
        file.truncate(1 << 33)

    with pytest.raises(errors.OversizedError, match="longer than was said"):
        look(client, publisher.www)


def test_images_that_were_swapped_cut_off_or_go_on_for_ever_are_not_taken(publisher: Publisher, client: Client) -> None:
    catalogue = look(client, publisher.www)
    path = next(iter(catalogue.of(PRODUCT)[-1].images.values()))
    name = path.rpartition("/")[2]
    file = next((publisher.www / "targets" / PRODUCT / "1.1.0").glob(f"*.{name}"))
    good = file.read_bytes()

    for wrong in (good[:-1] + b"X", good[:-1], b""):
        file.write_bytes(wrong)
        with pytest.raises(errors.TruncatedError, match="not what was published"):
            catalogue.download(path)
    os.truncate(file, 1 << 33)
    with pytest.raises(errors.OversizedError):
        catalogue.download(path)
    file.write_bytes(good)
    assert catalogue.download(path).read_bytes() == good


def test_nothing_for_this_product_and_nothing_at_all(publisher: Publisher, client: Client, tmp_path: Path) -> None:
    with pytest.raises(errors.WrongDeviceError, match="for the product toaster, but for: gateway"):
        look(client, publisher.www).of("toaster")
    with pytest.raises(errors.UnreachableError, match="Check the address"):
        look(client, tmp_path / "nowhere")
    (tmp_path / "no.tar").write_bytes(b"not a tar" * 100)
    with pytest.raises(errors.UnreachableError, match="no bundle"):
        client.open(bundle_source(tmp_path / "no.tar"))


def test_only_ways_that_nobody_listens_in_on(tmp_path: Path) -> None:
    for wrong in ("http://updates.example/", "ftp://updates.example/", "https://", "https://me@host/", "file://host/x"):
        with pytest.raises(errors.UnreachableError):
            read_source(wrong)
    assert read_source("http://127.0.0.1:80/a").url == "http://127.0.0.1:80/a/"
    assert read_source(f"file://{tmp_path}") == read_source(str(tmp_path))
