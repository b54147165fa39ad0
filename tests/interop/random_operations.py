"""Sequences of operations, right and wrong, for two services to be compared by."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from edgeroot.psa import Algorithm, DhFamily, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags
from edgeroot.wire import operations as ops

KEY_NAMES: Final = tuple(f"key{number}" for number in range(16))
HASHES: Final = [hash_alg for hash_alg in Hash if hash_alg is not Hash.ANY]
COMMON_HASHES: Final = [Hash.SHA_256, Hash.SHA_256, Hash.SHA_384, Hash.SHA_512, Hash.SHA_1, Hash.SHA_224]
OAEP_HASHES: Final = [Hash.SHA_1, Hash.SHA_224, Hash.SHA_256, Hash.SHA_256]
SIGN_FAMILIES: Final = [
    Algorithm.rsa_pkcs1v15_sign,
    Algorithm.rsa_pss,
    Algorithm.ecdsa,
    Algorithm.deterministic_ecdsa,
]
CIPHERS: Final = [
    Algorithm.STREAM_CIPHER,
    Algorithm.CTR,
    Algorithm.CFB,
    Algorithm.OFB,
    Algorithm.XTS,
    Algorithm.ECB_NO_PADDING,
    Algorithm.CBC_NO_PADDING,
    Algorithm.CBC_PKCS7,
]
AEADS: Final = [Algorithm.GCM, Algorithm.CCM, Algorithm.CHACHA20_POLY1305]
SYMMETRIC_BITS: Final = {
    KeyType.RAW_DATA: [8, 256, 1000, 1024],
    KeyType.HMAC: [128, 256, 1024],
    KeyType.DERIVE: [128, 256],
    KeyType.AES: [128, 192, 256],
    KeyType.CAMELLIA: [128, 256],
    KeyType.CHACHA20: [256],
    KeyType.DES: [64, 128, 192],
    KeyType.ARC4: [128],
}
CURVE_BITS: Final = {
    EccFamily.SECP_K1: [192, 224, 256],
    EccFamily.SECP_R1: [192, 224, 256, 384, 521],
    EccFamily.SECP_R2: [160],
    EccFamily.SECT_K1: [163, 233, 283],
    EccFamily.SECT_R1: [163, 233, 571],
    EccFamily.SECT_R2: [163],
    EccFamily.BRAINPOOL_P_R1: [160, 192, 224, 256, 320, 384, 512],
    EccFamily.FRP: [256],
    EccFamily.MONTGOMERY: [255, 448],
}
WRONG_BITS: Final = [0, 1, 7, 100, 129, 255, 512, 2047, 65528, 2**31]
FLAGS: Final = [flag for flag in UsageFlags if flag]
ALL_USES: Final = UsageFlags(0x7F00)


@cache
def rsa_key(key_bits: int, number: int = 0) -> rsa.RSAPrivateKey:
    """The same key within one run of the tests."""
    del number
    return rsa.generate_private_key(65537, key_bits)


@cache
def ec_key(curve: type[ec.EllipticCurve], number: int = 0) -> ec.EllipticCurvePrivateKey:
    del number
    return ec.generate_private_key(curve())


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def scalar(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8, "big")


def rsa_pair_der(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def rsa_public_der(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)


class Generator:
    """Draws operations for two services that hold the same keys by name, and equal ones if they were imported.

    Whoever runs the operations keeps ``keys`` and ``results`` up to date.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.keys: dict[str, KeyAttributes] = {}
        self.results: dict[str, list[tuple[bytes, bytes]]] = {}
        """By key: signatures and ciphertexts of the one and of the other service, to be verified and decrypted."""
        self._known: tuple[bytes, bytes] | None = None

    def draw(self) -> tuple[ops.Operation, ops.Operation]:
        """The same operation for both, except that each gets its own signature or ciphertext back."""
        self._known = None
        operation = self._draw()
        return self._for_both(operation)

    def _for_both(self, operation: ops.Operation) -> tuple[ops.Operation, ops.Operation]:
        if self._known is None:
            return operation, operation
        field = "signature" if isinstance(operation, ops.PsaVerifyHash) else "ciphertext"
        one, other = (operation.__replace__(**{field: known}) for known in self._known)
        return one, other

    def _draw(self) -> ops.Operation:
        kinds: Sequence[tuple[int, Callable[[], ops.Operation]]] = (
            (8, self._generate),
            (14, self._import),
            (4, lambda: ops.PsaDestroyKey(self._name())),
            (6, lambda: ops.PsaExportKey(self._name())),
            (6, lambda: ops.PsaExportPublicKey(self._name())),
            (14, self._sign_hash),
            (14, self._verify_hash),
            (10, self._asymmetric_encrypt),
            (10, self._asymmetric_decrypt),
            (10, self._aead_encrypt),
            (10, self._aead_decrypt),
            (8, self._agree),
            (5, lambda: ops.PsaHashCompute(self._rng.choice(HASHES), self._bytes(0, 300))),
            (3, lambda: ops.PsaHashCompare(self._rng.choice(HASHES), self._bytes(0, 30), self._bytes(0, 64))),
            (14, self._can_do),
            (1, lambda: ops.PsaGenerateRandom(self._rng.choice([0, 1, 32, 5000]))),
        )
        return self._rng.choices([make for _, make in kinds], [weight for weight, _ in kinds])[0]()

    # Attributes

    def attributes(self) -> KeyAttributes:
        """Mostly of keys that can exist and be used, seldom of nonsense."""
        rng = self._rng
        key_type, key_bits = self._type_and_bits()
        if rng.random() < 0.05:
            key_bits = rng.choice(WRONG_BITS)
        algorithm = self._fitting(key_type) if rng.random() < 0.85 else self._any_algorithm()
        usage = ALL_USES | UsageFlags.EXPORT if rng.random() < 0.6 else UsageFlags.NONE
        for flag in rng.sample(FLAGS, rng.randint(0, 3)):
            usage ^= flag
        return KeyAttributes(key_type, key_bits, usage.with_implied(), algorithm)

    def _type_and_bits(self) -> tuple[KeyType, int]:
        rng = self._rng
        kind = rng.choices(["rsa", "ecc", "symmetric", "dh"], [10, 12, 14, 1])[0]
        if kind == "rsa":
            key_type = rng.choice([KeyType.RSA_KEY_PAIR] * 5 + [KeyType.RSA_PUBLIC_KEY])
            return key_type, rng.choices([1024, 2048, 512, 3072], [20, 1, 1, 1])[0]
        if kind == "dh":
            make = rng.choice([KeyType.dh_key_pair, KeyType.dh_public_key])
            return make(DhFamily.RFC7919), 2048
        if kind == "symmetric":
            key_type = rng.choice([*SYMMETRIC_BITS, KeyType.AES, KeyType.AES, KeyType.AES])
            return key_type, rng.choice(SYMMETRIC_BITS[key_type])
        family = rng.choices([EccFamily.SECP_R1, *CURVE_BITS], [24, *[1] * len(CURVE_BITS)])[0]
        key_bits = 256 if family is EccFamily.SECP_R1 and rng.random() < 0.7 else rng.choice(CURVE_BITS[family])
        key_type = KeyType.ecc_public_key(family) if rng.random() < 0.12 else KeyType.ecc_key_pair(family)
        return key_type, key_bits

    def _fitting(self, key_type: KeyType) -> Algorithm:
        rng = self._rng
        if key_type.is_rsa:
            return rng.choice([self._signature(SIGN_FAMILIES[:2]), self._encryption(), self._encryption()])
        if key_type.is_ecc:
            return rng.choice([self._signature(SIGN_FAMILIES[2:]), self._signature(SIGN_FAMILIES[2:]), Algorithm.ECDH])
        if key_type.is_dh:
            return Algorithm.FFDH
        if key_type in (KeyType.AES, KeyType.CAMELLIA):
            return rng.choice([Algorithm.GCM, Algorithm.CCM, self._aead(), Algorithm.CMAC])
        if key_type == KeyType.CHACHA20:
            return rng.choice([Algorithm.CHACHA20_POLY1305, Algorithm.STREAM_CIPHER])
        if key_type == KeyType.HMAC:
            return Algorithm.hmac(rng.choice(COMMON_HASHES))
        if key_type == KeyType.DERIVE:
            return Algorithm.hkdf(rng.choice(COMMON_HASHES))
        return Algorithm.NONE

    def _signature(self, families: Sequence[Callable[[Hash], Algorithm]]) -> Algorithm:
        rng = self._rng
        if rng.random() < 0.1:
            return Algorithm.ECDSA_ANY if Algorithm.ecdsa in families else Algorithm.RSA_PKCS1V15_SIGN_RAW
        return rng.choice(families)(rng.choice([*COMMON_HASHES, rng.choice(HASHES), Hash.ANY, Hash.ANY]))

    def _encryption(self) -> Algorithm:
        rng = self._rng
        if rng.random() < 0.5:
            return Algorithm.RSA_PKCS1V15_CRYPT
        # Upstream's provider panics, and serves nobody ever after, where the hash is too long for the key.
        return Algorithm.rsa_oaep(rng.choice(OAEP_HASHES))

    def _aead(self) -> Algorithm:
        rng = self._rng
        aead = rng.choice(AEADS)
        return aead.with_tag_length(rng.choice([1, 4, 8, 12, 13, 15, 16, 17])) if rng.random() < 0.3 else aead

    def _any_algorithm(self) -> Algorithm:
        rng = self._rng
        return rng.choice(
            [
                Algorithm.NONE,
                self._signature(SIGN_FAMILIES),
                self._encryption(),
                self._aead(),
                rng.choice(CIPHERS),
                Algorithm.ECDH,
                Algorithm.FFDH,
                Algorithm.key_agreement(Algorithm.ECDH, Algorithm.hkdf(Hash.SHA_256)),
                Algorithm.hmac(Hash.SHA_256),
                Algorithm.CMAC,
                Algorithm.CBC_MAC,
                Algorithm.tls12_prf(Hash.SHA_256),
                Algorithm.from_hash(Hash.SHA_256),
            ]
        )

    # Creating keys

    def _generate(self) -> ops.Operation:
        return ops.PsaGenerateKey(self._new_name(), self._of_a_key())

    def _of_a_key(self) -> KeyAttributes:
        attributes = self.attributes()
        if attributes.algorithm.is_cipher:  # upstream makes such keys, and can then neither use nor destroy them
            return replace(attributes, algorithm=Algorithm.NONE)
        return attributes

    def _import(self) -> ops.Operation:
        rng = self._rng
        attributes = self._of_a_key()
        data = self._material(attributes.key_type, attributes.key_bits)
        if rng.random() < 0.1:
            data = rng.choice([b"", data[:-1], data + b"\0", bytes(len(data)), self._bytes(1, 64)])
        if rng.random() < 0.2:
            attributes = replace(attributes, key_bits=0)
        return ops.PsaImportKey(self._new_name(), attributes, data)

    def _material(self, key_type: KeyType, key_bits: int) -> bytes:
        rng = self._rng
        number = rng.randrange(2)
        if key_type.is_rsa:
            key = rsa_key(key_bits if key_bits in (1024, 2048, 3072) else 1024, number)
            return rsa_pair_der(key) if key_type.is_key_pair else rsa_public_der(key)
        curves = {256: ec.SECP256R1, 384: ec.SECP384R1, 521: ec.SECP521R1, 224: ec.SECP224R1, 192: ec.SECP192R1}
        if key_type.is_ecc:
            family = key_type.ecc_family
            if family is EccFamily.MONTGOMERY:
                return rng.randbytes(56 if key_bits == 448 else 32)
            if family is EccFamily.SECP_K1:
                pair = ec_key(ec.SECP256K1, number)
            else:
                pair = ec_key(curves.get(key_bits, ec.SECP256R1), number)
            return scalar(pair) if key_type.is_key_pair else point(pair)
        return rng.randbytes(key_bits // 8 if key_bits < 10000 else 16)

    # Using keys

    def _sign_hash(self) -> ops.Operation:
        name = self._name("sign")
        alg = self._operation_algorithm(name, lambda: self._signature(SIGN_FAMILIES))
        return ops.PsaSignHash(name, alg, self._hash_for(alg))

    def _verify_hash(self) -> ops.Operation:
        rng = self._rng
        name = self._name("sign")
        alg = self._operation_algorithm(name, lambda: self._signature(SIGN_FAMILIES))
        key = self.keys.get(name)
        length = 64
        if key is not None and key.key_type.is_rsa:
            length = key.key_bits // 8 or 128
        elif key is not None and key.key_type.is_ecc:
            length = (key.key_bits + 7) // 8 * 2
        signature = rng.randbytes(min(length, 512)) if rng.random() < 0.8 else self._bytes(0, 300)
        self._draw_known(name)
        return ops.PsaVerifyHash(name, alg, self._hash_for(alg), signature)

    def _hash_for(self, alg: Algorithm) -> bytes:
        rng = self._rng
        length = alg.hash.length_bytes if alg.hash is not None else 32
        if rng.random() < 0.12:
            length = rng.choice([0, 1, 20, 31, 33, 64, 200])
        return b"\x5a" * length

    def _asymmetric_encrypt(self) -> ops.Operation:
        rng = self._rng
        name = self._name("crypt")
        alg = self._operation_algorithm(name, self._encryption)
        plaintext = self._bytes(1, 40) if rng.random() < 0.8 else self._bytes(0, 300)
        return ops.PsaAsymmetricEncrypt(name, alg, plaintext, self._salt())

    def _asymmetric_decrypt(self) -> ops.Operation:
        rng = self._rng
        name = self._name("crypt")
        alg = self._operation_algorithm(name, self._encryption)
        ciphertext = rng.choice([b"\1" + rng.randbytes(127), rng.randbytes(128), self._bytes(0, 300)])
        self._draw_known(name)
        return ops.PsaAsymmetricDecrypt(name, alg, ciphertext, self._salt())

    def _salt(self) -> bytes:
        return self._bytes(1, 20) if self._rng.random() < 0.15 else b""

    def _aead_encrypt(self) -> ops.Operation:
        name = self._name("aead")
        alg = self._operation_algorithm(name, self._aead)
        return ops.PsaAeadEncrypt(name, alg, self._nonce(), self._bytes(0, 40), self._bytes(0, 100))

    def _aead_decrypt(self) -> ops.Operation:
        name = self._name("aead")
        alg = self._operation_algorithm(name, self._aead)
        ciphertext = self._bytes(0, 100)
        self._draw_known(name)
        return ops.PsaAeadDecrypt(name, alg, self._nonce(), b"", ciphertext)

    def _nonce(self) -> bytes:
        return bytes(12) if self._rng.random() < 0.8 else self._bytes(0, 20)

    def _agree(self) -> ops.Operation:
        rng = self._rng
        curve = rng.choice([ec.SECP256R1, ec.SECP256R1, ec.SECP384R1, ec.SECP256K1])
        peer_key = rng.choice([point(ec_key(curve)), point(ec_key(curve)), self._bytes(0, 70), b"\4" + bytes(64)])
        alg = Algorithm.ECDH if rng.random() < 0.9 else Algorithm.FFDH
        return ops.PsaRawKeyAgreement(alg, self._name("agree"), peer_key)

    def _can_do(self) -> ops.Operation:
        return ops.CanDoCrypto(self._rng.choice(list(ops.CheckType)), self.attributes())

    # Parts

    def _draw_known(self, name: str) -> None:
        known = self.results.get(name)
        if known and self._rng.random() < 0.6:
            self._known = self._rng.choice(known)

    def _operation_algorithm(self, name: str, other: Callable[[], Algorithm]) -> Algorithm:
        """Mostly what the key's policy permits, with a hash in place of a wildcard; else one of the right kind."""
        rng = self._rng
        alg = other()
        key = self.keys.get(name)
        if key is None or rng.random() < 0.25:
            return alg
        permitted = key.algorithm
        if permitted.is_wildcard and rng.random() < 0.9:
            permitted = Algorithm(permitted & ~0xFF | rng.choice(COMMON_HASHES) & 0xFF)
        same_kind = (permitted.is_sign, permitted.is_asymmetric_encryption, permitted.is_aead)
        return permitted if same_kind == (alg.is_sign, alg.is_asymmetric_encryption, alg.is_aead) else alg

    def _name(self, use: str = "") -> str:
        """A key, mostly one that is there and of the kind that the use is for."""
        rng = self._rng
        if not self.keys or rng.random() < 0.05:
            return rng.choice([*KEY_NAMES, "", "no such key"])
        fits: dict[str, Callable[[KeyAttributes], bool]] = {
            "sign": lambda key: key.algorithm.is_sign,
            "crypt": lambda key: key.algorithm.is_asymmetric_encryption,
            "aead": lambda key: key.algorithm.is_aead,
            "agree": lambda key: key.algorithm.is_key_agreement,
        }
        fitting = [name for name, key in self.keys.items() if use in fits and fits[use](key)]
        return rng.choice(fitting) if fitting and rng.random() < 0.85 else rng.choice(list(self.keys))

    def _new_name(self) -> str:
        free = [name for name in KEY_NAMES if name not in self.keys]
        return self._rng.choice(free) if free and self._rng.random() < 0.9 else self._rng.choice(KEY_NAMES)

    def _bytes(self, least: int, most: int) -> bytes:
        return self._rng.randbytes(self._rng.randint(least, most))
