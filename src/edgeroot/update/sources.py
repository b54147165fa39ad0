"""Where a repository is: a folder, a bundle, or a server (https, and http on this machine itself)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from edgeroot.update.errors import UnreachableError

_HERE: Final = frozenset({"127.0.0.1", "::1", "localhost"})
BUNDLE: Final = "bundle"
FILE: Final = "file"


@dataclass(frozen=True, slots=True)
class Source:
    """``url`` ends with a slash; ``path`` is the folder or file of one that is on this machine."""

    url: str
    path: Path | None = None


def read_source(text: str) -> Source:
    """A URL or a folder. UnreachableError for an address that others could change on the way, or that is none."""
    parts = urlsplit(text)
    if parts.scheme in ("http", "https"):
        if not parts.hostname or parts.query or parts.fragment or parts.username is not None:
            raise UnreachableError(f"{text} is no address of a repository: give https://HOST/PATH")
        if parts.scheme == "http" and parts.hostname not in _HERE:
            raise UnreachableError(f"{text} is asked by https only: http is for this machine itself")
        return Source(text.rstrip("/") + "/")
    if parts.scheme == FILE:
        if parts.netloc not in ("", "localhost"):
            raise UnreachableError(f"{text} is on another machine: give file:///PATH")
        return _folder(Path(unquote(parts.path)))
    if "://" in text:
        raise UnreachableError(f"{text} is no address of a repository: give https://, file:// or a folder")
    return _folder(Path(text))


def bundle_source(path: Path) -> Source:
    return Source(f"{BUNDLE}:///", path.absolute())


def _folder(path: Path) -> Source:
    path = path.absolute()
    return Source(f"{FILE}://{quote(str(path))}/", path)
