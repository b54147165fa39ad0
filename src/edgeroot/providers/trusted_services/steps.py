"""Every operation of the provider as steps: which calls of the packed-c interface it takes, and what they carry.

Who drives the steps sends each call and gives its answer back; see :class:`edgeroot.providers.api.SteppedProvider`.
Operations of several calls set up a context in the partition, which has few: whatever goes wrong, it is aborted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from edgeroot import engine
from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import OPERATIONS, CryptoOpcode
from edgeroot.abi.key_attributes import LOCATION_LOCAL_STORAGE, AbiKeyAttributes, persistent_at
from edgeroot.providers.api import BackEndCall, Created, Link, LoadedKey, SteppedProvider, Steps
from edgeroot.providers.trusted_services.errors import RefusedCallError, decoded, error_of
from edgeroot.providers.trusted_services.reference import KEY_ID_USER_MAX, KeyReference
from edgeroot.psa import Algorithm, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret

_MESSAGE_OVERHEAD_BYTES: Final = 16  # the struct and the record headers before the longest field of any message
_MAX_RECORD_BYTES: Final = 0xFFFF
_IDS_TO_TRY: Final = 8
_ID_BYTES: Final = 4
_SIGN_HASH: Final = OPERATIONS[CryptoOpcode.SIGN_HASH]
_SLOW_RSA_BITS: Final = 3072
_CHACHA20_NONCE_BYTES: Final = 12


class TsKey(LoadedKey):
    """A key in the partition. ``is_slow`` tells keys whose private operations take long."""

    __slots__ = ("is_slow", "key_id")

    def __init__(self, reference: bytes, attributes: KeyAttributes, *, location: int = LOCATION_LOCAL_STORAGE) -> None:
        super().__init__(reference, attributes)
        self.key_id: Final = KeyReference.from_bytes(reference).key_id
        key_type = attributes.key_type
        in_element = location != LOCATION_LOCAL_STORAGE and key_type.is_key_pair  # or it was made before that was said
        self.is_slow: Final = in_element or key_type.is_dh or (key_type.is_rsa and attributes.key_bits > _SLOW_RSA_BITS)


class TrustedServicesSteps(SteppedProvider):
    """The operations over one link. ``capacity_bytes`` is the size of the buffers that its calls travel in.

    ``location`` is where new keys are (PSA Crypto API 1.2, clause 9.2, key locations).
    """

    def __init__(self, link: Link, *, capacity_bytes: int, location: int = LOCATION_LOCAL_STORAGE) -> None:
        self._link = link
        self._location = location
        self._chunk_bytes = min(capacity_bytes - _MESSAGE_OVERHEAD_BYTES, _MAX_RECORD_BYTES)

    # Keys

    def plan(self, attributes: KeyAttributes) -> Steps[bytes]:
        """An id in the user range, random and seen free: so whatever is found there later is ours if it matches."""
        for _ in range(_IDS_TO_TRY):
            key_id = int.from_bytes(engine.random(_ID_BYTES)) & KEY_ID_USER_MAX
            if key_id and (yield from self._attributes_of(key_id)) is None:
                return bytes(KeyReference(key_id, attributes))
        raise PsaError(PsaStatus.INSUFFICIENT_STORAGE, "no free key id was found in the secure world")

    def create(self, reference: bytes, attributes: KeyAttributes, material: Secret | None) -> Steps[Created]:
        """ALREADY_EXISTS if somebody took the planned id in the meantime."""
        planned = KeyReference.from_bytes(reference)
        wanted = AbiKeyAttributes.from_psa(attributes, lifetime=persistent_at(self._location), key_id=planned.key_id)
        # To import an RSA key pair is to prove its primes; a DH key is as slow to use as it is to make.
        slow = (
            self._location != LOCATION_LOCAL_STORAGE
            or (attributes.key_type.is_rsa and attributes.key_type.is_key_pair)
            or attributes.key_type.is_dh
        )
        if material is None:
            yield from self._call(CryptoOpcode.GENERATE_KEY, m.GenerateKeyRequest(wanted), slow=slow)
        else:
            yield from self._call(CryptoOpcode.IMPORT_KEY, m.ImportKeyRequest(wanted, material), slow=slow)
        if attributes.key_bits == 0:
            found = yield from self._attributes_of(planned.key_id)
            if found is None:
                raise PsaError(PsaStatus.CORRUPTION_DETECTED, "the secure world does not have the key that it has made")
            attributes = KeyAttributes(attributes.key_type, found.key_bits, attributes.usage, attributes.algorithm)
        return Created(bytes(KeyReference(planned.key_id, attributes)), attributes)

    def destroy(self, reference: bytes) -> Steps[None]:
        """What is at the place and does not match is somebody else's, and stays."""
        key = KeyReference.from_bytes(reference)
        found = yield from self._attributes_of(key.key_id)
        if found is None or not key.matches(found):
            return
        try:
            yield from self._call(CryptoOpcode.DESTROY_KEY, m.KeyIdRequest(key.key_id))
        except PsaError as error:
            if error.status is not PsaStatus.DOES_NOT_EXIST:
                raise

    def exists(self, reference: bytes) -> Steps[bool]:
        """Whether the key is there, with the attributes that it was made with."""
        key = KeyReference.from_bytes(reference)
        found = yield from self._attributes_of(key.key_id)
        return found is not None and key.matches(found)

    def load(self, reference: bytes, attributes: KeyAttributes) -> LoadedKey:
        return TsKey(reference, attributes, location=self._location)

    def export_key(self, key: LoadedKey) -> Steps[Secret]:
        return (yield from self._secret(CryptoOpcode.EXPORT_KEY, m.KeyIdRequest(id_of(key))))

    def export_public_key(self, key: LoadedKey) -> Steps[bytes]:
        return (yield from self._data(CryptoOpcode.EXPORT_PUBLIC_KEY, m.KeyIdRequest(id_of(key)), slow=_is_slow(key)))

    # Asymmetric cryptography

    def sign_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes) -> Steps[bytes]:
        assert isinstance(key, TsKey)
        # The one call that has to be quick: no helper stands between it and the answer.
        request = _SIGN_HASH.request.encode(m.SignRequest(key.key_id, alg, hash_value))
        answer = yield BackEndCall(self._link, CryptoOpcode.SIGN_HASH, request, key.is_slow)
        if answer.status or answer.error is not None:
            raise answer.error or error_of(answer.status)
        signature: bytes = decoded(_SIGN_HASH.response.decode, answer.response).data
        return signature

    def verify_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes, signature: bytes) -> Steps[None]:
        yield from self._call(CryptoOpcode.VERIFY_HASH, m.VerifyRequest(id_of(key), alg, hash_value, signature))

    def sign_message(self, key: LoadedKey, alg: Algorithm, message: bytes) -> Steps[bytes]:
        if len(message) <= self._chunk_bytes:
            try:
                request = m.SignRequest(id_of(key), alg, message)
                return (yield from self._data(CryptoOpcode.SIGN_MESSAGE, request, slow=_is_slow(key)))
            except RefusedCallError:
                pass  # a partition that takes no message of this length
        return (yield from self.sign_hash(key, alg, _hashed(alg, message)))

    def verify_message(self, key: LoadedKey, alg: Algorithm, message: bytes, signature: bytes) -> Steps[None]:
        if len(message) + len(signature) + _MESSAGE_OVERHEAD_BYTES <= self._chunk_bytes:
            try:
                yield from self._call(CryptoOpcode.VERIFY_MESSAGE, m.VerifyRequest(id_of(key), alg, message, signature))
            except RefusedCallError:
                pass
            else:
                return
        yield from self.verify_hash(key, alg, _hashed(alg, message), signature)

    def asymmetric_encrypt(self, key: LoadedKey, alg: Algorithm, plaintext: bytes, salt: bytes) -> Steps[bytes]:
        request = m.AsymmetricEncryptRequest(id_of(key), alg, plaintext, salt)
        return (yield from self._data(CryptoOpcode.ASYMMETRIC_ENCRYPT, request))

    def asymmetric_decrypt(self, key: LoadedKey, alg: Algorithm, ciphertext: bytes, salt: bytes) -> Steps[Secret]:
        request = m.AsymmetricDecryptRequest(id_of(key), alg, ciphertext, salt)
        return (yield from self._secret(CryptoOpcode.ASYMMETRIC_DECRYPT, request, slow=_is_slow(key)))

    def raw_key_agreement(self, key: LoadedKey, alg: Algorithm, peer_key: bytes) -> Steps[Secret]:
        request = m.RawKeyAgreementRequest(alg, id_of(key), peer_key)
        return (yield from self._secret(CryptoOpcode.RAW_KEY_AGREEMENT, request, slow=_is_slow(key)))

    # Symmetric cryptography

    def aead_encrypt(
        self, key: LoadedKey, alg: Algorithm, *, nonce: bytes, additional_data: bytes, plaintext: bytes
    ) -> Steps[bytes]:
        operation = yield from self._set_up(CryptoOpcode.AEAD_ENCRYPT_SETUP, m.KeyAlgorithmRequest(id_of(key), alg))
        try:
            parts = yield from self._aead(operation, alg, nonce=nonce, additional_data=additional_data, text=plaintext)
            finished = yield from self._call(CryptoOpcode.AEAD_FINISH, m.HandleRequest(operation))
        except PsaError:
            yield from self._abort(CryptoOpcode.AEAD_ABORT, operation)
            raise
        return b"".join((*parts, finished.ciphertext, finished.tag))

    def aead_decrypt(
        self, key: LoadedKey, alg: Algorithm, *, nonce: bytes, additional_data: bytes, ciphertext: bytes
    ) -> Steps[Secret]:
        tag_bytes = alg.tag_length_bytes
        if len(ciphertext) < tag_bytes:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "the ciphertext is shorter than its tag")
        text, tag = ciphertext[: len(ciphertext) - tag_bytes], ciphertext[len(ciphertext) - tag_bytes :]
        operation = yield from self._set_up(CryptoOpcode.AEAD_DECRYPT_SETUP, m.KeyAlgorithmRequest(id_of(key), alg))
        try:
            parts = yield from self._aead(operation, alg, nonce=nonce, additional_data=additional_data, text=text)
            rest = yield from self._data(CryptoOpcode.AEAD_VERIFY, m.HandleDataRequest(operation, tag))
        except PsaError:
            yield from self._abort(CryptoOpcode.AEAD_ABORT, operation)
            raise
        return Secret(b"".join((*parts, rest)))

    def _aead(
        self, operation: int, alg: Algorithm, *, nonce: bytes, additional_data: bytes, text: bytes
    ) -> Steps[list[bytes]]:
        if alg.is_aead and alg.aead_default == Algorithm.CCM:
            # CCM needs the lengths before anything else (PSA Crypto API 1.2, psa_aead_set_lengths).
            lengths = m.SetLengthsRequest(operation, len(additional_data), len(text))
            yield from self._call(CryptoOpcode.AEAD_SET_LENGTHS, lengths)
        yield from self._call(CryptoOpcode.AEAD_SET_NONCE, m.HandleDataRequest(operation, nonce))
        for chunk in self._chunks(additional_data):
            yield from self._call(CryptoOpcode.AEAD_UPDATE_AD, m.HandleDataRequest(operation, chunk))
        return (yield from self._update(CryptoOpcode.AEAD_UPDATE, operation, text))

    def cipher_encrypt(self, key: LoadedKey, alg: Algorithm, plaintext: bytes) -> Steps[bytes]:
        operation = yield from self._set_up(CryptoOpcode.CIPHER_ENCRYPT_SETUP, m.KeyAlgorithmRequest(id_of(key), alg))
        try:
            parts = []
            if _iv_bytes(key.attributes.key_type, alg):
                parts.append((yield from self._data(CryptoOpcode.CIPHER_GENERATE_IV, m.HandleRequest(operation))))
            parts += yield from self._update(CryptoOpcode.CIPHER_UPDATE, operation, plaintext)
            parts.append((yield from self._data(CryptoOpcode.CIPHER_FINISH, m.HandleRequest(operation))))
        except PsaError:
            yield from self._abort(CryptoOpcode.CIPHER_ABORT, operation)
            raise
        return b"".join(parts)

    def cipher_decrypt(self, key: LoadedKey, alg: Algorithm, ciphertext: bytes) -> Steps[Secret]:
        iv_bytes = _iv_bytes(key.attributes.key_type, alg)
        if len(ciphertext) < iv_bytes:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "the ciphertext is shorter than its IV")
        operation = yield from self._set_up(CryptoOpcode.CIPHER_DECRYPT_SETUP, m.KeyAlgorithmRequest(id_of(key), alg))
        try:
            if iv_bytes:
                iv = m.HandleDataRequest(operation, ciphertext[:iv_bytes])
                yield from self._call(CryptoOpcode.CIPHER_SET_IV, iv)
            parts = yield from self._update(CryptoOpcode.CIPHER_UPDATE, operation, ciphertext[iv_bytes:])
            parts.append((yield from self._data(CryptoOpcode.CIPHER_FINISH, m.HandleRequest(operation))))
        except PsaError:
            yield from self._abort(CryptoOpcode.CIPHER_ABORT, operation)
            raise
        return Secret(b"".join(parts))

    def mac_compute(self, key: LoadedKey, alg: Algorithm, data: bytes) -> Steps[bytes]:
        operation = yield from self._set_up(CryptoOpcode.MAC_SIGN_SETUP, m.KeyAlgorithmRequest(id_of(key), alg))
        try:
            for chunk in self._chunks(data):
                yield from self._call(CryptoOpcode.MAC_UPDATE, m.HandleDataRequest(operation, chunk))
            return (yield from self._data(CryptoOpcode.MAC_SIGN_FINISH, m.HandleRequest(operation)))
        except PsaError:
            yield from self._abort(CryptoOpcode.MAC_ABORT, operation)
            raise

    def mac_verify(self, key: LoadedKey, alg: Algorithm, data: bytes, mac: bytes) -> Steps[None]:
        operation = yield from self._set_up(CryptoOpcode.MAC_VERIFY_SETUP, m.KeyAlgorithmRequest(id_of(key), alg))
        try:
            for chunk in self._chunks(data):
                yield from self._call(CryptoOpcode.MAC_UPDATE, m.HandleDataRequest(operation, chunk))
            yield from self._call(CryptoOpcode.MAC_VERIFY_FINISH, m.HandleDataRequest(operation, mac))
        except PsaError:
            yield from self._abort(CryptoOpcode.MAC_ABORT, operation)
            raise

    # Without a key

    def hash_compute(self, alg: Hash, data: bytes) -> Steps[bytes]:
        operation = yield from self._set_up(CryptoOpcode.HASH_SETUP, m.AlgorithmRequest(Algorithm.from_hash(alg)))
        try:
            for chunk in self._chunks(data):
                yield from self._call(CryptoOpcode.HASH_UPDATE, m.HandleDataRequest(operation, chunk))
            return (yield from self._data(CryptoOpcode.HASH_FINISH, m.HandleRequest(operation)))
        except PsaError:
            yield from self._abort(CryptoOpcode.HASH_ABORT, operation)
            raise

    def hash_compare(self, alg: Hash, data: bytes, hash_value: bytes) -> Steps[None]:
        operation = yield from self._set_up(CryptoOpcode.HASH_SETUP, m.AlgorithmRequest(Algorithm.from_hash(alg)))
        try:
            for chunk in self._chunks(data):
                yield from self._call(CryptoOpcode.HASH_UPDATE, m.HandleDataRequest(operation, chunk))
            yield from self._call(CryptoOpcode.HASH_VERIFY, m.HandleDataRequest(operation, hash_value))
        except PsaError:
            yield from self._abort(CryptoOpcode.HASH_ABORT, operation)
            raise

    def generate_random(self, size_bytes: int) -> Steps[Secret]:
        parts = []
        for start in range(0, size_bytes, self._chunk_bytes):
            wanted = min(self._chunk_bytes, size_bytes - start)
            parts.append((yield from self._data(CryptoOpcode.GENERATE_RANDOM, m.GenerateRandomRequest(wanted))))
        return Secret(b"".join(parts))

    # Calls

    def _attributes_of(self, key_id: int) -> Steps[AbiKeyAttributes | None]:
        """What is at an id; None if that is free."""
        try:
            response = yield from self._call(CryptoOpcode.GET_KEY_ATTRIBUTES, m.KeyIdRequest(key_id))
        except PsaError as error:
            if error.status is PsaStatus.DOES_NOT_EXIST:
                return None
            raise
        attributes: AbiKeyAttributes = response.attributes
        return attributes

    def _set_up(self, opcode: CryptoOpcode, request: object) -> Steps[int]:
        response = yield from self._call(opcode, request)
        op_handle: int = response.op_handle
        return op_handle

    def _update(self, opcode: CryptoOpcode, operation: int, data: bytes) -> Steps[list[bytes]]:
        parts: list[bytes] = []
        for chunk in self._chunks(data):
            part = yield from self._data(opcode, m.HandleDataRequest(operation, chunk))
            parts.append(part)
        return parts

    def _chunks(self, data: bytes) -> Iterator[bytes]:
        # A block more may come out of a call than goes in.
        step = self._chunk_bytes - _MESSAGE_OVERHEAD_BYTES
        return (data[start : start + step] for start in range(0, len(data), step))

    def _abort(self, opcode: CryptoOpcode, operation: int) -> Steps[None]:
        """Give a context back. (If the caller has gone in the meantime, a later set-up recycles it.)"""
        try:
            yield from self._call(opcode, m.HandleRequest(operation))
        except PsaError:
            pass  # the error that led here is the one to tell

    def _data(self, opcode: CryptoOpcode, request: object, *, slow: bool = False) -> Steps[bytes]:
        response = yield from self._call(opcode, request, slow=slow)
        data: bytes = response.data
        return data

    def _secret(self, opcode: CryptoOpcode, request: object, *, slow: bool = False) -> Steps[Secret]:
        return Secret((yield from self._data(opcode, request, slow=slow)))

    def _call(self, opcode: CryptoOpcode, request: object, *, slow: bool = False) -> Steps[Any]:
        """One call: the response's message."""
        layouts = OPERATIONS[opcode]
        try:
            body = layouts.request.encode(request)
        except ValueError as error:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "an argument is too long for the secure world") from error
        answer = yield BackEndCall(self._link, opcode, body, slow)
        if answer.error is not None:
            raise answer.error
        if answer.status:
            raise error_of(answer.status)
        return decoded(layouts.response.decode, answer.response)


def _hashed(alg: Algorithm, message: bytes) -> bytes:
    hash_alg = alg.hash
    if hash_alg is None:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, f"{alg!r} says not how to hash a message")
    return engine.hash_compute(hash_alg, message)


def _iv_bytes(key_type: KeyType, alg: Algorithm) -> int:
    """PSA_CIPHER_IV_LENGTH (PSA Crypto API 1.2, clause 10.4)."""
    if alg == Algorithm.ECB_NO_PADDING:
        return 0
    if alg == Algorithm.STREAM_CIPHER:
        return _CHACHA20_NONCE_BYTES if key_type == KeyType.CHACHA20 else 0
    return key_type.block_size_bytes


def id_of(key: LoadedKey) -> int:
    if not isinstance(key, TsKey):
        raise PsaError(PsaStatus.INVALID_HANDLE, "the key was loaded by another provider")
    return key.key_id


def _is_slow(key: LoadedKey) -> bool:
    return isinstance(key, TsKey) and key.is_slow
