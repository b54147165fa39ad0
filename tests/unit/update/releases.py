"""Small signed images, and repositories made of them by the publisher's own code."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ed25519

from edgeroot.abi.firmware import IMAGE_TYPES
from edgeroot.abi.mcuboot import Version
from edgeroot.secure.boot.signing import sign_image
from edgeroot.update.client import Catalogue, Client
from edgeroot.update.images import ReleaseImage, read_image
from edgeroot.update.repository import Repository
from edgeroot.update.sources import read_source

KEY = ed25519.Ed25519PrivateKey.generate()
PRODUCT = "gateway"
FIRST, SECOND, THIRD = Version(1), Version(1, 1), Version(1, 2)


def image_data(name: str, version: Version, *, size_bytes: int = 300_000) -> bytes:
    content = f"{name} {version}".encode() * (size_bytes // 12)
    return sign_image(content, KEY, version=version, security_counter=version.minor)


def release(version: Version, *, size_bytes: int = 30_000) -> tuple[ReleaseImage, ...]:
    return tuple(read_image(name, image_data(name, version, size_bytes=size_bytes)) for name in IMAGE_TYPES)


class Publisher:
    """A repository of its own in a folder."""

    def __init__(self, folder: Path) -> None:
        self.www = folder / "www"
        self.keys = folder / "keys"
        self.repository = Repository(self.www, self.keys)

    def publish(self, version: Version, *, size_bytes: int = 30_000, online_days: int = 30) -> None:
        self.repository.publish(PRODUCT, version, release(version, size_bytes=size_bytes), online_days=online_days)

    @property
    def metadata(self) -> Path:
        return self.www / "metadata"

    def root(self) -> bytes:
        return (self.metadata / "1.root.json").read_bytes()


def device(state: Path, publisher: Publisher) -> Client:
    """A device that was provisioned with the publisher's root."""
    client = Client(state)
    client.trust(publisher.root())
    return client


def look(client: Client, where: Path | str) -> Catalogue:
    return client.open(read_source(str(where)))


def offered(client: Client, where: Path | str) -> list[Version]:
    return [one.version for one in look(client, where).of(PRODUCT)]
