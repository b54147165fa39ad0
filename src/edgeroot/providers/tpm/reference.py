"""Where a key is: a blob that only its TPM can use, or a public key as it is.

A reference, version 1: version u8 (1), kind u8; of a key with a secret (kind 1) TPM2B_PRIVATE and TPM2B_PUBLIC follow,
of a public key (kind 2) the key in the format of psa_export_public_key. Of a key that upstream's provider has made
(kind 3) the same follows as of kind 1, and TPM2B_AUTH: it is a child of another primary key, and has an authorisation
of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from edgeroot.evidence.tpm_structures import MalformedError, Public, Reader, sized
from edgeroot.psa import PsaError, PsaStatus

_VERSION: Final = 1
_SECRET: Final = 1
_PUBLIC: Final = 2
_ADOPTED: Final = 3


@dataclass(frozen=True, slots=True)
class SecretReference:
    """A key pair or a symmetric key: what TPM2_Load takes. ``private`` is encrypted under its parent.

    ``auth`` is the authorisation of a key that upstream has made, and empty of any other.
    """

    private: bytes = field(repr=False)
    public: Public
    auth: bytes = field(default=b"", repr=False)

    def __bytes__(self) -> bytes:
        both = sized(self.private) + sized(bytes(self.public))
        return bytes((_VERSION, _ADOPTED)) + both + sized(self.auth) if self.auth else bytes((_VERSION, _SECRET)) + both


@dataclass(frozen=True, slots=True)
class PublicReference:
    """A public key alone, which no TPM is needed for."""

    key: bytes

    def __bytes__(self) -> bytes:
        return bytes((_VERSION, _PUBLIC)) + self.key


def parse_reference(reference: bytes) -> SecretReference | PublicReference:
    """PsaError DATA_INVALID for anything that this provider did not make."""
    if reference[:1] != bytes((_VERSION,)):
        raise PsaError(PsaStatus.DATA_INVALID, f"the key's reference has not version {_VERSION}")
    kind, rest = reference[1:2], reference[2:]
    if kind == bytes((_PUBLIC,)):
        return PublicReference(rest)
    try:
        if kind not in (bytes((_SECRET,)), bytes((_ADOPTED,))):
            raise MalformedError("no such kind")
        reader = Reader(rest)
        private, public = reader.sized(), Public.from_bytes(reader.sized())
        auth = reader.sized() if kind == bytes((_ADOPTED,)) else b""
        reader.end()
    except MalformedError as error:
        raise PsaError(PsaStatus.DATA_INVALID, "the key's reference is not this provider's") from error
    return SecretReference(private, public, auth)
