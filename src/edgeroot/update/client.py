"""The device's side of the repository: what is offered, and images that are what was offered.

All trust is in :mod:`tuf.ngclient`. The state folder::

    root.json             the root that the device was given, kept
    metadata/             what was seen last, so that nothing older is taken
    source.json           where the repository is, and the product
    partial/, images/     what has come of images, and those that are whole
    installed.json        which release was installed last
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Final

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.ngclient import Updater

from edgeroot.update import errors
from edgeroot.update.fetcher import BrokenConnectionError, Fetcher, Progress, UnreadableError
from edgeroot.update.files import make_folder, write_file
from edgeroot.update.releases import Release, releases_of
from edgeroot.update.repository import METADATA, TARGET_FILES
from edgeroot.update.sources import Source

_ROOT: Final = "root.json"
_SOURCE: Final = "source.json"
_ROOT_MAX_BYTES: Final = 512_000


@dataclass(frozen=True, slots=True)
class Remembered:
    """Where the repository is, and the product; empty if nothing is remembered."""

    repository: str = ""
    product: str = ""


class Client:
    """The state folder of one device. Methods raise UpdateError and OSError."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def remembered(self) -> Remembered:
        try:
            found = json.loads((self._state / _SOURCE).read_bytes())
            return Remembered(str(found["repository"]), str(found["product"]))
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            return Remembered()

    def remember(self, remembered: Remembered) -> None:
        fields = {"repository": remembered.repository, "product": remembered.product}
        write_file(self._state / _SOURCE, json.dumps(fields).encode())

    def trust(self, root: bytes) -> bool:
        """Take the root that the device is provisioned with; whether it is a new one.

        UnknownRootError if there is another one already.
        """
        path = self._state / _ROOT
        if path.exists():
            if path.read_bytes() != root:
                raise errors.UnknownRootError(
                    "this device trusts another root, which stays: leave --root out, or begin anew without "
                    f"{self._state}"
                )
            return False
        if len(root) > _ROOT_MAX_BYTES:
            raise errors.UnknownRootError("the root given is too large to be one. Give the repository's 1.root.json")
        with _root_errors():
            self._updater(Source("file:///"), root, None, None)
        write_file(path, root)
        return True

    def trust_nothing(self) -> None:
        """The root that was just given was not the repository's."""
        (self._state / _ROOT).unlink(missing_ok=True)

    def open(self, source: Source, *, ca_path: Path | None = None, progress: Progress | None = None) -> Catalogue:
        """What the repository offers now, verified."""
        try:
            root = (self._state / _ROOT).read_bytes()
        except FileNotFoundError as error:
            raise errors.UnknownRootError(
                "this device has no root to trust yet: give the repository's 1.root.json, which has to come "
                "another way than over this network, with --root"
            ) from error
        with _root_errors():
            updater = self._updater(source, root, ca_path, progress)
        with _refresh_errors(source):
            updater.refresh()
        return Catalogue(updater, self._state, self.seen())

    def seen(self) -> list[Release]:
        """The releases that were offered when it was last looked."""
        try:
            targets = Metadata[Targets].from_bytes((self._state / METADATA / "targets.json").read_bytes())
        except (FileNotFoundError, RepositoryError):
            return []
        return releases_of((path, target.custom) for path, target in targets.signed.targets.items())

    def forget_images(self) -> None:
        """What was downloaded is no longer needed."""
        for name in ("partial", "images"):
            rmtree(self._state / name, ignore_errors=True)

    def _updater(self, source: Source, root: bytes, ca_path: Path | None, progress: Progress | None) -> Updater:
        for name in (METADATA, "images"):
            make_folder(self._state / name)
        return Updater(
            str(self._state / METADATA),
            f"{source.url}{METADATA}/",
            str(self._state / "images"),
            f"{source.url}{TARGET_FILES}/",
            Fetcher(source, self._state / "partial", ca_path=ca_path, progress=progress),
            bootstrap=root,
        )


class Catalogue:
    """A repository at one time."""

    def __init__(self, updater: Updater, state: Path, releases: list[Release]) -> None:
        self._updater = updater
        self._partial = state / "partial"
        self.releases = releases

    def of(self, product: str) -> list[Release]:
        """The product's, oldest first; WrongDeviceError if there are none."""
        found = [release for release in self.releases if release.product == product]
        if not found:
            others = ", ".join(sorted({release.product for release in self.releases})) or "nothing at all"
            raise errors.WrongDeviceError(
                f"nothing is offered for the product {product}, but for: {others}. Name this device's product"
            )
        return found

    def size_bytes(self, release: Release) -> dict[str, int]:
        """How long each image is, by the paths of the targets."""
        return {path: self._target(path).length for path in release.images.values()}

    def download(self, path: str) -> Path:
        """The image, verified. One that goes wrong after it was resumed is fetched anew, once."""
        target = self._target(path)
        cached = self._updater.find_cached_target(target)
        if cached is not None:
            return Path(cached)
        kept = self._partial / f"{target.hashes['sha256']}.{path.rpartition('/')[2]}"
        resumed = kept.exists()
        while True:
            try:
                with _download_errors(path):
                    found = Path(self._updater.download_target(target))
            except (errors.TruncatedError, errors.OversizedError):
                kept.unlink(missing_ok=True)
                if not resumed:
                    raise
                resumed = False
            else:
                kept.unlink(missing_ok=True)
                return found

    def _target(self, path: str) -> TargetFile:
        with _download_errors(path):
            target = self._updater.get_targetinfo(path)
        if target is None or "sha256" not in target.hashes:
            raise errors.MixedError(f"{path} is not offered with a SHA-256. Tell whoever publishes")
        return target


@contextmanager
def _root_errors() -> Iterator[None]:
    try:
        yield
    except RepositoryError as error:
        raise errors.UnknownRootError(
            f"the root given is none ({error}). Give the repository's 1.root.json, as it was published"
        ) from error


@contextmanager
def _refresh_errors(source: Source) -> Iterator[None]:
    try:
        yield
    except ExpiredMetadataError as error:
        raise errors.ExpiredError(
            f"the repository's metadata has expired ({error}): nobody renews it (edgeroot update refresh), somebody "
            "keeps newer metadata back, or this device's clock is wrong. Check these in turn"
        ) from error
    except BadVersionNumberError as error:
        raise errors.ReplayedError(
            f"the repository says something older than it did before ({error}): old metadata is being replayed. "
            "Nothing was taken; ask whoever publishes"
        ) from error
    except UnsignedMetadataError as error:
        raise errors.UnsignedError(
            f"the repository is not signed as this device's root says ({error}): it is another one, or was changed. "
            "Nothing was taken; ask whoever publishes"
        ) from error
    except LengthOrHashMismatchError as error:
        raise errors.MixedError(
            f"the repository's metadata does not belong together ({error}): it was changed or mixed up. "
            "Try again later; if it stays so, ask whoever publishes"
        ) from error
    except RepositoryError as error:
        raise errors.MixedError(f"the repository is not in order ({error}). Ask whoever publishes") from error
    except DownloadError as error:
        raise _unreachable(error, source.url) from error


@contextmanager
def _download_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (LengthOrHashMismatchError, RepositoryError) as error:
        raise errors.TruncatedError(
            f"{path} is not what was published: cut off, or changed. Try again later; if it stays so, ask whoever "
            "publishes"
        ) from error
    except DownloadError as error:
        raise _unreachable(error, path) from error


def _unreachable(error: DownloadError, what: str) -> errors.UpdateError:
    if isinstance(error, DownloadLengthMismatchError):
        return errors.OversizedError(
            f"{what} is longer than was said ({error}): nothing was taken. Ask whoever publishes"
        )
    if isinstance(error, DownloadHTTPError):
        return errors.UnreachableError(f"{error}: there is no repository, or not all of it. Check the address")
    if isinstance(error, BrokenConnectionError):
        return errors.UnreachableError(f"the connection broke: {error}. Do it again: what has come is kept")
    if isinstance(error, UnreadableError):
        return errors.UnreachableError(f"{error}. Check what it is, and whether this user may read it")
    return errors.UnreachableError(f"{what} cannot be reached: {error.__cause__ or error}. Check address and network")
