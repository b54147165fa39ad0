"""What the provider asks of a connection to a TPM: the commands of TPM 2.0 Library, Part 3, over plain values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from edgeroot.psa import Secret


class Hierarchy(Enum):
    OWNER = auto()
    ENDORSEMENT = auto()


@dataclass(frozen=True, slots=True)
class Primary:
    """A primary key: ``public`` is its TPMT_PUBLIC, ``name`` its name. A persistent one takes no transient slot."""

    handle: int
    public: bytes
    name: bytes
    persistent: bool


class Connection(ABC):
    """One connection. Handles are its own, and structures are bytes as Part 2 marshals them. Failures are TpmErrors.

    What carries a secret needs the session that :meth:`start_session` opens.
    """

    @abstractmethod
    def close(self) -> None:
        """Give the connection up as it is, whatever is loaded."""

    @abstractmethod
    def startup(self) -> None:
        """TPM2_Startup(CLEAR), which is no error if there was one before."""

    @abstractmethod
    def algorithms(self) -> frozenset[int]: ...

    @abstractmethod
    def curves(self) -> frozenset[int]: ...

    @abstractmethod
    def commands(self) -> frozenset[int]:
        """The codes of the commands that it has."""

    @abstractmethod
    def property(self, number: int) -> int:
        """A TPM_PT; 0 if there is none."""

    @abstractmethod
    def handles(self, first: int) -> tuple[int, ...]:
        """The handles in use, from this one on, of its kind."""

    @abstractmethod
    def has_rsa(self, key_bits: int) -> bool: ...

    @abstractmethod
    def has_aes(self, key_bits: int) -> bool: ...

    @abstractmethod
    def persistent(self, handle: int) -> Primary | None:
        """The key at a persistent handle, None if there is none."""

    @abstractmethod
    def create_primary(self, hierarchy: Hierarchy, auth: bytes, template: bytes) -> Primary: ...

    @abstractmethod
    def start_session(self, primary: Primary) -> None: ...

    @abstractmethod
    def end_session(self) -> None: ...

    @abstractmethod
    def create(self, primary: int, template: bytes, auth: bytes, secret: Secret) -> tuple[bytes, bytes]:
        """A new key's private and public parts; ``secret`` is a symmetric key from outside, or empty."""

    @abstractmethod
    def import_pair(self, primary: Primary, public: bytes, auth: bytes, secret: Secret) -> bytes:
        """The private part of an imported key; ``secret`` is a prime of the modulus, or the scalar."""

    @abstractmethod
    def load(self, primary: int, private: bytes, public: bytes, auth: bytes) -> int: ...

    @abstractmethod
    def flush(self, handle: int) -> None: ...

    @abstractmethod
    def flush_stale(self, handle: int) -> None:
        """Flush what another connection left, by the TPM's own handle."""

    @abstractmethod
    def sign(self, handle: int, digest: bytes, scheme: bytes) -> bytes:
        """A TPMT_SIGNATURE."""

    @abstractmethod
    def rsa_decrypt(self, handle: int, ciphertext: bytes, scheme: bytes, label: bytes) -> Secret: ...

    @abstractmethod
    def agree(self, handle: int, x: bytes, y: bytes) -> Secret:
        """The x-coordinate of the shared point, perhaps without its leading zeros."""

    @abstractmethod
    def hmac(self, handle: int, data: bytes, hash_algorithm: int) -> bytes: ...

    @abstractmethod
    def hmac_start(self, handle: int, hash_algorithm: int) -> int:
        """A sequence, which takes the place of a key in the TPM until it is complete or flushed."""

    @abstractmethod
    def sequence_update(self, sequence: int, data: bytes) -> None: ...

    @abstractmethod
    def sequence_complete(self, sequence: int, data: bytes) -> bytes: ...

    @abstractmethod
    def crypt(self, handle: int, data: bytes, *, decrypt: bool, mode: int, iv: bytes) -> tuple[Secret, bytes]:
        """What comes out, and the IV with which the next part goes on."""

    @abstractmethod
    def random(self, size_bytes: int) -> Secret:
        """At most so many bytes: a TPM gives no more at once than its largest digest has."""

    @abstractmethod
    def pcr_banks(self) -> Mapping[int, bytes]:
        """The banks that have PCRs, and which: bit n of the mask for PCR n."""

    @abstractmethod
    def pcr_values(self, bank: int, indices: Sequence[int]) -> tuple[bytes, ...]: ...

    @abstractmethod
    def quote(self, key: int, selection: bytes, qualifying_data: bytes) -> tuple[bytes, bytes]:
        """A TPMS_ATTEST and a TPMT_SIGNATURE; ``selection`` is a TPMS_PCR_SELECTION."""

    @abstractmethod
    def certify(self, certified: int, key: int, qualifying_data: bytes) -> tuple[bytes, bytes]:
        """A TPMS_ATTEST and a TPMT_SIGNATURE by ``key``."""

    @abstractmethod
    def nv_content(self, index: int) -> bytes:
        """What an index of the TPM's memory holds; empty unless there is one that everybody may read."""

    @abstractmethod
    def activate(
        self, primary: int, key: int, endorsement: int, *, auth: bytes, credential_blob: bytes, secret: bytes
    ) -> Secret: ...
