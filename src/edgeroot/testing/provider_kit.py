"""The contract of providers, to be held against one: everything that it says it can do is done, and done wrong.

>>> check_provider(open_provider)          # doctest: +SKIP

``open_provider`` gives a started instance each time it is called, all over the same settings. What the provider does
not offer in its capabilities is not asked for. AssertionError says what went wrong, with which key and algorithm.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from edgeroot.providers.api import Capability, Created, Function, LoadedKey, Provider
from edgeroot.psa import (
    Algorithm,
    DhFamily,
    EccFamily,
    Hash,
    KeyAttributes,
    KeyType,
    PsaError,
    PsaStatus,
    Secret,
    UsageFlags,
)
from edgeroot.testing.object_kit import check_beyond_crypto
from edgeroot.testing.refusals import refused

_ALL_USAGE: Final = UsageFlags(sum(UsageFlags))
_MESSAGE: Final = b"a message of no particular length"
_NONCE: Final = bytes(range(12))
_BLOCKS: Final = bytes(range(48))
_MANY_SIZES: Final = 6
# One type after another that PSA defines, to find one that the provider does not have.
_EVERY_TYPE: Final = (
    *(KeyType.ecc_key_pair(family) for family in EccFamily),
    *(KeyType.dh_key_pair(family) for family in DhFamily),
    *(KeyType.RSA_KEY_PAIR, KeyType.RAW_DATA, KeyType.HMAC, KeyType.DERIVE, KeyType.AES, KeyType.DES),
    *(KeyType.CAMELLIA, KeyType.ARC4, KeyType.CHACHA20),
)
_REFUSED: Final = (PsaStatus.INVALID_ARGUMENT, PsaStatus.NOT_SUPPORTED)
_MISMATCHED: Final = (*_REFUSED, PsaStatus.NOT_PERMITTED)


def a_few_sizes(key_type: KeyType, key_bits: Collection[int]) -> Iterable[int]:
    """Every size where there are few and keys are made quickly, otherwise the smallest."""
    if key_type.is_rsa or key_type.is_dh or len(key_bits) > _MANY_SIZES:
        return (min(key_bits),)
    return key_bits


def check_provider(
    open_provider: Callable[[], Provider],
    *,
    sizes: Callable[[KeyType, Collection[int]], Iterable[int]] = a_few_sizes,
    algorithms_per_row: int | None = None,
    oaep_labels: Sequence[bytes] = (b"", b"label"),
) -> None:
    """Raises AssertionError where the provider breaks its contract.

    ``sizes`` chooses from the sizes of a row those to try; ``algorithms_per_row`` bounds how many of its algorithms are
    tried, for back ends that are slow at making keys. ``oaep_labels`` are at least two that the back end takes.
    """
    first, second = open_provider(), open_provider()
    _check_capabilities(first)
    _check_without_key(first)
    _check_refusals(first)
    check_beyond_crypto(first, second)
    for row in first.capabilities().rows:
        if row.key_type == KeyType.NONE:
            continue
        algorithms = sorted(row.algorithms) or [Algorithm.NONE]
        for algorithm in algorithms[:: -(-len(algorithms) // (algorithms_per_row or len(algorithms)))]:
            for key_bits in sizes(row.key_type, row.key_bits):
                attributes = KeyAttributes(row.key_type, key_bits, _ALL_USAGE, algorithm)
                with _about(f"{attributes.key_type!r}, {key_bits} bits, {algorithm!r}"):
                    _check_row(_Pair(first, second, tuple(oaep_labels)), row, attributes)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two instances over the same settings: what one makes, the other uses."""

    making: Provider
    using: Provider
    oaep_labels: tuple[bytes, ...] = ()

    def create(self, attributes: KeyAttributes, material: Secret | None = None) -> Created:
        planned = self.making.plan(attributes)
        assert (planned is not None) == self.making.keeps_keys, "plan and keeps_keys disagree"
        created = self.making.create(planned, attributes, material)
        assert created.attributes == replace(attributes, key_bits=created.attributes.key_bits)
        assert attributes.key_bits in (0, created.attributes.key_bits)
        assert self.using.exists(created.reference), "a key that was made does not exist"
        return created

    def load(self, created: Created) -> LoadedKey:
        key = self.using.load(created.reference, created.attributes)
        assert key.attributes == created.attributes
        return key

    def destroy(self, created: Created) -> None:
        self.making.destroy(created.reference)
        self.making.destroy(created.reference)
        if self.making.keeps_keys:
            assert not self.using.exists(created.reference), "a destroyed key exists"


@contextmanager
def _about(subject: str) -> Iterator[None]:
    try:
        yield
    except (AssertionError, PsaError) as error:
        raise AssertionError(f"{subject}: {error}") from error


def _flipped(data: bytes, position: int = -1) -> bytes:
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


def _check_capabilities(provider: Provider) -> None:
    capabilities = provider.capabilities()
    for row in capabilities.rows:
        with _about(repr(row)):
            assert row.functions, "a row without functions"
            assert (row.key_type == KeyType.NONE) == (not row.key_bits)
            assert not any(algorithm.is_wildcard for algorithm in row.algorithms), "a wildcard is no algorithm"
    for function in capabilities.offered:
        # Whoever calls this decides by it where to run the call, so it must answer for everything offered.
        assert provider.is_slow(function, None, 0) in (True, False)


def _check_without_key(provider: Provider) -> None:
    for row in provider.capabilities().rows:
        for alg in (Hash(algorithm) for algorithm in row.algorithms if algorithm.is_hash):
            with _about(repr(alg)):
                if Function.HASH_COMPUTE in row.functions:
                    assert len(provider.hash_compute(alg, b"")) == alg.length_bytes
                    digest = provider.hash_compute(alg, _MESSAGE)
                    if Function.HASH_COMPARE in row.functions:
                        provider.hash_compare(alg, _MESSAGE, digest)
                        for wrong in (_flipped(digest), digest[:-1], b""):
                            with refused(PsaStatus.INVALID_SIGNATURE):
                                provider.hash_compare(alg, _MESSAGE, wrong)
    if Function.GENERATE_RANDOM in provider.capabilities().offered:
        assert provider.generate_random(0) == b""
        once, again = provider.generate_random(32), provider.generate_random(32)
        assert len(once) == 32
        assert once != again, "random bytes repeat"
    offered = {Hash(a) for row in provider.capabilities().rows for a in row.algorithms if a.is_hash}
    for missing in set(Hash) - offered:
        with _about(repr(missing)), refused(*_REFUSED):
            provider.hash_compute(missing, b"")


def _check_refusals(provider: Provider) -> None:
    """Types and sizes that are in no row are refused, with the status that tells which of the two it is."""
    rows = [row for row in provider.capabilities().rows if Function.GENERATE_KEY in row.functions]
    offered = {row.key_type for row in rows}
    pair = _Pair(provider, provider)
    for key_type in _EVERY_TYPE:
        attributes = KeyAttributes(key_type, 256, _ALL_USAGE, Algorithm.NONE)
        if key_type not in offered:
            with _about(f"generating {key_type!r}"), refused(PsaStatus.NOT_SUPPORTED):
                pair.create(attributes)
            continue
        for key_bits in (0, 1, 7, 1 << 20):
            with _about(f"generating {key_type!r} of {key_bits} bits"), refused(*_REFUSED):
                pair.create(replace(attributes, key_bits=key_bits))
        if key_type.is_asymmetric:
            with _about(f"generating the public key of {key_type!r}"), refused(*_REFUSED):
                pair.create(replace(attributes, key_type=key_type.public_of_pair))


def _check_row(pair: _Pair, row: Capability, attributes: KeyAttributes) -> None:
    capabilities = pair.making.capabilities()
    key_type, key_bits = attributes.key_type, attributes.key_bits
    made_type = KeyType(key_type | 0x3000) if key_type.is_public_key else key_type
    if not capabilities.can_hold(Function.GENERATE_KEY, made_type, key_bits):
        return
    own = pair.create(replace(attributes, key_type=made_type))
    created = [own]
    try:
        key = pair.load(own)
        public: LoadedKey | None = None
        if key_type.is_asymmetric and capabilities.can_hold(Function.IMPORT_KEY, key_type.public_of_pair, key_bits):
            material = Secret(pair.using.export_public_key(key))
            imported = pair.create(replace(attributes, key_type=key_type.public_of_pair, key_bits=0), material)
            assert imported.attributes.key_bits == key_bits, "the size was inferred wrongly"
            created.append(imported)
            public = pair.load(imported)
            assert pair.using.export_public_key(public) == material, "a public key changed on its way"
        for function in row.functions:
            check = _CHECKS.get(function)
            if check is not None:
                with _about(str(function)):
                    check(pair, key, public)
    finally:
        for each in created:
            pair.destroy(each)


def _digest(alg: Algorithm) -> bytes:
    return hashlib.shake_256(_MESSAGE).digest(alg.hash.length_bytes if alg.hash else 32)


def _check_export(pair: _Pair, key: LoadedKey, _public: LoadedKey | None) -> None:
    material = pair.using.export_key(key) if not key.attributes.key_type.is_public_key else Secret()
    if not material or not pair.making.capabilities().can_hold(
        Function.IMPORT_KEY, key.attributes.key_type, key.attributes.key_bits
    ):
        return
    copy = pair.create(key.attributes, material)
    assert pair.using.export_key(pair.load(copy)) == material, "a key changed on its way"
    pair.destroy(copy)


def _check_import(pair: _Pair, key: LoadedKey, _public: LoadedKey | None) -> None:
    for key_type in {key.attributes.key_type, key.attributes.key_type.public_of_pair}:
        attributes = replace(key.attributes, key_type=key_type)
        if pair.making.capabilities().can_hold(Function.IMPORT_KEY, key_type, attributes.key_bits):
            for malformed in (b"", bytes(5000), b"\x30\x00"):
                if len(malformed) * 8 != attributes.key_bits:
                    with refused(PsaStatus.INVALID_ARGUMENT):
                        pair.create(attributes, Secret(malformed))


def _check_sign_hash(pair: _Pair, key: LoadedKey, public: LoadedKey | None) -> None:
    alg = key.attributes.algorithm
    digest = _digest(alg)
    signature = pair.using.sign_hash(key, alg, digest)
    for verifying in (key, public) if public is not None else (key,):
        pair.using.verify_hash(verifying, alg, digest, signature)
        for wrong in (_flipped(signature), signature[:-1], b"", bytes(len(signature))):
            with refused(PsaStatus.INVALID_SIGNATURE):
                pair.using.verify_hash(verifying, alg, digest, wrong)
        with refused(PsaStatus.INVALID_SIGNATURE):
            pair.using.verify_hash(verifying, alg, _flipped(digest, 0), signature)
    wrong_lengths = (b"", digest + b"\0") if alg.hash else (b"",)
    for wrong_length in () if alg == Algorithm.ECDSA_ANY else wrong_lengths:  # which takes a hash of any length
        with refused(PsaStatus.INVALID_ARGUMENT):
            pair.using.sign_hash(key, alg, wrong_length)
    if public is not None:
        with refused(*_MISMATCHED):
            pair.using.sign_hash(public, alg, digest)
    for other in (Algorithm.GCM, Algorithm.ECDH, Algorithm.hmac(Hash.SHA_256), Algorithm.NONE):
        with refused(*_MISMATCHED):
            pair.using.sign_hash(key, other, digest)


def _check_sign_message(pair: _Pair, key: LoadedKey, public: LoadedKey | None) -> None:
    alg = key.attributes.algorithm
    for message in (b"", _MESSAGE):
        signature = pair.using.sign_message(key, alg, message)
        for verifying in (key, public) if public is not None else (key,):
            pair.using.verify_message(verifying, alg, message, signature)
            with refused(PsaStatus.INVALID_SIGNATURE):
                pair.using.verify_message(verifying, alg, message + b"\0", signature)
            if alg.hash is not None and Algorithm.from_hash(alg.hash) in _hashes(pair.using):
                pair.using.verify_hash(verifying, alg, pair.using.hash_compute(alg.hash, message), signature)


def _hashes(provider: Provider) -> set[Algorithm]:
    return {a for row in provider.capabilities().rows if Function.HASH_COMPUTE in row.functions for a in row.algorithms}


def _check_asymmetric_decrypt(pair: _Pair, key: LoadedKey, public: LoadedKey | None) -> None:
    alg = key.attributes.algorithm
    salts = pair.oaep_labels if alg.is_rsa_oaep else (b"",)
    for salt in salts:
        for encrypting in (key, public) if public is not None else (key,):
            # The smallest key that OAEP works with has room for an empty text only.
            ciphertext = pair.using.asymmetric_encrypt(encrypting, alg, b"", salt)
            assert pair.using.asymmetric_decrypt(key, alg, ciphertext, salt) == b""
            for other in salts:
                if other != salt:
                    with refused(PsaStatus.INVALID_PADDING):
                        pair.using.asymmetric_decrypt(key, alg, ciphertext, other)
            with refused(PsaStatus.INVALID_ARGUMENT):
                pair.using.asymmetric_decrypt(key, alg, ciphertext[:-1], salt)
    with refused(PsaStatus.INVALID_ARGUMENT):
        pair.using.asymmetric_encrypt(key, alg, bytes(key.attributes.key_bits // 8), b"")
    if not alg.is_rsa_oaep:
        with refused(PsaStatus.INVALID_ARGUMENT):
            pair.using.asymmetric_encrypt(key, alg, b"plain", b"label")


def _check_aead(pair: _Pair, key: LoadedKey, _public: LoadedKey | None) -> None:
    alg, provider = key.attributes.algorithm, pair.using

    def decrypt(ciphertext: bytes, *, nonce: bytes = _NONCE, additional_data: bytes = b"header") -> Secret:
        return provider.aead_decrypt(key, alg, nonce=nonce, additional_data=additional_data, ciphertext=ciphertext)

    for plaintext in (b"", _MESSAGE):
        sealed = provider.aead_encrypt(key, alg, nonce=_NONCE, additional_data=b"header", plaintext=plaintext)
        assert len(sealed) == len(plaintext) + alg.tag_length_bytes
        assert decrypt(sealed) == plaintext
        for wrong in (_flipped(sealed), _flipped(sealed, 0)):
            with refused(PsaStatus.INVALID_SIGNATURE):
                decrypt(wrong)
        with refused(PsaStatus.INVALID_SIGNATURE):
            decrypt(sealed, additional_data=b"")
        with refused(PsaStatus.INVALID_SIGNATURE):
            decrypt(sealed, nonce=_flipped(_NONCE))
        with refused(PsaStatus.INVALID_ARGUMENT):
            decrypt(sealed, nonce=b"")
    with refused(PsaStatus.INVALID_ARGUMENT):
        decrypt(bytes(alg.tag_length_bytes - 1))
    with refused(PsaStatus.INVALID_ARGUMENT):
        provider.aead_encrypt(key, alg, nonce=b"", additional_data=b"", plaintext=_MESSAGE)
    with refused(*_MISMATCHED):
        provider.aead_encrypt(key, Algorithm.ECDH, nonce=_NONCE, additional_data=b"", plaintext=_MESSAGE)


def _check_cipher(pair: _Pair, key: LoadedKey, _public: LoadedKey | None) -> None:
    alg, provider = key.attributes.algorithm, pair.using
    ciphertext = provider.cipher_encrypt(key, alg, _BLOCKS)
    assert provider.cipher_decrypt(key, alg, ciphertext) == _BLOCKS
    if len(ciphertext) > len(_BLOCKS):
        assert provider.cipher_encrypt(key, alg, _BLOCKS) != ciphertext, "an IV repeats"
    if alg in (Algorithm.ECB_NO_PADDING, Algorithm.CBC_NO_PADDING):
        with refused(PsaStatus.INVALID_ARGUMENT):
            provider.cipher_encrypt(key, alg, _BLOCKS[:-1])
        with refused(PsaStatus.INVALID_ARGUMENT):
            provider.cipher_decrypt(key, alg, ciphertext[:-1])
    elif alg != Algorithm.XTS:
        assert provider.cipher_decrypt(key, alg, provider.cipher_encrypt(key, alg, _BLOCKS[:5])) == _BLOCKS[:5]
    with refused(*_MISMATCHED):
        provider.cipher_encrypt(key, Algorithm.ECDH, _BLOCKS)


def _check_mac(pair: _Pair, key: LoadedKey, _public: LoadedKey | None) -> None:
    alg, provider = key.attributes.algorithm, pair.using
    for data in (b"", _MESSAGE):
        mac = provider.mac_compute(key, alg, data)
        assert alg.mac_length_bytes in (0, len(mac))
        provider.mac_verify(key, alg, data, mac)
        for wrong in (_flipped(mac), mac[:-1], mac + b"\0", b""):
            with refused(PsaStatus.INVALID_SIGNATURE):
                provider.mac_verify(key, alg, data, wrong)
    with refused(*_MISMATCHED):
        provider.mac_compute(key, Algorithm.ECDH, _MESSAGE)


def _check_agreement(pair: _Pair, key: LoadedKey, _public: LoadedKey | None) -> None:
    alg, provider = key.attributes.algorithm, pair.using
    other = pair.create(key.attributes)
    peer = pair.load(other)
    public, peer_public = provider.export_public_key(key), provider.export_public_key(peer)
    secret = provider.raw_key_agreement(key, alg, peer_public)
    assert secret == provider.raw_key_agreement(peer, alg, public), "the two sides do not agree"
    for wrong in (b"", peer_public[:-1], peer_public + b"\0", bytes(len(peer_public))):
        with refused(PsaStatus.INVALID_ARGUMENT):
            provider.raw_key_agreement(key, alg, wrong)
    with refused(*_MISMATCHED):
        provider.raw_key_agreement(key, Algorithm.GCM, peer_public)
    pair.destroy(other)


_Check = Callable[[_Pair, LoadedKey, LoadedKey | None], None]
_CHECKS: Final[dict[Function, _Check]] = {
    Function.IMPORT_KEY: _check_import,
    Function.EXPORT_KEY: _check_export,
    Function.SIGN_HASH: _check_sign_hash,
    Function.SIGN_MESSAGE: _check_sign_message,
    Function.ASYMMETRIC_DECRYPT: _check_asymmetric_decrypt,
    Function.AEAD_ENCRYPT: _check_aead,
    Function.CIPHER_ENCRYPT: _check_cipher,
    Function.MAC_COMPUTE: _check_mac,
    Function.RAW_KEY_AGREEMENT: _check_agreement,
}
