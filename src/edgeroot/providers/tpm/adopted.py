"""Keys that upstream's TPM provider has made, as it writes them down.

Its records are bincode's (little-endian, lengths u64): a TPMS_CONTEXT of zeros (sequence u64, handle u32, hierarchy
u32, blob), the key's authorisation, the public part (variant u32: 0 modulus; 1 coordinates x and y), and the content of
TPM2B_PRIVATE, which is empty of a public key. The rest of the public area follows from the key's attributes.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeroot import engine
from edgeroot.evidence.tpm_structures import BORN_HERE, NO_SCHEME, Detail, EccPublic, ObjectFlags, Public, RsaPublic
from edgeroot.providers.tpm.reference import PublicReference, SecretReference
from edgeroot.providers.tpm.templates import CURVES, ECC_PAIR, scheme_of
from edgeroot.psa import KeyAttributes, KeyType, PsaError, PsaStatus

_USUAL_EXPONENT: Final = 65537


def upstreams_key(key_id: bytes, attributes: KeyAttributes) -> SecretReference | PublicReference:
    """What this provider takes for such a key. PsaError DATA_INVALID for a record that upstream would not write.

    NOT_SUPPORTED for one of Parsec 0.8 or older, where the TPM itself has to be asked.
    """
    record = _Record(key_id)
    record.take(16)
    if record.octets():
        raise PsaError(
            PsaStatus.NOT_SUPPORTED,
            "the record is one of Parsec 0.8 or older: use the key once with upstream's last release, which renews it",
        )
    auth = record.octets()
    parts = (record.octets(),) if record.integer(4) == 0 else (record.octets(), record.octets())
    private = record.octets()
    if attributes.key_type.is_public_key and not private:
        return PublicReference(_public_key(attributes, parts))
    if not private or not auth:
        raise _damaged()
    return SecretReference(private, _area(attributes, parts), auth)


def _area(attributes: KeyAttributes, parts: tuple[bytes, ...]) -> Public:
    """The public area, as the crate tss-esapi makes it of the same (7.7.0: TransientKeyContext)."""
    encrypts = attributes.algorithm.is_asymmetric_encryption
    scheme = NO_SCHEME if encrypts else scheme_of(attributes.algorithm)
    if scheme is None:
        raise _damaged()
    detail: Detail
    if attributes.key_type == KeyType.RSA_KEY_PAIR and len(parts) == 1:
        detail = RsaPublic(attributes.key_bits, scheme, modulus=parts[0])
    elif attributes.key_type == ECC_PAIR and attributes.key_bits in CURVES and len(parts) == 2:
        detail = EccPublic(CURVES[attributes.key_bits], scheme, x=parts[0], y=parts[1])
    else:
        raise _damaged()
    use = ObjectFlags.SIGN | ObjectFlags.DECRYPT if encrypts else ObjectFlags.SIGN
    return Public(detail, BORN_HERE | ObjectFlags.USER_WITH_AUTH | use)


def _public_key(attributes: KeyAttributes, parts: tuple[bytes, ...]) -> bytes:
    """In the format of psa_export_public_key; DATA_INVALID if it is none of the attributes' type and size."""
    width = (attributes.key_bits + 7) // 8
    try:
        if attributes.key_type == KeyType.RSA_PUBLIC_KEY and len(parts) == 1:
            numbers = rsa.RSAPublicNumbers(_USUAL_EXPONENT, int.from_bytes(parts[0], "big"))
            key = numbers.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
        else:
            key = b"\x04" + b"".join(part.rjust(width, b"\0") for part in parts)
        engine.import_material(attributes, key)
    except (ValueError, PsaError) as error:
        raise _damaged() from error
    return key


class _Record:
    """Reads from the front; DATA_INVALID where a record ends too early."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def take(self, size_bytes: int) -> bytes:
        taken, self._rest = self._rest[:size_bytes], self._rest[size_bytes:]
        if len(taken) != size_bytes:
            raise _damaged()
        return taken

    def integer(self, size_bytes: int) -> int:
        return int.from_bytes(self.take(size_bytes), "little")

    def octets(self) -> bytes:
        return self.take(self.integer(8))


def _damaged() -> PsaError:
    return PsaError(PsaStatus.DATA_INVALID, "the record is damaged, or none of upstream's TPM provider")
