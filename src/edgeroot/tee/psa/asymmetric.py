"""Asymmetric signature and encryption (PSA Crypto API 1.2, clauses 10.7 and 10.8)."""

from __future__ import annotations

from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.psa import Secret
from edgeroot.tee.psa.operation import Crypto, fitting


class Asymmetric(Crypto):
    """ECDSA signatures are r || s."""

    def psa_sign_message(self, key: int, alg: int, message: bytes, *, signature_size: int | None = None) -> bytes:
        """NOT_SUPPORTED for a message that is longer than a call can carry."""
        self._require_room(message)
        return fitting(self._data(Op.SIGN_MESSAGE, m.SignRequest(key, alg, message)), signature_size)

    def psa_verify_message(self, key: int, alg: int, message: bytes, signature: bytes) -> None:
        """INVALID_SIGNATURE if it is not the message's; NOT_SUPPORTED for more than a call can carry."""
        self._require_room(message, signature)
        self._do(Op.VERIFY_MESSAGE, m.VerifyRequest(key, alg, message, signature))

    def psa_sign_hash(self, key: int, alg: int, hash_value: bytes, *, signature_size: int | None = None) -> bytes:
        return fitting(self._data(Op.SIGN_HASH, m.SignRequest(key, alg, hash_value)), signature_size)

    def psa_verify_hash(self, key: int, alg: int, hash_value: bytes, signature: bytes) -> None:
        """INVALID_SIGNATURE if it is not the hash's."""
        self._do(Op.VERIFY_HASH, m.VerifyRequest(key, alg, hash_value, signature))

    def psa_asymmetric_encrypt(
        self, key: int, alg: int, data: bytes, salt: bytes = b"", *, output_size: int | None = None
    ) -> bytes:
        """``salt`` is OAEP's label."""
        ciphertext = self._data(Op.ASYMMETRIC_ENCRYPT, m.AsymmetricEncryptRequest(key, alg, data, salt))
        return fitting(ciphertext, output_size)

    def psa_asymmetric_decrypt(
        self, key: int, alg: int, data: bytes, salt: bytes = b"", *, output_size: int | None = None
    ) -> Secret:
        """``salt`` is OAEP's label."""
        plaintext = self._data(Op.ASYMMETRIC_DECRYPT, m.AsymmetricDecryptRequest(key, alg, data, salt))
        return Secret(fitting(plaintext, output_size))
