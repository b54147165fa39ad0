"""How the TUF client gets its files: from folders, bundles and servers. What it gets is for that client to verify.

Images from servers are kept as far as they have come (``partial/`` in the state folder), and the rest is asked for with
``Range``. A server that gives the whole instead is taken at its word.
"""

from __future__ import annotations

import errno
import ssl
import tarfile
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from time import sleep
from typing import BinaryIO, Final
from urllib.parse import SplitResult, unquote, urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from edgeroot.update.errors import UnreachableError
from edgeroot.update.sources import BUNDLE, FILE, Source

_TIMEOUT_S: Final = 30.0
_CHUNK_BYTES: Final = 1 << 16
_ATTEMPTS: Final = 4
"""How often a connection may break without anything new having come."""
_PAUSE_S: Final = 0.2
_IMAGE: Final = ".img"
Progress = Callable[[str, int], None]
"""Called with the name of an image and how many bytes of it are there."""


class BrokenConnectionError(DownloadError):
    """The server was lost on the way; what has come stays for the next time."""


class UnreadableError(DownloadError):
    """A folder or a bundle cannot be read."""


class Fetcher(FetcherInterface):
    """``partial`` is a folder of this fetcher's own."""

    def __init__(
        self, source: Source, partial: Path, *, ca_path: Path | None = None, progress: Progress | None = None
    ) -> None:
        self._source = source
        self._partial = partial
        self._tls = None
        if source.url.startswith("https:"):
            try:
                self._tls = ssl.create_default_context(cafile=ca_path)
            except OSError as error:
                raise UnreachableError(
                    f"{ca_path} has no certificates in PEM ({error}). Give a CA's, or none"
                ) from error
        self._progress = progress or (lambda _name, _count: None)

    def _fetch(self, url: str) -> Iterator[bytes]:
        parts = urlsplit(url)
        if parts.scheme == FILE:
            return self._counted(url, _from_file(Path(unquote(parts.path))))
        if parts.scheme == BUNDLE:
            assert self._source.path is not None
            return self._counted(url, _from_bundle(self._source.path, parts.path.lstrip("/")))
        if url.endswith(_IMAGE):
            return self._counted(url, self._resumed(parts))
        return self._whole(parts)

    def _counted(self, url: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        name = url.rpartition("/")[2]
        count = 0
        for chunk in chunks:
            count += len(chunk)
            if name.endswith(_IMAGE):
                self._progress(name.partition(".")[2].removesuffix(_IMAGE), count)
            yield chunk

    def _whole(self, parts: SplitResult) -> Iterator[bytes]:
        for attempt in range(1, _ATTEMPTS + 1):
            began = False
            try:
                with _Exchange(parts, self._tls) as response:
                    _check_status(parts, response.status, 200)
                    while chunk := response.read(_CHUNK_BYTES):
                        yield chunk  # the client stops at the longest that it takes
                        began = True
                return
            except (OSError, HTTPException) as error:
                if began or attempt == _ATTEMPTS:
                    raise BrokenConnectionError(f"{parts.geturl()}: {_text(error)}") from error

    def _resumed(self, parts: SplitResult) -> Iterator[bytes]:
        self._partial.mkdir(parents=True, exist_ok=True)
        path = self._partial / parts.path.rpartition("/")[2]
        sent = 0
        failures = 0
        with path.open("ab+") as kept:
            while True:
                before = kept.seek(0, 2)
                try:
                    for chunk in self._rest(parts, kept, sent):
                        sent += len(chunk)
                        yield chunk
                    return
                except (OSError, HTTPException) as error:
                    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                        raise
                    failures = 0 if kept.seek(0, 2) > before else failures + 1
                    if failures == _ATTEMPTS:
                        raise BrokenConnectionError(f"{parts.geturl()}: {_text(error)}") from error
                    sleep(_PAUSE_S * failures)

    def _rest(self, parts: SplitResult, kept: BinaryIO, sent: int) -> Iterator[bytes]:
        """From ``sent`` on, what is kept and then what the server gives; HTTPException if it ends too soon."""
        there = kept.seek(0, 2)
        with _Exchange(parts, self._tls, start=there) as response:
            if there and response.status == 416:  # nothing is missing, or what is kept is too much
                yield from _kept(kept, sent, there)
                return
            if there and response.status == 206 and _first_byte(response) == there:
                yield from _kept(kept, sent, there)
                skip = 0
            else:
                _check_status(parts, response.status, 200)
                kept.truncate(0)
                skip = sent
            while chunk := response.read(_CHUNK_BYTES):
                kept.write(chunk)
                kept.flush()
                new = chunk[skip:]
                skip -= min(skip, len(chunk))
                if new:
                    yield new
            if response.length:
                raise HTTPException(f"it ended {response.length} bytes too soon")


class _Exchange:
    """A GET, and its connection closed in the end."""

    def __init__(self, parts: SplitResult, tls: ssl.SSLContext | None, *, start: int = 0) -> None:
        host, path = parts.hostname or "", parts.path or "/"
        if tls is None:
            self._connection = HTTPConnection(host, parts.port, timeout=_TIMEOUT_S)
        else:
            self._connection = HTTPSConnection(host, parts.port, timeout=_TIMEOUT_S, context=tls)
        self._path = path
        self._headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})

    def __enter__(self) -> HTTPResponse:
        try:
            self._connection.request("GET", self._path, headers=self._headers)
            return self._connection.getresponse()
        except BaseException:
            self._connection.close()
            raise

    def __exit__(self, *_exception: object) -> None:
        self._connection.close()


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__


def _kept(kept: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        kept.seek(start)
        chunk = kept.read(min(_CHUNK_BYTES, end - start))
        start += len(chunk)
        yield chunk


def _first_byte(response: HTTPResponse) -> int:
    unit, _, place = (response.getheader("Content-Range") or "").partition(" ")
    first = place.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdecimal() else -1


def _check_status(parts: SplitResult, status: int, wanted: int) -> None:
    if status != wanted:
        raise DownloadHTTPError(f"{parts.geturl()}: HTTP status {status}", status)


def _from_file(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DownloadHTTPError(f"{path} is not there", 404) from error
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}") from error


def _from_bundle(path: Path, name: str) -> Iterator[bytes]:
    try:
        with tarfile.open(path, "r:") as archive:
            file = archive.extractfile(unquote(name))
            while file is not None and (chunk := file.read(_CHUNK_BYTES)):
                yield chunk
    except KeyError as error:
        raise DownloadHTTPError(f"{name} is not in {path}", 404) from error
    except tarfile.TarError as error:
        raise UnreadableError(f"{path} is no bundle, or cut off: {error}") from error
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}") from error
