"""Authenticated encryption with associated data (PSA Crypto API 1.2, clause 10.5)."""

from __future__ import annotations

from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.psa import Algorithm, PsaError, PsaStatus, Secret
from edgeroot.tee.psa.operation import AeadOperation, Crypto, fail, fitting, fitting_output


class Aead(Crypto):
    """``alg`` is an AEAD algorithm."""

    def psa_aead_encrypt(
        self,
        key: int,
        alg: int,
        nonce: bytes,
        additional_data: bytes,
        plaintext: bytes,
        *,
        ciphertext_size: int | None = None,
    ) -> bytes:
        """The ciphertext, with the tag at its end."""
        operation = AeadOperation()
        self.psa_aead_encrypt_setup(operation, key, alg)
        try:
            text = self._whole(operation, nonce, additional_data, plaintext)
            rest, tag = self.psa_aead_finish(operation)
            return fitting(text + rest + tag, ciphertext_size)
        finally:
            self.psa_aead_abort(operation)

    def psa_aead_decrypt(
        self,
        key: int,
        alg: int,
        nonce: bytes,
        additional_data: bytes,
        ciphertext: bytes,
        *,
        plaintext_size: int | None = None,
    ) -> Secret:
        """INVALID_SIGNATURE if anything was changed."""
        operation = AeadOperation()
        self.psa_aead_decrypt_setup(operation, key, alg)
        try:
            text_length = len(ciphertext) - Algorithm(alg).tag_length_bytes
            if text_length < 0:
                raise PsaError(PsaStatus.INVALID_ARGUMENT, "the ciphertext is shorter than its tag")
            text = self._whole(operation, nonce, additional_data, ciphertext[:text_length])
            return Secret(fitting(text + self.psa_aead_verify(operation, ciphertext[text_length:]), plaintext_size))
        finally:
            self.psa_aead_abort(operation)

    def psa_aead_encrypt_setup(self, operation: AeadOperation, key: int, alg: int) -> None:
        self._set_up(operation, Op.AEAD_ENCRYPT_SETUP, m.KeyAlgorithmRequest(key, alg))
        operation.has_nonce = False

    def psa_aead_decrypt_setup(self, operation: AeadOperation, key: int, alg: int) -> None:
        self._set_up(operation, Op.AEAD_DECRYPT_SETUP, m.KeyAlgorithmRequest(key, alg))
        operation.has_nonce = False

    def psa_aead_set_lengths(self, operation: AeadOperation, ad_length: int, plaintext_length: int) -> None:
        """Before the nonce, or BAD_STATE; CCM cannot do without."""
        self._handle_of(operation)
        if operation.has_nonce:  # which Mbed TLS, and services over it, mind with CCM only
            fail(operation, PsaStatus.BAD_STATE, "the lengths come before the nonce")
        lengths = (ad_length, plaintext_length)
        self._step(operation, Op.AEAD_SET_LENGTHS, m.EmptyResponse, *lengths, request=m.SetLengthsRequest)

    def psa_aead_generate_nonce(self, operation: AeadOperation, *, nonce_size: int | None = None) -> bytes:
        """BAD_STATE when decrypting, or if there is a nonce already."""
        nonce = self._drawn(operation, Op.AEAD_GENERATE_NONCE, nonce_size)
        operation.has_nonce = True
        return nonce

    def psa_aead_set_nonce(self, operation: AeadOperation, nonce: bytes) -> None:
        self._step(operation, Op.AEAD_SET_NONCE, m.EmptyResponse, nonce, request=m.HandleDataRequest)
        operation.has_nonce = True

    def psa_aead_update_ad(self, operation: AeadOperation, additional_data: bytes) -> None:
        self._feed(operation, Op.AEAD_UPDATE_AD, additional_data)

    def psa_aead_update(self, operation: AeadOperation, data: bytes, *, output_size: int | None = None) -> bytes:
        """As much output as there is by now. Of a decryption nothing is to be believed before the end."""
        return self._pass(operation, Op.AEAD_UPDATE, data, output_size)

    def psa_aead_finish(
        self, operation: AeadOperation, *, ciphertext_size: int | None = None, tag_size: int | None = None
    ) -> tuple[bytes, bytes]:
        """The rest of the ciphertext, and the tag."""
        response = self._last(operation, Op.AEAD_FINISH, m.AeadFinishResponse)
        ciphertext = fitting_output(operation, response.ciphertext, ciphertext_size)
        return ciphertext, fitting_output(operation, response.tag, tag_size)

    def psa_aead_verify(self, operation: AeadOperation, tag: bytes, *, plaintext_size: int | None = None) -> Secret:
        """The rest of the plaintext; INVALID_SIGNATURE if anything was changed."""
        return Secret(self._last_data(operation, Op.AEAD_VERIFY, tag, size=plaintext_size))

    def psa_aead_abort(self, operation: AeadOperation) -> None:
        self._abort(operation, Op.AEAD_ABORT)

    def _whole(self, operation: AeadOperation, nonce: bytes, additional_data: bytes, text: bytes) -> bytes:
        self.psa_aead_set_lengths(operation, len(additional_data), len(text))
        self.psa_aead_set_nonce(operation, nonce)
        self.psa_aead_update_ad(operation, additional_data)
        return self.psa_aead_update(operation, text)
