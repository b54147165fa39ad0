"""RSA keys: signatures and encryption (PSA Crypto API 1.2, clauses 9.3.4, 10.7.1 and 10.8).

Formats: DER of RSAPublicKey and RSAPrivateKey (RFC 8017, appendix A.1), version 0. Sizes are 1024 to 4096 bits in whole
bytes; keys are generated with the exponent 65537. PSS uses MGF1 with the same hash and a salt as long as the hash;
OAEP uses the same hash for label and MGF1.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PSS, AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from edgeroot.engine.errors import invalid_argument, invalid_signature, not_supported
from edgeroot.engine.hashes import HASHES, hash_compute
from edgeroot.engine.key import EngineKey, Row
from edgeroot.psa import Algorithm, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret

KEY_BITS: Final = range(1024, 4096 + 1, 8)
KEY_TYPES: Final = frozenset((KeyType.RSA_KEY_PAIR, KeyType.RSA_PUBLIC_KEY))
_PUBLIC_EXPONENT: Final = 65537
_PKCS1V15: Final = PKCS1v15()
_PKCS1V15_OVERHEAD_BYTES: Final = 11
# OAEP over other hashes is not in the library.
_OAEP_HASHES: Final = (Hash.SHA_1, Hash.SHA_224, Hash.SHA_256, Hash.SHA_384, Hash.SHA_512)


class _Scheme(NamedTuple):
    padding: AsymmetricPadding
    prehashed: Prehashed
    hash_alg: Hash
    hash_length_bytes: int


_SIGN: Final[dict[Algorithm, _Scheme]] = {
    Algorithm.rsa_pkcs1v15_sign(alg): _Scheme(_PKCS1V15, Prehashed(algorithm), alg, alg.length_bytes)
    for alg, algorithm in HASHES.items()
} | {
    Algorithm.rsa_pss(alg): _Scheme(PSS(MGF1(algorithm), alg.length_bytes), Prehashed(algorithm), alg, alg.length_bytes)
    for alg, algorithm in HASHES.items()
}
_NO_DIGEST_INFO: Final = NoDigestInfo()


def generate(attributes: KeyAttributes) -> Secret:
    """A new key pair."""
    _check_bits(attributes.key_bits)
    return _private_der(rsa.generate_private_key(_PUBLIC_EXPONENT, attributes.key_bits))


def import_material(attributes: KeyAttributes, data: bytes) -> tuple[int, Secret]:
    """The key's size, inferred if 0 was given, and the material. A key pair is validated, which takes long."""
    if attributes.key_type.is_public_key:
        public = _parse_public(data)
        key_bits, encoded = public.key_size, _public_der(public)
    else:
        private = _parse_private(data, ours=False)
        key_bits, encoded = private.key_size, bytes(_private_der(private))
    # The library also reads other encodings of a key; only the canonical one of PKCS#1 survives the round trip.
    if encoded != data:
        raise invalid_argument("the key is not in the DER form of PKCS#1")
    _check_bits(key_bits)
    return key_bits, Secret(data)


def load(attributes: KeyAttributes, material: Secret) -> EngineKey:
    """The key in this material, which must be our own: it is not validated again."""
    if attributes.key_type.is_public_key:
        return RsaKey(attributes, None, _parse_public(material))
    private = _parse_private(material, ours=True)
    return RsaKey(attributes, private, private.public_key())


def _check_bits(key_bits: int) -> None:
    if key_bits not in KEY_BITS:
        raise invalid_argument(f"RSA keys have 1024 to 4096 bits in whole bytes, not {key_bits}")


def _private_der(private: rsa.RSAPrivateKey) -> Secret:
    return Secret(private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()))


def _public_der(public: rsa.RSAPublicKey) -> bytes:
    return public.public_bytes(Encoding.DER, PublicFormat.PKCS1)


def _parse_private(data: bytes, *, ours: bool) -> rsa.RSAPrivateKey:
    try:
        key = load_der_private_key(bytes(data), None, unsafe_skip_rsa_key_validation=ours)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise invalid_argument("the data is no RSA key pair") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise invalid_argument("the data is a key of another kind")
    return key


def _parse_public(data: bytes) -> rsa.RSAPublicKey:
    try:
        key = load_der_public_key(bytes(data))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise invalid_argument("the data is no RSA public key") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise invalid_argument("the data is a key of another kind")
    return key


class RsaKey(EngineKey):
    """A key pair, or a public key alone."""

    __slots__ = ("_private", "_public")

    def __init__(self, attributes: KeyAttributes, private: rsa.RSAPrivateKey | None, public: rsa.RSAPublicKey) -> None:
        super().__init__(attributes)
        self._private = private
        self._public = public

    def export_public(self) -> bytes:
        return _public_der(self._public)

    def sign_hash(self, alg: Algorithm, hash_value: bytes) -> bytes:
        private = self._private
        if private is None:
            raise self._mismatch("sign")
        scheme = self._scheme(alg, len(hash_value))
        try:
            if scheme is None:
                return private.sign(hash_value, _PKCS1V15, _NO_DIGEST_INFO)
            return private.sign(hash_value, scheme.padding, scheme.prehashed)
        except ValueError as error:
            raise invalid_argument(f"the key is too small for {alg!r}") from error

    def verify_hash(self, alg: Algorithm, hash_value: bytes, signature: bytes) -> None:
        scheme = self._scheme(alg, len(hash_value))
        try:
            if scheme is not None:
                self._public.verify(signature, hash_value, scheme.padding, scheme.prehashed)
            elif self._public.recover_data_from_signature(signature, _PKCS1V15, _NO_DIGEST_INFO) != hash_value:
                raise invalid_signature()
        except InvalidSignature as error:
            raise invalid_signature() from error
        except ValueError as error:
            raise invalid_argument(f"the key is too small for {alg!r}") from error

    def sign_message(self, alg: Algorithm, message: bytes) -> bytes:
        return self.sign_hash(alg, hash_compute(self._message_hash(alg), message))

    def verify_message(self, alg: Algorithm, message: bytes, signature: bytes) -> None:
        self.verify_hash(alg, hash_compute(self._message_hash(alg), message), signature)

    def asymmetric_encrypt(self, alg: Algorithm, plaintext: bytes, salt: bytes) -> bytes:
        padding = self._encryption(alg, salt)
        try:
            return self._public.encrypt(plaintext, padding)
        except ValueError as error:
            raise invalid_argument("the plaintext is too long for the key") from error

    def asymmetric_decrypt(self, alg: Algorithm, ciphertext: bytes, salt: bytes) -> Secret:
        """The plaintext; INVALID_PADDING where it cannot be recovered.

        With PKCS#1 v1.5 a wrong padding is not reported: the library answers it with a random plaintext ("implicit
        rejection"), since telling the two apart lets an attacker decrypt (Bleichenbacher's attack).
        """
        padding = self._encryption(alg, salt)
        if self._private is None:
            raise self._mismatch("decrypt")
        if len(ciphertext) * 8 != self.attributes.key_bits:
            raise invalid_argument("the ciphertext is not as long as the key")
        try:
            return Secret(self._private.decrypt(ciphertext, padding))
        except ValueError as error:
            raise PsaError(PsaStatus.INVALID_PADDING) from error

    def _scheme(self, alg: Algorithm, hash_length_bytes: int) -> _Scheme | None:
        """The scheme, None for PKCS#1 v1.5 without a DigestInfo."""
        scheme = _SIGN.get(alg)
        if scheme is not None:
            if hash_length_bytes != scheme.hash_length_bytes:
                raise invalid_argument(
                    f"{alg!r} takes a hash of {scheme.hash_length_bytes} bytes, not {hash_length_bytes}"
                )
            return scheme
        if alg != Algorithm.RSA_PKCS1V15_SIGN_RAW:
            raise self._unusable(alg)
        if not 0 < hash_length_bytes <= self.attributes.key_bits // 8 - _PKCS1V15_OVERHEAD_BYTES:
            raise invalid_argument("the input is empty or too long for the key")
        return None

    def _message_hash(self, alg: Algorithm) -> Hash:
        scheme = _SIGN.get(alg)
        if scheme is None:
            raise self._unusable(alg)
        return scheme.hash_alg

    def _unusable(self, alg: Algorithm) -> PsaError:
        if (alg.is_rsa_sign or alg.is_rsa_oaep) and alg.hash not in (None, Hash.ANY):
            return not_supported(f"{alg!r}")
        return self._mismatch(f"work with {alg!r}")

    def _encryption(self, alg: Algorithm, salt: bytes) -> AsymmetricPadding:
        if alg == Algorithm.RSA_PKCS1V15_CRYPT:
            if salt:
                raise invalid_argument("RSA PKCS#1 v1.5 encryption has no label")
            return _PKCS1V15
        if not alg.is_rsa_oaep or alg.hash not in _OAEP_HASHES:
            raise self._unusable(alg)
        algorithm = HASHES[alg.hash]
        return OAEP(MGF1(algorithm), algorithm, salt or None)


def rows() -> tuple[Row, ...]:
    """What this module can do. PSS and OAEP with a hash of h bytes need a modulus of 2 h + 2 bytes at least."""
    pair, public = KeyType.RSA_KEY_PAIR, KeyType.RSA_PUBLIC_KEY
    pkcs1 = frozenset(alg for alg in _SIGN if alg.is_rsa_pkcs1v15_sign)
    raw = frozenset((Algorithm.RSA_PKCS1V15_SIGN_RAW,))
    crypt = frozenset((Algorithm.RSA_PKCS1V15_CRYPT,))
    table = [
        Row(("generate_key", "import_key", "destroy_key", "export_key", "export_public_key"), pair, KEY_BITS),
        Row(("import_key", "destroy_key", "export_key", "export_public_key"), public, KEY_BITS),
        Row(("sign_hash", "verify_hash", "sign_message", "verify_message"), pair, KEY_BITS, pkcs1),
        Row(("verify_hash", "verify_message"), public, KEY_BITS, pkcs1),
        Row(("sign_hash", "verify_hash"), pair, KEY_BITS, raw),
        Row(("verify_hash",), public, KEY_BITS, raw),
        Row(("asymmetric_encrypt", "asymmetric_decrypt"), pair, KEY_BITS, crypt),
        Row(("asymmetric_encrypt",), public, KEY_BITS, crypt),
    ]
    for length_bytes in sorted({alg.length_bytes for alg in HASHES}):
        key_bits = range(max(KEY_BITS.start, 8 * (2 * length_bytes + 2)), KEY_BITS.stop, KEY_BITS.step)
        of_length = [alg for alg in HASHES if alg.length_bytes == length_bytes]
        pss = frozenset(Algorithm.rsa_pss(alg) for alg in of_length)
        oaep = frozenset(Algorithm.rsa_oaep(alg) for alg in of_length if alg in _OAEP_HASHES)
        table += (
            Row(("sign_hash", "verify_hash", "sign_message", "verify_message"), pair, key_bits, pss),
            Row(("verify_hash", "verify_message"), public, key_bits, pss),
        )
        if oaep:
            table += (
                Row(("asymmetric_encrypt", "asymmetric_decrypt"), pair, key_bits, oaep),
                Row(("asymmetric_encrypt",), public, key_bits, oaep),
            )
    return tuple(table)
