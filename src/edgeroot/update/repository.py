"""The publisher's side: a TUF repository with consistent snapshots, in a folder that any web server can serve.

::

    metadata/N.root.json  N.targets.json  N.snapshot.json  timestamp.json
    targets/PRODUCT/VERSION/SHA256.NAME.img
    PRODUCT-VERSION.corim

A client reads timestamp.json first, which names everything else by version. It is replaced last and in one step, so
that a client sees the repository as it was or as it is to be, wherever the work is interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from edgeroot.abi.mcuboot import Version
from edgeroot.update.errors import BrokenRepositoryError, PublishedError
from edgeroot.update.files import make_folder, write_file
from edgeroot.update.images import ReleaseImage
from edgeroot.update.keys import (
    ROLES,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    create_keys,
    create_next_root,
    load_signer,
    next_root_is_root,
    root_signers,
)
from edgeroot.update.releases import IMAGE_TYPE, target_path

OFFLINE_DAYS: Final = 365
ONLINE_DAYS: Final = 30
METADATA: Final = "metadata"
TARGET_FILES: Final = "targets"
_ALGORITHM: Final = "sha256"
Signed = TypeVar("Signed", Root, Targets, Snapshot, Timestamp)


class Repository:
    """One change at a time: see :func:`edgeroot.update.files.only_one`. Methods raise UpdateError and OSError."""

    def __init__(self, folder: Path, keys: Path) -> None:
        self.folder = folder
        self._keys = keys
        self._metadata = folder / METADATA

    def publish(
        self,
        product: str,
        version: Version,
        images: tuple[ReleaseImage, ...],
        *,
        online_days: int = ONLINE_DAYS,
        beside: Mapping[str, bytes] | None = None,
    ) -> None:
        """Add a release; the repository is made if it is not there. ``beside``: more files, by their names.

        PublishedError for a version that was published with other bytes. Publishing the same again renews the
        signatures.
        """
        root = self._root_or_new()
        targets, snapshot, timestamp = self._current(root)
        added = {target_path(product, version, image.name): image for image in images}
        _refuse_changes(targets.signed.targets, f"{product}/{version.short}/", added)
        for path, image in added.items():
            target = _target_file(path, image)
            targets.signed.targets[path] = target
            folder, _, name = path.rpartition("/")
            write_file(self.folder / TARGET_FILES / folder / f"{target.hashes[_ALGORITHM]}.{name}", image.data)
        for name, data in (beside or {}).items():
            write_file(self.folder / name, data)
        targets.signed.version += 1
        data = self._sign(targets, TARGETS, OFFLINE_DAYS)
        write_file(self._metadata / f"{targets.signed.version}.{TARGETS}.json", data)
        snapshot.signed.meta[f"{TARGETS}.json"] = _meta_file(targets.signed.version, data)
        self._write_online(snapshot, timestamp, online_days)

    def refresh(self, *, online_days: int = ONLINE_DAYS) -> None:
        """Renew snapshot and timestamp, for which the online keys are enough."""
        root = self._root()
        if root is None:
            raise BrokenRepositoryError(f"there is no repository in {self.folder}. Make one: edgeroot update publish")
        _, snapshot, timestamp = self._current(root)
        self._write_online(snapshot, timestamp, online_days)

    def rotate_root(self) -> int:
        """Give the root a new key and a new term; its version. The old key is deleted, and trusted no more.

        Devices follow by the signature of the old key that is on the new root as well.
        """
        root = self._root()
        if root is None:
            raise BrokenRepositoryError(f"there is no repository in {self.folder}. Make one: edgeroot update publish")
        signers = root_signers(self._keys)
        old = next((one for one in signers if _is_root_key(root, one)), None)
        if old is None:
            raise BrokenRepositoryError("the root key is not that of the repository. Bring it back from a copy")
        if old is signers[0]:
            new = create_next_root(self._keys)
            root.signed.revoke_key(old.public_key.keyid, ROOT)
            root.signed.add_key(new.public_key, ROOT)
            root.signed.version += 1
            root.signed.expires = _expiry(OFFLINE_DAYS)
            root.sign(new)
            root.sign(old, append=True)
            write_file(self._metadata / f"{root.signed.version}.{ROOT}.json", root.to_bytes())
        next_root_is_root(self._keys)  # was interrupted right here if the next one is the root's already
        return root.signed.version

    def newest_files(self, product: str, version: Version) -> dict[str, Path]:
        """What a device needs of this release, by the paths in the repository."""
        root = self._root()
        if root is None:
            raise BrokenRepositoryError(f"there is no repository in {self.folder}. Make one: edgeroot update publish")
        targets, snapshot, _ = self._current(root)
        names = [f"{METADATA}/{number}.{ROOT}.json" for number in range(1, root.signed.version + 1)]
        names += [f"{METADATA}/{snapshot.signed.version}.{SNAPSHOT}.json", f"{METADATA}/{TIMESTAMP}.json"]
        names.append(f"{METADATA}/{targets.signed.version}.{TARGETS}.json")
        for path, target in targets.signed.targets.items():
            if path.startswith(f"{product}/{version.short}/"):
                folder, _, name = path.rpartition("/")
                names.append(f"{TARGET_FILES}/{folder}/{target.hashes[_ALGORITHM]}.{name}")
        return {name: self.folder / name for name in names}

    def _write_online(self, snapshot: Metadata[Snapshot], timestamp: Metadata[Timestamp], days: int) -> None:
        snapshot.signed.version += 1
        data = self._sign(snapshot, SNAPSHOT, days)
        write_file(self._metadata / f"{snapshot.signed.version}.{SNAPSHOT}.json", data)
        timestamp.signed.snapshot_meta = _meta_file(snapshot.signed.version, data)
        timestamp.signed.version += 1
        write_file(self._metadata / f"{TIMESTAMP}.json", self._sign(timestamp, TIMESTAMP, days))

    def _root_or_new(self) -> Metadata[Root]:
        found = self._root()
        if found is not None:
            return found
        make_folder(self.folder)
        create_keys(self._keys)
        root = Metadata(Root(expires=_expiry(OFFLINE_DAYS), consistent_snapshot=True))
        for role in ROLES:
            root.signed.add_key(load_signer(self._keys, role).public_key, role)
        root.sign(load_signer(self._keys, ROOT))
        write_file(self._metadata / f"1.{ROOT}.json", root.to_bytes())
        return root

    def _root(self) -> Metadata[Root] | None:
        """The newest; None before the first."""
        number = 0
        while (self._metadata / f"{number + 1}.{ROOT}.json").exists():
            number += 1
        return self._read(f"{number}.{ROOT}.json", Root) if number else None

    def _current(self, root: Metadata[Root]) -> tuple[Metadata[Targets], Metadata[Snapshot], Metadata[Timestamp]]:
        """What clients see; the roles' beginnings if they see nothing yet.

        The versions of files that an interrupted change has left are used again: nobody has seen them.
        """
        if not (self._metadata / f"{TIMESTAMP}.json").exists():
            return (
                _without_version(Metadata(Targets())),
                _without_version(Metadata(Snapshot(meta={}))),
                _without_version(Metadata(Timestamp())),
            )
        timestamp = self._read(f"{TIMESTAMP}.json", Timestamp, root)
        snapshot = self._read(f"{timestamp.signed.snapshot_meta.version}.{SNAPSHOT}.json", Snapshot, root)
        number = snapshot.signed.meta[f"{TARGETS}.json"].version
        return self._read(f"{number}.{TARGETS}.json", Targets, root), snapshot, timestamp

    def _read(self, name: str, kind: type[Signed], root: Metadata[Root] | None = None) -> Metadata[Signed]:
        path = self._metadata / name
        try:
            found = Metadata[Signed].from_bytes(path.read_bytes())
            if not isinstance(found.signed, kind):
                raise BrokenRepositoryError(f"{path} is something else. Bring it back from a copy")
            if root is not None:
                root.signed.verify_delegate(kind.type, found.signed_bytes, found.signatures)
        except FileNotFoundError as error:
            raise BrokenRepositoryError(f"{path} is gone. Bring it back from a copy") from error
        except (RepositoryError, ValueError) as error:
            raise BrokenRepositoryError(f"{path} is not as it was left ({error}). Bring it back from a copy") from error
        return found

    def _sign(self, metadata: Metadata[Signed], role: str, days: int) -> bytes:
        metadata.signed.expires = _expiry(days)
        signer: Signer = load_signer(self._keys, role)
        metadata.sign(signer)
        return metadata.to_bytes()


def _expiry(days: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


def _without_version(metadata: Metadata[Signed]) -> Metadata[Signed]:
    metadata.signed.version = 0
    return metadata


def _is_root_key(root: Metadata[Root], signer: Signer) -> bool:
    return signer.public_key.keyid in root.signed.roles[ROOT].keyids


def _meta_file(version: int, data: bytes) -> MetaFile:
    """With length and hash, so that what does not belong together is noticed before it is read."""
    return MetaFile.from_data(version, data, [_ALGORITHM])


def _target_file(path: str, image: ReleaseImage) -> TargetFile:
    target = TargetFile.from_data(path, image.data, [_ALGORITHM])
    target.unrecognized_fields["custom"] = {IMAGE_TYPE: str(image.image_type)}
    return target


def _refuse_changes(known: Mapping[str, TargetFile], prefix: str, added: Mapping[str, ReleaseImage]) -> None:
    before = {path: target.hashes.get(_ALGORITHM) for path, target in known.items() if path.startswith(prefix)}
    now = {path: _target_file(path, image).hashes[_ALGORITHM] for path, image in added.items()}
    if before and before != now:
        raise PublishedError(
            f"{prefix.rstrip('/')} was published before, with other images. Give what is new a version of its own"
        )
