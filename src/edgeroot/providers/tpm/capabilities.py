"""What the provider offers, from what the TPM says that it has."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Final

from edgeroot.evidence.tpm_structures import Alg, Curve
from edgeroot.providers.api import Capabilities, Capability, Function
from edgeroot.providers.tpm.connection import Connection
from edgeroot.providers.tpm.templates import CURVES, ECC_PAIR, HASHES, MODES
from edgeroot.psa import Algorithm, Hash, KeyType

_RSA_BITS: Final = (1024, 2048, 3072, 4096)
_ENDORSEMENT_BITS: Final = 2048
_LARGEST_DIGEST: Final = 0x120  # TPM_PT_MAX_DIGEST
_INPUT_BUFFER: Final = 0x10D  # TPM_PT_INPUT_BUFFER
_HMAC_COMMANDS: Final = frozenset((0x155, 0x15B, 0x15C, 0x13E))  # HMAC, HMAC_Start, SequenceUpdate, SequenceComplete
_CIPHER_COMMANDS: Final = frozenset((0x193,))  # EncryptDecrypt2
_AES_BITS: Final = (128, 192, 256)
_BLOCK_BYTES: Final = {Hash.SHA_1: 64, Hash.SHA_256: 64, Hash.SHA_384: 128, Hash.SHA_512: 128}
_BANKS: Final = (Alg.SHA256, Alg.SHA384, Alg.SHA512)  # the first that there is is quoted
_ATTESTATION_ALGORITHMS: Final = frozenset((Alg.ECC, Alg.ECDSA, Alg.SHA256))
_QUOTE_COMMAND: Final = 0x158
_CERTIFY_COMMAND: Final = 0x148
_TRANSIENT_SLOTS: Final = 0x10E  # TPM_PT_HR_TRANSIENT_MIN

_PAIR: Final = Function.GENERATE_KEY | Function.IMPORT_KEY | Function.DESTROY_KEY | Function.EXPORT_PUBLIC_KEY
_PUBLIC: Final = Function.IMPORT_KEY | Function.DESTROY_KEY | Function.EXPORT_PUBLIC_KEY
_VERIFY: Final = Function.VERIFY_HASH | Function.VERIFY_MESSAGE
_SIGN: Final = Function.SIGN_HASH | Function.SIGN_MESSAGE | _VERIFY
_MAC: Final = Function.MAC_COMPUTE | Function.MAC_VERIFY
_DECRYPT: Final = Function.ASYMMETRIC_ENCRYPT | Function.ASYMMETRIC_DECRYPT
# A PSS salt is as long as the hash, and OAEP holds two hashes: both need this room in the modulus beside them.
_PADDING_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a TPM has (TPM2_GetCapability, TPM2_TestParms; Part 3, clauses 30.2 and 30.3)."""

    algorithms: frozenset[int]
    curves: frozenset[int]
    commands: frozenset[int]
    rsa_bits: tuple[int, ...]
    aes_bits: tuple[int, ...]
    largest_digest_bytes: int
    input_buffer_bytes: int
    transient_slots: int
    pcr_bank: int = Alg.NULL

    @classmethod
    def of(cls, connection: Connection) -> Inventory:
        algorithms = connection.algorithms()
        return cls(
            algorithms=algorithms,
            curves=connection.curves() if Alg.ECC in algorithms else frozenset(),
            commands=connection.commands(),
            rsa_bits=tuple(bits for bits in _RSA_BITS if Alg.RSA in algorithms and connection.has_rsa(bits)),
            aes_bits=tuple(bits for bits in _AES_BITS if Alg.SYMCIPHER in algorithms and connection.has_aes(bits)),
            largest_digest_bytes=connection.property(_LARGEST_DIGEST),
            input_buffer_bytes=connection.property(_INPUT_BUFFER),
            transient_slots=connection.property(_TRANSIENT_SLOTS),
            pcr_bank=next((bank for bank in _BANKS if bank in connection.pcr_banks()), Alg.NULL),
        )

    def __bytes__(self) -> bytes:
        """For another process of the service."""
        fields = {
            name: sorted(value) if isinstance(value, frozenset) else value for name, value in asdict(self).items()
        }
        return json.dumps(fields).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Inventory:
        fields = json.loads(data)
        for name in ("algorithms", "curves", "commands"):
            fields[name] = frozenset(fields[name])
        for name in ("rsa_bits", "aes_bits"):
            fields[name] = tuple(fields[name])
        return cls(**fields)

    def capabilities(self) -> Capabilities:
        hashes = tuple(alg for alg, number in HASHES.items() if number in self.algorithms)
        rows = [Capability(Function.GENERATE_RANDOM | self._quote())]
        if hashes:
            algorithms = frozenset(Algorithm.from_hash(alg) for alg in hashes)
            rows.append(Capability(Function.HASH_COMPUTE | Function.HASH_COMPARE, algorithms=algorithms))
        if self.rsa_bits:
            rows += self._rsa(hashes)
        ecc_bits = tuple(bits for bits, curve in CURVES.items() if curve in self.curves)
        if ecc_bits:
            rows += self._ecc(ecc_bits, hashes)
        if Alg.HMAC in self.algorithms and self.commands >= _HMAC_COMMANDS:
            rows += self._hmac(hashes)
        if self.aes_bits and self.commands >= _CIPHER_COMMANDS:
            rows += self._aes()
        return Capabilities(generation=0, rows=tuple(rows))

    def _rsa(self, hashes: Collection[Hash]) -> list[Capability]:
        pair, public = KeyType.RSA_KEY_PAIR, KeyType.RSA_PUBLIC_KEY
        rows = [Capability(self._manage_pairs(), pair, self.rsa_bits), Capability(_PUBLIC, public, self.rsa_bits)]
        if Alg.RSASSA in self.algorithms:
            signatures = frozenset(Algorithm.rsa_pkcs1v15_sign(alg) for alg in hashes)
            rows += _both(pair, self.rsa_bits, signatures, pair_can=_SIGN, public_can=_VERIFY)
        if Alg.RSAES in self.algorithms:
            encryption = frozenset((Algorithm.RSA_PKCS1V15_CRYPT,))
            rows += _both(pair, self.rsa_bits, encryption, pair_can=_DECRYPT, public_can=Function.ASYMMETRIC_ENCRYPT)
        for length_bytes in sorted({alg.length_bytes for alg in hashes}):
            fitting = tuple(bits for bits in self.rsa_bits if bits // 8 >= 2 * length_bytes + _PADDING_BYTES)
            same = [alg for alg in hashes if alg.length_bytes == length_bytes]
            if fitting and Alg.RSAPSS in self.algorithms:
                signatures = frozenset(Algorithm.rsa_pss(alg) for alg in same)
                rows += _both(pair, fitting, signatures, pair_can=_SIGN, public_can=_VERIFY)
            if fitting and Alg.OAEP in self.algorithms:
                encryption = frozenset(Algorithm.rsa_oaep(alg) for alg in same if alg in _OAEP_HASHES)
                rows += _both(pair, fitting, encryption, pair_can=_DECRYPT, public_can=Function.ASYMMETRIC_ENCRYPT)
        return rows

    def _manage_pairs(self) -> Function:
        can_attest = _ENDORSEMENT_BITS in self.rsa_bits
        attest = Function.PREPARE_KEY_ATTESTATION | Function.ATTEST_KEY if can_attest else Function(0)
        return _PAIR | attest | self._certify()

    def _certify(self) -> Function:
        return Function.KEY_STATEMENT if self._signs_with_the_attestation_key(_CERTIFY_COMMAND) else Function(0)

    def _quote(self) -> Function:
        can_quote = self.pcr_bank != Alg.NULL and self._signs_with_the_attestation_key(_QUOTE_COMMAND)
        return Function.INITIAL_ATTEST_GET_TOKEN if can_quote else Function(0)

    def _signs_with_the_attestation_key(self, command: int) -> bool:
        has_key = self.algorithms >= _ATTESTATION_ALGORITHMS and Curve.NIST_P256 in self.curves
        return has_key and command in self.commands

    def _ecc(self, key_bits: tuple[int, ...], hashes: Collection[Hash]) -> list[Capability]:
        pair = ECC_PAIR
        rows = [Capability(self._manage_pairs(), pair, key_bits), Capability(_PUBLIC, pair.public_of_pair, key_bits)]
        if Alg.ECDSA in self.algorithms:
            signatures = frozenset(Algorithm.ecdsa(alg) for alg in hashes)
            rows += _both(pair, key_bits, signatures, pair_can=_SIGN, public_can=_VERIFY)
        if Alg.ECDH in self.algorithms:
            rows.append(Capability(Function.RAW_KEY_AGREEMENT, pair, key_bits, frozenset((Algorithm.ECDH,))))
        return rows

    def _hmac(self, hashes: Collection[Hash]) -> list[Capability]:
        """A TPM makes secrets that are as long as the hash, and takes those that are not longer than its block."""
        rows = []
        for alg in hashes:
            if alg in _BLOCK_BYTES:
                own, any_size = (8 * alg.length_bytes,), range(8, 8 * _BLOCK_BYTES[alg] + 1, 8)
                algorithms = frozenset((Algorithm.hmac(alg),))
                rows += [
                    Capability(Function.GENERATE_KEY | self._certify(), KeyType.HMAC, own),
                    Capability(_MAC, KeyType.HMAC, own, algorithms),
                    Capability(Function.IMPORT_KEY | Function.DESTROY_KEY, KeyType.HMAC, any_size),
                    Capability(_MAC, KeyType.HMAC, any_size, algorithms),
                ]
        return rows

    def _aes(self) -> list[Capability]:
        manage = Function.GENERATE_KEY | Function.IMPORT_KEY | Function.DESTROY_KEY | self._certify()
        modes = frozenset(alg for alg, mode in MODES.items() if mode in self.algorithms)
        rows = [Capability(manage, KeyType.AES, self.aes_bits)]
        if modes:
            use = Function.CIPHER_ENCRYPT | Function.CIPHER_DECRYPT
            rows.append(Capability(use, KeyType.AES, self.aes_bits, modes))
        return rows


# Whoever encrypts does it in software, and that has OAEP over these alone.
_OAEP_HASHES: Final = (Hash.SHA_1, Hash.SHA_256, Hash.SHA_384, Hash.SHA_512)


def _both(
    pair: KeyType,
    key_bits: tuple[int, ...],
    algorithms: frozenset[Algorithm],
    *,
    pair_can: Function,
    public_can: Function,
) -> list[Capability]:
    if not algorithms:
        return []
    return [
        Capability(pair_can, pair, key_bits, algorithms),
        Capability(public_can, pair.public_of_pair, key_bits, algorithms),
    ]
