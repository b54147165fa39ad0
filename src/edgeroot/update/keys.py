"""The keys of a repository's roles: Ed25519, PKCS#8 in PEM, mode 0600.

``KEYS/offline/`` has those of root and targets, which say what may be installed; ``KEYS/online/`` those of snapshot and
timestamp, which only say what is newest, and that a machine needs every few weeks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from securesystemslib.signer import CryptoSigner

from edgeroot.update.errors import BrokenRepositoryError
from edgeroot.update.files import make_folder, write_file

ROOT, TARGETS, SNAPSHOT, TIMESTAMP = "root", "targets", "snapshot", "timestamp"
ROLES: Final = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)
_FOLDERS: Final[Mapping[str, str]] = {
    ROOT: "offline",
    TARGETS: "offline",
    SNAPSHOT: "online",
    TIMESTAMP: "online",
}
_NEXT: Final = "next-root"


def create_keys(folder: Path) -> None:
    """Those that are not there yet. OSError."""
    make_folder(folder, mode=0o700)
    for role in ROLES:
        if not _path(folder, role).exists():
            _write(_path(folder, role), Ed25519PrivateKey.generate())


def load_signer(folder: Path, role: str) -> CryptoSigner:
    """BrokenRepositoryError if the key is not there or none; OSError."""
    return _load(_path(folder, role))


def root_signers(folder: Path) -> list[CryptoSigner]:
    """The root key; two of them if a rotation was interrupted."""
    paths = [_path(folder, ROOT), _path(folder, _NEXT)]
    return [_load(path) for path in paths if path.exists() or path is paths[0]]


def create_next_root(folder: Path) -> CryptoSigner:
    """The key that is to be the root's next."""
    path = _path(folder, _NEXT)
    if not path.exists():
        _write(path, Ed25519PrivateKey.generate())
    return _load(path)


def next_root_is_root(folder: Path) -> None:
    """The old root key is gone after this."""
    _path(folder, _NEXT).replace(_path(folder, ROOT))


def _path(folder: Path, role: str) -> Path:
    return folder / _FOLDERS.get(role, "offline") / f"{role}.pem"


def _write(path: Path, key: Ed25519PrivateKey) -> None:
    make_folder(path.parent, mode=0o700)
    write_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)


def _load(path: Path) -> CryptoSigner:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError as error:
        raise BrokenRepositoryError(f"the key {path} is not there. Bring it back from where it is kept") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BrokenRepositoryError(f"{path} is no private key in PEM. Bring it back from a copy") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BrokenRepositoryError(f"{path} is no Ed25519 key. Bring it back from a copy")
    return CryptoSigner(key)
