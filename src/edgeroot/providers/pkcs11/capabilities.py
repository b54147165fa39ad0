"""What the provider offers over a token: never more than the token's own list of mechanisms says."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from typing import Final

from edgeroot import engine
from edgeroot.providers.api import Capability, Function
from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11.material import CURVES
from edgeroot.providers.pkcs11.mechanisms import AES_KEY_BITS, CIPHERS, GCM_TAG_BYTES, HASHES
from edgeroot.providers.pkcs11.profile import Profile
from edgeroot.psa import Algorithm, Hash, KeyType

_RSA_BITS: Final = range(1024, 4096 + 1, 8)
# Tokens make sizes that somebody has thought of; their list says the least and the greatest only.
_RSA_GENERATED_STEP: Final = 256
_HMAC_BITS: Final = range(8, 0xFFF8 + 1, 8)
_SIGN: Final = Function.SIGN_HASH | Function.SIGN_MESSAGE
_VERIFY: Final = Function.VERIFY_HASH | Function.VERIFY_MESSAGE
_NOTHING: Final = Function(0)
USES: Final = (
    _SIGN
    | _VERIFY
    | Function.ASYMMETRIC_ENCRYPT
    | Function.ASYMMETRIC_DECRYPT
    | Function.AEAD_ENCRYPT
    | Function.AEAD_DECRYPT
    | Function.CIPHER_ENCRYPT
    | Function.CIPHER_DECRYPT
    | Function.MAC_COMPUTE
    | Function.MAC_VERIFY
    | Function.RAW_KEY_AGREEMENT
)
_ALL: Final = (
    USES
    | Function.GENERATE_KEY
    | Function.IMPORT_KEY
    | Function.DESTROY_KEY
    | Function.EXPORT_KEY
    | Function.EXPORT_PUBLIC_KEY
    | Function.HASH_COMPUTE
    | Function.HASH_COMPARE
    | Function.GENERATE_RANDOM
)
UNKNOWN: Final = (Capability(_ALL),)
"""Before a token was ever seen: every request gets as far as the host, which looks for it; no key can be promised."""


def rows(profile: Profile, *, software_public_operations: bool, allow_export: bool) -> tuple[Capability, ...]:
    """The rows of this token. In software, what a public key alone can do does not depend on the token."""
    table = _Table(profile, software=software_public_operations, allow_export=allow_export)
    return tuple(row for row in table.rows() if row.functions and (row.key_bits or row.key_type == KeyType.NONE))


class _Table:
    def __init__(self, profile: Profile, *, software: bool, allow_export: bool) -> None:
        self._profile = profile
        self._software = software
        self._export = Function.EXPORT_KEY if allow_export else _NOTHING

    def rows(self) -> Iterator[Capability]:
        yield from self._without_key()
        yield from self._rsa()
        yield from self._ecc()
        yield from self._aes()
        yield from self._hmac()

    def _if(self, mechanism: int, flag: int, functions: Function) -> Function:
        return functions if self._profile.has(mechanism, flag) else _NOTHING

    def _generated(self, mechanism: int) -> Function:
        """Making secret keys."""
        lacking = "C_GenerateKey" in self._profile.lacks
        return _NOTHING if lacking else self._if(mechanism, ck.CKF_GENERATE, Function.GENERATE_KEY)

    @property
    def _import(self) -> Function:
        return _NOTHING if "C_CreateObject" in self._profile.lacks else Function.IMPORT_KEY

    def _public(self, mechanism: int, flag: int, functions: Function) -> Function:
        return functions if self._software else self._if(mechanism, flag, functions)

    def _without_key(self) -> Iterator[Capability]:
        digests = frozenset(
            Algorithm.from_hash(alg) for alg, of in HASHES.items() if self._profile.has(of.digest, ck.CKF_DIGEST)
        )
        if digests:
            yield Capability(Function.HASH_COMPUTE | Function.HASH_COMPARE, algorithms=digests)
        if self._profile.has_random:
            yield Capability(Function.GENERATE_RANDOM)

    def _rsa(self) -> Iterator[Capability]:
        pair, public = KeyType.RSA_KEY_PAIR, KeyType.RSA_PUBLIC_KEY
        info = self._profile.mechanisms.get(ck.CKM_RSA_PKCS_KEY_PAIR_GEN)
        if info is None:
            return
        key_bits = _bounded(_RSA_BITS, info.min_size, info.max_size)
        generated = [bits for bits in key_bits if bits % _RSA_GENERATED_STEP == 0]
        generate = self._if(ck.CKM_RSA_PKCS_KEY_PAIR_GEN, ck.CKF_GENERATE_KEY_PAIR, Function.GENERATE_KEY)
        yield Capability(generate, pair, generated)
        yield from self._held(pair, key_bits)
        yield from self._held(public, key_bits)
        pkcs1 = frozenset(Algorithm.rsa_pkcs1v15_sign(alg) for alg in HASHES)
        raw, crypt = frozenset({Algorithm.RSA_PKCS1V15_SIGN_RAW}), frozenset({Algorithm.RSA_PKCS1V15_CRYPT})
        sign, verify = (
            self._if(ck.CKM_RSA_PKCS, ck.CKF_SIGN, _SIGN),
            self._public(ck.CKM_RSA_PKCS, ck.CKF_VERIFY, _VERIFY),
        )
        yield from self._used(pair, key_bits, sign, verify, pkcs1)
        yield from self._used(pair, key_bits, sign & Function.SIGN_HASH, verify & Function.VERIFY_HASH, raw)
        decrypt = self._if(ck.CKM_RSA_PKCS, ck.CKF_DECRYPT, Function.ASYMMETRIC_DECRYPT)
        encrypt = self._public(ck.CKM_RSA_PKCS, ck.CKF_ENCRYPT, Function.ASYMMETRIC_ENCRYPT)
        yield from self._used(pair, key_bits, decrypt, encrypt, crypt)
        for alg in HASHES:
            # Both paddings need twice the hash and two bytes (RFC 8017, §7.1.1 and §9.1.1).
            enough = _bounded(key_bits, 8 * (2 * alg.length_bytes + 2), 0)
            yield from self._padded(pair, enough, alg)

    def _padded(self, pair: KeyType, key_bits: Collection[int], alg: Hash) -> Iterator[Capability]:
        if alg in self._profile.pss:
            sign = self._if(ck.CKM_RSA_PKCS_PSS, ck.CKF_SIGN, _SIGN)
            verify = self._public(ck.CKM_RSA_PKCS_PSS, ck.CKF_VERIFY, _VERIFY)
            yield from self._used(pair, key_bits, sign, verify, frozenset({Algorithm.rsa_pss(alg)}))
        if alg in self._profile.oaep:
            decrypt = self._if(ck.CKM_RSA_PKCS_OAEP, ck.CKF_DECRYPT, Function.ASYMMETRIC_DECRYPT)
            encrypt = self._public(ck.CKM_RSA_PKCS_OAEP, ck.CKF_ENCRYPT, Function.ASYMMETRIC_ENCRYPT)
            yield from self._used(pair, key_bits, decrypt, encrypt, frozenset({Algorithm.rsa_oaep(alg)}))

    def _ecc(self) -> Iterator[Capability]:
        for family in sorted({family for family, _ in self._profile.curves}):
            pair = KeyType.ecc_key_pair(family)
            sizes = tuple(bits for of, bits in CURVES if of is family and (of, bits) in self._profile.curves)
            checked = tuple(bits for bits in sizes if is_known_to_engine(pair.public_of_pair, bits))
            generate = self._if(ck.CKM_EC_KEY_PAIR_GEN, ck.CKF_GENERATE_KEY_PAIR, Function.GENERATE_KEY)
            yield Capability(generate, pair, sizes)
            yield from self._held(pair, checked)
            yield from self._held(pair.public_of_pair, checked)
            unchecked = tuple(bits for bits in sizes if bits not in checked)
            yield Capability(Function.DESTROY_KEY | Function.EXPORT_PUBLIC_KEY, pair, unchecked)
            sign = self._if(ck.CKM_ECDSA, ck.CKF_SIGN, _SIGN)
            ecdsa = frozenset(Algorithm.ecdsa(alg) for alg in HASHES)
            any_hash = frozenset({Algorithm.ECDSA_ANY})
            verify = self._public(ck.CKM_ECDSA, ck.CKF_VERIFY, _VERIFY)
            yield from self._used(pair, checked, sign, verify, ecdsa)
            yield from self._used(pair, checked, sign & Function.SIGN_HASH, verify & Function.VERIFY_HASH, any_hash)
            both = sign | self._if(ck.CKM_ECDSA, ck.CKF_VERIFY, _VERIFY)
            yield Capability(both, pair, unchecked, ecdsa)
            yield Capability(both & (Function.SIGN_HASH | Function.VERIFY_HASH), pair, unchecked, any_hash)
            agree = self._if(ck.CKM_ECDH1_DERIVE, ck.CKF_DERIVE, Function.RAW_KEY_AGREEMENT)
            yield Capability(agree, pair, checked, frozenset({Algorithm.ECDH}))

    def _aes(self) -> Iterator[Capability]:
        info = self._profile.mechanisms.get(ck.CKM_AES_KEY_GEN)
        if info is None:
            return
        key_bits = [bits for bits in AES_KEY_BITS if info.min_size <= bits // 8 <= info.max_size]
        generate = self._generated(ck.CKM_AES_KEY_GEN)
        hold = self._import | Function.DESTROY_KEY | self._export
        yield Capability(generate | hold, KeyType.AES, key_bits)
        for alg, mechanism in CIPHERS.items():
            functions = self._if(mechanism, ck.CKF_ENCRYPT, Function.CIPHER_ENCRYPT) | self._if(
                mechanism, ck.CKF_DECRYPT, Function.CIPHER_DECRYPT
            )
            # An IV is made by the token that uses it.
            if alg == Algorithm.ECB_NO_PADDING or self._profile.has_random:
                yield Capability(functions, KeyType.AES, key_bits, frozenset({alg}))
        tags = frozenset(Algorithm.GCM.with_tag_length(length) for length in GCM_TAG_BYTES)
        functions = self._if(ck.CKM_AES_GCM, ck.CKF_ENCRYPT, Function.AEAD_ENCRYPT) | self._if(
            ck.CKM_AES_GCM, ck.CKF_DECRYPT, Function.AEAD_DECRYPT
        )
        yield Capability(functions, KeyType.AES, key_bits, tags)
        yield Capability(self._mac(ck.CKM_AES_CMAC), KeyType.AES, key_bits, frozenset({Algorithm.CMAC}))

    def _hmac(self) -> Iterator[Capability]:
        if ck.CKM_GENERIC_SECRET_KEY_GEN not in self._profile.mechanisms:
            return
        generate = self._generated(ck.CKM_GENERIC_SECRET_KEY_GEN)
        hold = self._import | Function.DESTROY_KEY | self._export
        yield Capability(generate | hold, KeyType.HMAC, _HMAC_BITS)
        for alg, of in HASHES.items():
            info = self._profile.mechanisms.get(of.hmac)
            if info is not None:
                key_bits = _bounded(_HMAC_BITS, 8 * info.min_size, 8 * info.max_size)
                yield Capability(self._mac(of.hmac), KeyType.HMAC, key_bits, frozenset({Algorithm.hmac(alg)}))

    def _mac(self, mechanism: int) -> Function:
        compute = self._if(mechanism, ck.CKF_SIGN, Function.MAC_COMPUTE)
        return compute | self._if(mechanism, ck.CKF_VERIFY, Function.MAC_VERIFY)

    def _held(self, key_type: KeyType, key_bits: Collection[int]) -> Iterator[Capability]:
        # What anybody may know can always be exported.
        export = Function.EXPORT_KEY if key_type.is_public_key else self._export
        hold = self._import | Function.DESTROY_KEY | Function.EXPORT_PUBLIC_KEY
        yield Capability(hold | export, key_type, key_bits)

    def _used(
        self,
        pair: KeyType,
        key_bits: Collection[int],
        private: Function,
        public: Function,
        algorithms: frozenset[Algorithm],
    ) -> Iterator[Capability]:
        yield Capability(private | public, pair, key_bits, algorithms)
        yield Capability(public, pair.public_of_pair, key_bits, algorithms)


def _bounded(sizes: range, least: int, most: int) -> range:
    """Those of ``sizes`` between the two; tokens that have no opinion give 0."""
    first = next((size for size in sizes if size >= least), sizes.stop)
    return range(first, min(sizes.stop, most + 1) if most else sizes.stop, sizes.step)


@cache
def is_known_to_engine(public: KeyType, key_bits: int) -> bool:
    """Whether software can tell such a public key from nonsense, and use it."""
    return any(
        row.key_type == public and "import_key" in row.functions and key_bits in row.key_bits for row in engine.rows()
    )
