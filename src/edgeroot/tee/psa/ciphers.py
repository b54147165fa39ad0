"""Unauthenticated ciphers (PSA Crypto API 1.2, clause 10.4)."""

from __future__ import annotations

from typing import Final

from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.psa import Algorithm, KeyType, Secret
from edgeroot.tee.psa.keys import Keys
from edgeroot.tee.psa.operation import CipherOperation, fitting

_CHACHA20_NONCE_BYTES: Final = 12


class Ciphers(Keys):
    """``alg`` is a cipher algorithm."""

    def psa_cipher_encrypt(self, key: int, alg: int, data: bytes, *, output_size: int | None = None) -> bytes:
        """The IV, where the mode has one, which is random, and the ciphertext."""
        iv_length = self._iv_length(key, alg)
        operation = CipherOperation()
        self.psa_cipher_encrypt_setup(operation, key, alg)
        try:
            iv = self.psa_cipher_generate_iv(operation) if iv_length else b""
            text = self.psa_cipher_update(operation, data)
            return fitting(iv + text + self.psa_cipher_finish(operation), output_size)
        finally:
            self.psa_cipher_abort(operation)

    def psa_cipher_decrypt(self, key: int, alg: int, data: bytes, *, output_size: int | None = None) -> Secret:
        """``data`` is what :meth:`psa_cipher_encrypt` gave."""
        iv_length = self._iv_length(key, alg)
        operation = CipherOperation()
        self.psa_cipher_decrypt_setup(operation, key, alg)
        try:
            if iv_length:
                self.psa_cipher_set_iv(operation, data[:iv_length])
            text = self.psa_cipher_update(operation, data[iv_length:])
            return Secret(fitting(text + self.psa_cipher_finish(operation), output_size))
        finally:
            self.psa_cipher_abort(operation)

    def psa_cipher_encrypt_setup(self, operation: CipherOperation, key: int, alg: int) -> None:
        self._set_up(operation, Op.CIPHER_ENCRYPT_SETUP, m.KeyAlgorithmRequest(key, alg))

    def psa_cipher_decrypt_setup(self, operation: CipherOperation, key: int, alg: int) -> None:
        self._set_up(operation, Op.CIPHER_DECRYPT_SETUP, m.KeyAlgorithmRequest(key, alg))

    def psa_cipher_generate_iv(self, operation: CipherOperation, *, iv_size: int | None = None) -> bytes:
        """BAD_STATE when decrypting, or if there is an IV already."""
        return self._drawn(operation, Op.CIPHER_GENERATE_IV, iv_size)

    def psa_cipher_set_iv(self, operation: CipherOperation, iv: bytes) -> None:
        self._step(operation, Op.CIPHER_SET_IV, m.EmptyResponse, iv, request=m.HandleDataRequest)

    def psa_cipher_update(self, operation: CipherOperation, data: bytes, *, output_size: int | None = None) -> bytes:
        """As much output as there is by now."""
        return self._pass(operation, Op.CIPHER_UPDATE, data, output_size)

    def psa_cipher_finish(self, operation: CipherOperation, *, output_size: int | None = None) -> bytes:
        """The rest. INVALID_ARGUMENT for input that is not of whole blocks, INVALID_PADDING."""
        return self._last_data(operation, Op.CIPHER_FINISH, size=output_size)

    def psa_cipher_abort(self, operation: CipherOperation) -> None:
        self._abort(operation, Op.CIPHER_ABORT)

    def _iv_length(self, key: int, alg: int) -> int:
        """PSA_CIPHER_IV_LENGTH (clause 10.4)."""
        key_type = self.psa_get_key_attributes(key).psa_get_key_type()
        if alg == Algorithm.ECB_NO_PADDING:
            return 0
        if alg == Algorithm.STREAM_CIPHER:
            return _CHACHA20_NONCE_BYTES if key_type == KeyType.CHACHA20 else 0
        return key_type.block_size_bytes
