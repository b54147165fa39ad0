"""What the provider asks of an element: a few commands, each whole in itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from edgeroot.psa import Secret


@dataclass(frozen=True, slots=True)
class Key:
    """An access key that service and element share: the slot that has it, and its 32 bytes."""

    slot: int
    value: Secret = field(repr=False)


class Element(ABC):
    """Points have 64 bytes (X, Y), signatures 64 (R, S), all big-endian. PsaError for whatever goes wrong."""

    @abstractmethod
    def close(self) -> None:
        """Give it back; the next call opens it again."""

    @abstractmethod
    def revision(self) -> bytes:
        """Four bytes, of which the third says the part."""

    @abstractmethod
    def config(self) -> bytes:
        """The configuration zone, 128 bytes."""

    @abstractmethod
    def random(self) -> Secret:
        """32 bytes."""

    @abstractmethod
    def generate(self, slot: int) -> bytes:
        """Make a P-256 key pair there, in place of what was there; its public key."""

    @abstractmethod
    def public_key(self, slot: int) -> bytes:
        """Of the key pair there."""

    @abstractmethod
    def sign(self, slot: int, digest: bytes) -> bytes: ...

    @abstractmethod
    def verify(self, point: bytes, digest: bytes, signature: bytes) -> bool: ...

    @abstractmethod
    def agree(self, slot: int, point: bytes) -> Secret:
        """The X of ECDH, 32 bytes."""

    @abstractmethod
    def hmac(self, slot: int, data: bytes) -> bytes:
        """HMAC with SHA-256, under the slot's first 32 bytes."""

    # AES under the slot's first 16 bytes. IVs have 16 bytes, and ECB and CBC without padding take whole blocks.

    @abstractmethod
    def ecb_encrypt(self, slot: int, plaintext: bytes) -> bytes: ...

    @abstractmethod
    def ecb_decrypt(self, slot: int, ciphertext: bytes) -> bytes: ...

    @abstractmethod
    def cbc_encrypt(self, slot: int, iv: bytes, plaintext: bytes, *, pads: bool) -> bytes:
        """The padding is that of PKCS #7 (RFC 5652, clause 6.3)."""

    @abstractmethod
    def cbc_decrypt(self, slot: int, iv: bytes, ciphertext: bytes, *, pads: bool) -> bytes:
        """INVALID_PADDING if it pads and there is none."""

    @abstractmethod
    def ctr(self, slot: int, iv: bytes, data: bytes) -> bytes:
        """Both directions; the counter is the whole block."""

    @abstractmethod
    def gcm_encrypt(self, slot: int, nonce: bytes, additional_data: bytes, plaintext: bytes, tag_bytes: int) -> bytes:
        """The ciphertext and behind it the tag of 12 to 16 bytes."""

    @abstractmethod
    def gcm_decrypt(
        self, slot: int, nonce: bytes, additional_data: bytes, ciphertext: bytes, tag: bytes
    ) -> Secret | None:
        """The plaintext; None if the tag does not match."""

    @abstractmethod
    def cmac(self, slot: int, data: bytes) -> bytes:
        """16 bytes."""

    @abstractmethod
    def write(self, slot: int, data: bytes, key: Key | None) -> None:
        """Whole blocks of 32 bytes from the slot's beginning; encrypted on the bus if there is a key."""

    @abstractmethod
    def write_private(self, slot: int, private: Secret, key: Key) -> None:
        """A P-256 private key of 32 bytes, encrypted on the bus."""

    @abstractmethod
    def read_public(self, slot: int) -> bytes:
        """The point that was written there."""
