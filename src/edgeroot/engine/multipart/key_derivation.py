"""Key derivation (PSA Crypto API 1.2, clause 10.6): HKDF (RFC 5869), the TLS 1.2 PRF (RFC 5246, clause 5) and its use
with a pre-shared key (RFC 4279, clause 2), each also behind a key agreement.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

from cryptography.hazmat.primitives import hashes, hmac

from edgeroot.engine import keys
from edgeroot.engine.errors import bad_state, invalid_argument, not_supported
from edgeroot.engine.hashes import HASHES
from edgeroot.engine.symmetric import with_parity
from edgeroot.psa import Algorithm, DerivationStep, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret

_HKDF: Final = 0x08000100
_TLS12_PRF: Final = 0x08000200
_TLS12_PSK_TO_MS: Final = 0x08000300
_FAMILY_MASK: Final = 0x7FFFFF00
_HKDF_MAX_BLOCKS: Final = 255
_MASTER_SECRET_BYTES: Final = 48
_PSK_MAX_BYTES: Final = 128  # PSA_TLS12_PSK_TO_MS_PSK_MAX_SIZE
_PRF_CAPACITY: Final = 0xFFFFFFFF  # PSA_KEY_DERIVATION_UNLIMITED_CAPACITY, as the transport can carry it
_LENGTH: Final = Struct(">H")

# In which order the inputs come; a HKDF's salt may be left out.
_ORDER: Final = {
    _HKDF: (DerivationStep.SALT, DerivationStep.SECRET, DerivationStep.INFO),
    _TLS12_PRF: (DerivationStep.SEED, DerivationStep.SECRET, DerivationStep.LABEL),
    _TLS12_PSK_TO_MS: (DerivationStep.SEED, DerivationStep.OTHER_SECRET, DerivationStep.SECRET, DerivationStep.LABEL),
}
_OPTIONAL: Final = {_HKDF: (DerivationStep.SALT,), _TLS12_PRF: (), _TLS12_PSK_TO_MS: (DerivationStep.OTHER_SECRET,)}
_SECRET_STEPS: Final = (DerivationStep.SECRET, DerivationStep.OTHER_SECRET)


class KeyDerivationOperation:
    """A derivation: inputs in the algorithm's order, then output until the capacity is used up."""

    def __init__(self, alg: Algorithm) -> None:
        self._agreement: Final = alg.raw_key_agreement if alg.is_key_agreement else Algorithm.NONE
        derivation = alg.key_derivation if alg.is_key_agreement else alg
        family = derivation & _FAMILY_MASK
        if not derivation.is_key_derivation or family not in _ORDER:
            raise not_supported(f"key derivation with {alg!r}")
        hash_alg = derivation.hash
        if (
            hash_alg is None
            or hash_alg is Hash.ANY
            or (family != _HKDF and hash_alg not in (Hash.SHA_256, Hash.SHA_384))
        ):
            raise invalid_argument(f"{alg!r} names no hash that it can be used with")
        algorithm = HASHES.get(hash_alg)
        if algorithm is None:
            raise not_supported(f"hash algorithm {hash_alg.name}")
        self._family: Final = family
        self._hash: Final = algorithm
        self._inputs: dict[DerivationStep, bytes] = {}
        self._output: Iterator[bytes] | None = None
        self._rest = b""
        self._failed = False
        self._capacity_bytes = {
            _HKDF: _HKDF_MAX_BLOCKS * hash_alg.length_bytes,
            _TLS12_PRF: _PRF_CAPACITY,
            _TLS12_PSK_TO_MS: _MASTER_SECRET_BYTES,
        }[family]

    def get_capacity(self) -> int:
        """How many bytes may still come out."""
        self._require_sound()
        return self._capacity_bytes

    def set_capacity(self, capacity_bytes: int) -> None:
        """Less than may come out; INVALID_ARGUMENT for more."""
        self._require_sound()
        if capacity_bytes > self._capacity_bytes:
            raise invalid_argument("a capacity can only be made smaller")
        self._capacity_bytes = capacity_bytes

    def input_bytes(self, step: int, data: bytes) -> None:
        """An input that need not be a key. INVALID_ARGUMENT for another algorithm's step, BAD_STATE for the order."""
        self._input(step, data)

    def input_key(self, step: int, material: Secret) -> None:
        """A key's material as an input."""
        self._input(step, material)

    def input_secret(self, step: int, shared: Secret) -> None:
        """The shared secret of the algorithm's key agreement as an input; INVALID_ARGUMENT if it begins with none."""
        if self._agreement == Algorithm.NONE:
            raise invalid_argument("the algorithm has no key agreement")
        self._input(step, shared)

    def output_bytes(self, size_bytes: int) -> Secret:
        """The next bytes. INSUFFICIENT_DATA beyond the capacity, which then is used up; BAD_STATE before all inputs."""
        self._require_sound()
        if self._output is None:
            missing = [step for step in _ORDER[self._family] if step not in self._inputs]
            if any(step not in _OPTIONAL[self._family] for step in missing):
                raise bad_state("not all inputs have come")
            self._output = self._blocks()
        if size_bytes > self._capacity_bytes:
            self._capacity_bytes = 0
            raise PsaError(PsaStatus.INSUFFICIENT_DATA, "the derivation has no more output")
        self._capacity_bytes -= size_bytes
        parts = [self._rest]
        have = len(self._rest)
        while have < size_bytes:
            block = next(self._output)
            parts.append(block)
            have += len(block)
        data = b"".join(parts)
        self._rest = data[size_bytes:]
        return Secret(data[:size_bytes])

    def output_key(self, attributes: KeyAttributes) -> Secret:
        """Material for a key of this type and size (PSA Crypto API 1.2, psa_key_derivation_output_key).

        NOT_SUPPORTED for types that cannot be derived, INVALID_ARGUMENT for public ones and for a size that no key of
        the type has.
        """
        key_type = attributes.key_type
        if key_type.is_public_key:
            raise invalid_argument("no public key is derived")
        if key_type.is_asymmetric and not (key_type.is_ecc and key_type.is_key_pair):
            raise not_supported(f"deriving a key of type {key_type!r}")
        size_bytes = (attributes.key_bits + 7) // 8
        if key_type.is_ecc and size_bytes:
            # Every curve has the scalar 1. Where there is no such curve, drawing scalars would find none for ever.
            keys.import_material(attributes, Secret((1).to_bytes(size_bytes)))
        while True:
            material = self.output_bytes(size_bytes)
            if key_type == KeyType.DES:
                material = with_parity(material)
            elif key_type.is_ecc:
                # The surplus bits are cut, and one is added, so that 0 to n - 2 become 1 to n - 1.
                scalar = int.from_bytes(material) & (1 << attributes.key_bits) - 1
                material = Secret((scalar + 1).to_bytes(size_bytes + 1)[1:])
            try:
                # A scalar is drawn again until it is one of the curve's; of other types, whatever has the size will do.
                return keys.import_material(attributes, material)[1]
            except PsaError as error:
                if not key_type.is_asymmetric or error.status is not PsaStatus.INVALID_ARGUMENT or not size_bytes:
                    raise

    def _input(self, step: int, data: bytes) -> None:
        self._require_sound()
        order = _ORDER[self._family]
        if step not in order:
            self._failed = True
            raise invalid_argument(f"the algorithm has no input of step {step:#06x}")
        given = DerivationStep(step)
        behind = order[order.index(given) :]
        required = [one for one in order[: order.index(given)] if one not in _OPTIONAL[self._family]]
        # HKDF takes its info at any time; everything else comes in order, and once.
        out_of_order = any(
            one in self._inputs for one in behind if not (self._family == _HKDF and one is DerivationStep.INFO)
        )
        missing = any(one not in self._inputs for one in required)
        if (
            self._output is not None
            or given in self._inputs
            or (given is not DerivationStep.INFO and (out_of_order or missing))
        ):
            self._failed = True
            raise bad_state("the input does not come in its order")
        if self._family == _TLS12_PSK_TO_MS and given is DerivationStep.SECRET and len(data) > _PSK_MAX_BYTES:
            self._failed = True
            raise invalid_argument(f"a pre-shared key has at most {_PSK_MAX_BYTES} bytes")
        self._inputs[given] = data

    def _blocks(self) -> Iterator[bytes]:
        secret = self._inputs[DerivationStep.SECRET]
        if self._family == _HKDF:
            salt = self._inputs.get(DerivationStep.SALT) or bytes(self._hash.digest_size)
            return _hkdf_expand(self._hash, _hmac(self._hash, salt, secret), self._inputs[DerivationStep.INFO])
        if self._family == _TLS12_PSK_TO_MS:
            other = self._inputs.get(DerivationStep.OTHER_SECRET, bytes(len(secret)))
            secret = _LENGTH.pack(len(other)) + other + _LENGTH.pack(len(secret)) + secret
        return _p_hash(self._hash, secret, self._inputs[DerivationStep.LABEL] + self._inputs[DerivationStep.SEED])

    def _require_sound(self) -> None:
        if self._failed:
            raise bad_state("an earlier input has failed")


def key_derivation_setup(alg: Algorithm) -> KeyDerivationOperation:
    """INVALID_ARGUMENT for what is no key derivation, NOT_SUPPORTED for one that is not implemented."""
    if not alg.is_key_derivation and (not alg.is_key_agreement or alg.is_raw_key_agreement):
        raise invalid_argument(f"{alg!r} is no key derivation")
    return KeyDerivationOperation(alg)


def _hmac(algorithm: hashes.HashAlgorithm, key: bytes, data: bytes) -> bytes:
    context = hmac.HMAC(key, algorithm)
    context.update(data)
    return context.finalize()


def _hkdf_expand(algorithm: hashes.HashAlgorithm, key: bytes, info: bytes) -> Iterator[bytes]:
    block = b""
    for number in range(1, _HKDF_MAX_BLOCKS + 1):
        block = _hmac(algorithm, key, block + info + bytes((number,)))
        yield block


def _p_hash(algorithm: hashes.HashAlgorithm, secret: bytes, seed: bytes) -> Iterator[bytes]:
    chained = seed
    while True:
        chained = _hmac(algorithm, secret, chained)
        yield _hmac(algorithm, secret, chained + seed)
