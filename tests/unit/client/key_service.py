"""A simulated service that has real keys, so that what key objects make can be checked by others."""

from __future__ import annotations

from typing import TypeVar

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from edgeroot.client.keys.public import curve_of
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes
from edgeroot.testing.wire_simulator import WireSimulator
from edgeroot.wire import operations as ops
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.operations import Operation, Result
from edgeroot.wire.status import ResponseStatus, WireError

T = TypeVar("T")
Pair = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey | x448.X448PrivateKey
HASHES: dict[Hash, hashes.HashAlgorithm] = {
    Hash.SHA_256: hashes.SHA256(),
    Hash.SHA_384: hashes.SHA384(),
    Hash.SHA_512: hashes.SHA512(),
}


def _as(operation: Operation, kind: type[T]) -> T:
    assert isinstance(operation, kind)
    return operation


class KeyService(WireSimulator):
    """Generates, lists, exports, signs, decrypts and agrees, with the package ``cryptography``."""

    def __init__(self) -> None:
        super().__init__(
            {
                Opcode.PSA_GENERATE_KEY: self._generate,
                Opcode.LIST_KEYS: self._list_keys,
                Opcode.PSA_EXPORT_KEY: self._export,
                Opcode.PSA_EXPORT_PUBLIC_KEY: self._export_public,
                Opcode.PSA_SIGN_HASH: self._sign_hash,
                Opcode.PSA_SIGN_MESSAGE: self._sign_message,
                Opcode.PSA_ASYMMETRIC_DECRYPT: self._decrypt,
                Opcode.PSA_RAW_KEY_AGREEMENT: self._agree,
            }
        )
        self.keys: dict[str, tuple[KeyAttributes, Pair]] = {}

    def _generate(self, operation: Operation) -> Result:
        asked = _as(operation, ops.PsaGenerateKey)
        self.keys[asked.key_name] = asked.attributes, _make(asked.attributes)
        return ops.Empty()

    def _list_keys(self, _operation: Operation) -> Result:
        infos = tuple(ops.KeyInfo(1, name, attributes) for name, (attributes, _) in self.keys.items())
        return ops.ListKeysResult(infos)

    def _export(self, operation: Operation) -> Result:
        key = self._pair(_as(operation, ops.PsaExportKey).key_name)
        if isinstance(key, rsa.RSAPrivateKey):
            data = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        elif isinstance(key, ec.EllipticCurvePrivateKey):
            data = key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8)
        else:
            data = key.private_bytes_raw()
        return ops.PsaExportKeyResult(data)

    def _export_public(self, operation: Operation) -> Result:
        key = self._pair(_as(operation, ops.PsaExportPublicKey).key_name)
        if isinstance(key, rsa.RSAPrivateKey):
            data = key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
        elif isinstance(key, ec.EllipticCurvePrivateKey):
            data = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        else:
            data = key.public_key().public_bytes_raw()
        return ops.PsaExportPublicKeyResult(data)

    def _sign_hash(self, operation: Operation) -> Result:
        asked = _as(operation, ops.PsaSignHash)
        if asked.alg == Algorithm.RSA_PKCS1V15_SIGN_RAW:
            key = self._pair(asked.key_name)
            assert isinstance(key, rsa.RSAPrivateKey)
            return ops.PsaSignHashResult(key.sign(asked.hash_value, padding.PKCS1v15(), NoDigestInfo()))
        length_hashes = {value.digest_size: value for value in HASHES.values()}
        return ops.PsaSignHashResult(
            self._sign(asked.key_name, asked.alg, asked.hash_value, Prehashed(length_hashes[len(asked.hash_value)]))
        )

    def _sign_message(self, operation: Operation) -> Result:
        asked = _as(operation, ops.PsaSignMessage)
        assert asked.alg.hash is not None
        signature = self._sign(asked.key_name, asked.alg, asked.message, HASHES[asked.alg.hash])
        return ops.PsaSignMessageResult(signature)

    def _sign(self, name: str, alg: Algorithm, data: bytes, hashing: Prehashed | hashes.HashAlgorithm) -> bytes:
        key = self._pair(name)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashing)))
            length = (key.key_size + 7) // 8
            return r.to_bytes(length) + s.to_bytes(length)
        assert isinstance(key, rsa.RSAPrivateKey)
        if alg.is_rsa_pss:
            assert alg.hash is not None
            pss = padding.PSS(padding.MGF1(HASHES[alg.hash]), padding.PSS.DIGEST_LENGTH)
            return key.sign(data, pss, hashing)
        return key.sign(data, padding.PKCS1v15(), hashing)

    def _decrypt(self, operation: Operation) -> Result:
        asked = _as(operation, ops.PsaAsymmetricDecrypt)
        key = self._pair(asked.key_name)
        assert isinstance(key, rsa.RSAPrivateKey)
        if asked.alg == Algorithm.RSA_PKCS1V15_CRYPT:
            return ops.PsaAsymmetricDecryptResult(key.decrypt(asked.ciphertext, padding.PKCS1v15()))
        assert asked.alg.hash is not None
        hashing = HASHES[asked.alg.hash]
        oaep = padding.OAEP(padding.MGF1(hashing), hashing, asked.salt or None)
        return ops.PsaAsymmetricDecryptResult(key.decrypt(asked.ciphertext, oaep))

    def _agree(self, operation: Operation) -> Result:
        asked = _as(operation, ops.PsaRawKeyAgreement)
        key = self._pair(asked.private_key_name)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            peer = ec.EllipticCurvePublicKey.from_encoded_point(key.curve, asked.peer_key)
            return ops.PsaRawKeyAgreementResult(key.exchange(ec.ECDH(), peer))
        if isinstance(key, x25519.X25519PrivateKey):
            return ops.PsaRawKeyAgreementResult(key.exchange(x25519.X25519PublicKey.from_public_bytes(asked.peer_key)))
        assert isinstance(key, x448.X448PrivateKey)
        return ops.PsaRawKeyAgreementResult(key.exchange(x448.X448PublicKey.from_public_bytes(asked.peer_key)))

    def _pair(self, name: str) -> Pair:
        if name not in self.keys:
            raise WireError(ResponseStatus.PSA_ERROR_DOES_NOT_EXIST)
        return self.keys[name][1]


def _make(attributes: KeyAttributes) -> Pair:
    if attributes.key_type.is_rsa:
        return rsa.generate_private_key(65537, attributes.key_bits)
    if attributes.key_type.ecc_family is not EccFamily.MONTGOMERY:
        return ec.generate_private_key(curve_of(attributes))
    if attributes.key_bits == 255:
        return x25519.X25519PrivateKey.generate()
    return x448.X448PrivateKey.generate()
