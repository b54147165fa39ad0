"""A back end that keeps P-256 keys as files in a folder: the least that a provider of your own has to have.

It shows the contract, not how to protect keys: whoever can read the folder has them. A back end of yours would talk to
a device instead.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from edgeroot.providers.api import (
    Capabilities,
    Capability,
    Created,
    Function,
    LoadedKey,
    Provider,
    ProviderIdentity,
    ProviderType,
)
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret

PAIR = KeyType.ecc_key_pair(EccFamily.SECP_R1)
ECDSA = Algorithm.ecdsa(Hash.SHA_256)
PREHASHED = ec.ECDSA(Prehashed(hashes.SHA256()))
# What is not in these rows the service refuses by itself.
ROWS = (
    Capability(Function.GENERATE_KEY | Function.DESTROY_KEY | Function.EXPORT_PUBLIC_KEY, PAIR, (256,)),
    Capability(Function.SIGN_HASH | Function.VERIFY_HASH, PAIR, (256,), frozenset({ECDSA})),
)


@dataclass(frozen=True, slots=True)
class DrawerSettings:
    """The keys of the ``[[provider]]`` table. ``folder`` lies beside the key store if it is not given."""

    folder: str | None = None


class DrawerKey(LoadedKey):
    """A key that was read from its file."""

    __slots__ = ("private",)

    def __init__(self, reference: bytes, attributes: KeyAttributes, private: ec.EllipticCurvePrivateKey) -> None:
        super().__init__(reference, attributes)
        self.private = private


class Drawer(Provider):
    """A key's reference is its file's name, which is planned before the file is there: a crash leaves no stranger."""

    identity = ProviderIdentity(
        provider_id=16,
        uuid="5f0f2e5e-6f6e-4d0a-9a51-2f1f6d6f1a10",
        description="Keys in a drawer",
        vendor="Example",
        version=(0, 1, 0),
    )
    keeps_keys = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self, state: bytes | None) -> bytes:
        """The first time the folder is made; later it has to be there, or somebody has taken the keys away."""
        if state is not None and not self._folder.is_dir():
            raise PsaError(PsaStatus.DATA_INVALID, f"{self._folder} is gone, and the keys with it")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return b"1"

    def capabilities(self) -> Capabilities:
        return Capabilities(generation=0, rows=ROWS)

    def plan(self, attributes: KeyAttributes) -> bytes:
        return uuid.uuid4().hex.encode()

    def create(self, reference: bytes | None, attributes: KeyAttributes, material: Secret | None) -> Created:
        """On the disk, wholly, before it returns: the name is acknowledged after that."""
        if reference is None or material is not None:
            raise PsaError(PsaStatus.NOT_SUPPORTED, "keys are made here, and not brought")
        if not self.capabilities().can_hold(Function.GENERATE_KEY, attributes.key_type, attributes.key_bits):
            raise PsaError(PsaStatus.NOT_SUPPORTED, "only P-256 keys fit in")
        key = ec.generate_private_key(ec.SECP256R1())
        partial = self._path(reference).with_suffix(".new")
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self._path(reference))
        self._sync()
        return Created(reference, attributes)

    def destroy(self, reference: bytes) -> None:
        for path in (self._path(reference), self._path(reference).with_suffix(".new")):
            path.unlink(missing_ok=True)
        self._sync()

    def exists(self, reference: bytes) -> bool:
        return self._path(reference).exists()

    def load(self, reference: bytes, attributes: KeyAttributes) -> DrawerKey:
        try:
            key = load_der_private_key(self._path(reference).read_bytes(), None)
        except FileNotFoundError as error:
            raise PsaError(PsaStatus.DOES_NOT_EXIST, "the key's file is gone") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise PsaError(PsaStatus.DATA_INVALID, "the key's file has another key")
        return DrawerKey(reference, attributes, key)

    def export_public_key(self, key: LoadedKey) -> bytes:
        return _private(key).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def sign_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes) -> bytes:
        """PSA's signatures are r and s, each as long as the curve's order."""
        _check(alg, hash_value)
        r, s = decode_dss_signature(_private(key).sign(hash_value, PREHASHED))
        return r.to_bytes(32) + s.to_bytes(32)

    def verify_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes, signature: bytes) -> None:
        _check(alg, hash_value)
        try:
            if len(signature) != 64:
                raise InvalidSignature
            whole = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
            _private(key).public_key().verify(whole, hash_value, PREHASHED)
        except InvalidSignature as error:
            raise PsaError(PsaStatus.INVALID_SIGNATURE) from error

    def _path(self, reference: bytes) -> Path:
        return self._folder / f"{reference.decode()}.key"

    def _sync(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check(alg: Algorithm, hash_value: bytes) -> None:
    if alg != ECDSA:
        raise PsaError(PsaStatus.NOT_SUPPORTED, "it signs with ECDSA and SHA-256")
    if len(hash_value) != 32:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, "a SHA-256 has 32 bytes")


def _private(key: LoadedKey) -> ec.EllipticCurvePrivateKey:
    if not isinstance(key, DrawerKey):
        raise PsaError(PsaStatus.INVALID_HANDLE, "the key was loaded by another provider")
    return key.private


class DrawerProviderType(ProviderType):
    """Found by the entry point in pyproject.toml."""

    provider_type = "Drawer"
    default_name = "drawer"
    settings = DrawerSettings

    def open(self, settings: DrawerSettings, *, store_path: Path) -> Drawer:
        return Drawer(Path(settings.folder) if settings.folder else store_path.parent / "drawer")
