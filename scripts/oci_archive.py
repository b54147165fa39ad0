"""Write container images without a daemon: folders become layers, layers an archive in the OCI image layout.

After the OCI image specification 1.1. ``podman load``, ``skopeo copy oci-archive:``, ``ctr images import`` and
``docker load`` (from 25.0) read it. The same folders give the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_EPOCH: Final = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Layer:
    """A compressed tar file, and the digest of what it is when it is not compressed (``diff_id``)."""

    path: Path
    diff_id: str

    @property
    def digest(self) -> str:
        with self.path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    """What a container of the image starts, and as whom. ``user`` is a number, as Kubernetes checks it."""

    entrypoint: Sequence[str]
    command: Sequence[str] = ()
    environment: Sequence[str] = ()
    user: str = "0"
    labels: tuple[tuple[str, str], ...] = ()


def write_layer(folder: Path, place: Path) -> Layer:
    """A layer of all that is in the folder. It belongs to root, and has no times."""
    with tempfile.TemporaryFile() as plain:
        with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as layer:
            for path in _walk(folder):
                entry = layer.gettarinfo(path, str(path.relative_to(folder)))
                entry.uid = entry.gid = entry.mtime = 0
                entry.uname = entry.gname = ""
                if entry.isreg():
                    with path.open("rb") as content:
                        layer.addfile(entry, content)
                else:
                    layer.addfile(entry)
        plain.seek(0)
        diff_id = f"sha256:{hashlib.file_digest(plain, 'sha256').hexdigest()}"
        plain.seek(0)
        with place.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as compressed:
            shutil.copyfileobj(plain, compressed, 1 << 20)
    return Layer(place, diff_id)


def write_archive(place: Path, *, reference: str, layers: Sequence[Layer], settings: ImageSettings) -> None:
    """The image, under the name by which container engines know it."""
    config = _json(
        {
            "created": _EPOCH,
            "architecture": _ARCHITECTURES[os.uname().machine],
            "os": "linux",
            "config": {
                "Entrypoint": list(settings.entrypoint),
                "Cmd": list(settings.command),
                "Env": list(settings.environment),
                "User": settings.user,
                "Labels": dict(settings.labels),
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created": _EPOCH, "created_by": layer.path.name} for layer in layers],
        }
    )
    digests = [layer.digest for layer in layers]
    described = [
        {"mediaType": _LAYER, "digest": digest, "size": layer.path.stat().st_size}
        for digest, layer in zip(digests, layers, strict=True)
    ]
    manifest = _json(
        {"schemaVersion": 2, "mediaType": _MANIFEST, "config": _descriptor(_CONFIG, config), "layers": described}
    )
    names = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference}
    index = _json({"schemaVersion": 2, "manifests": [_descriptor(_MANIFEST, manifest) | {"annotations": names}]})
    partial = place.with_name(place.name + ".partial")
    with tarfile.open(partial, "w") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", index)
        for blob in (config, manifest):
            _add(archive, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
        for digest, layer in zip(digests, layers, strict=True):
            entry = tarfile.TarInfo(f"blobs/{digest.replace(':', '/')}")
            entry.size = layer.path.stat().st_size
            with layer.path.open("rb") as content:
                archive.addfile(entry, content)
    partial.replace(place)


def _walk(folder: Path) -> Iterator[Path]:
    """All that is below the folder, a folder before what is in it, always in the same order."""
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def _json(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {
        "mediaType": media_type,
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "size": len(content),
    }


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
