"""The crypto service's packed-c interface (``protocols/service/crypto/packed-c``): opcodes and one table of layouts.

The messages, which protobuf carries as well, are those of :mod:`edgeroot.abi.crypto_messages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final

from edgeroot.abi.crypto_messages import (
    AeadFinishResponse,
    AlgorithmRequest,
    AsymmetricDecryptRequest,
    AsymmetricEncryptRequest,
    CapacityResponse,
    CopyKeyRequest,
    DataResponse,
    EmptyResponse,
    GenerateKeyRequest,
    GenerateRandomRequest,
    HandleDataRequest,
    HandleRequest,
    HandleResponse,
    ImportKeyRequest,
    InputBytesRequest,
    InputKeyRequest,
    KeyAgreementRequest,
    KeyAlgorithmRequest,
    KeyAttributesResponse,
    KeyIdRequest,
    KeyIdResponse,
    OutputBytesRequest,
    OutputKeyRequest,
    RawKeyAgreementRequest,
    SetCapacityRequest,
    SetLengthsRequest,
    SignRequest,
    UefiFingerprintRequest,
    VerifyPkcs7Request,
    VerifyRequest,
)
from edgeroot.abi.key_attributes import AbiKeyAttributes
from edgeroot.abi.layout import Converter, Operation, Tlv, tlv_layout

__all__ = [
    "CryptoOpcode",
    "OPERATIONS",
    "AeadFinishResponse",
    "AlgorithmRequest",
    "AsymmetricDecryptRequest",
    "AsymmetricEncryptRequest",
    "CapacityResponse",
    "CopyKeyRequest",
    "DataResponse",
    "EmptyResponse",
    "GenerateKeyRequest",
    "GenerateRandomRequest",
    "HandleDataRequest",
    "HandleRequest",
    "HandleResponse",
    "ImportKeyRequest",
    "InputBytesRequest",
    "InputKeyRequest",
    "KeyAgreementRequest",
    "KeyAlgorithmRequest",
    "KeyAttributesResponse",
    "KeyIdRequest",
    "KeyIdResponse",
    "OutputBytesRequest",
    "OutputKeyRequest",
    "RawKeyAgreementRequest",
    "SetCapacityRequest",
    "SetLengthsRequest",
    "SignRequest",
    "UefiFingerprintRequest",
    "VerifyPkcs7Request",
    "VerifyRequest",
]


class CryptoOpcode(IntEnum):
    """Service opcodes. 0x0103 and 0x0104 (open and close a key) are no more."""

    GENERATE_KEY = 0x0101
    DESTROY_KEY = 0x0102
    EXPORT_KEY = 0x0105
    EXPORT_PUBLIC_KEY = 0x0106
    IMPORT_KEY = 0x0107
    SIGN_HASH = 0x0108
    VERIFY_HASH = 0x0109
    ASYMMETRIC_DECRYPT = 0x010A
    ASYMMETRIC_ENCRYPT = 0x010B
    GENERATE_RANDOM = 0x010C
    COPY_KEY = 0x010D
    PURGE_KEY = 0x010E
    GET_KEY_ATTRIBUTES = 0x010F
    SIGN_MESSAGE = 0x0110
    VERIFY_MESSAGE = 0x0111
    VERIFY_PKCS7_SIGNATURE = 0x0112
    GET_UEFI_PRIV_AUTH_VAR_FINGERPRINT = 0x0113
    HASH_SETUP = 0x0201
    HASH_UPDATE = 0x0202
    HASH_FINISH = 0x0203
    HASH_ABORT = 0x0204
    HASH_VERIFY = 0x0205
    HASH_CLONE = 0x0206
    CIPHER_ENCRYPT_SETUP = 0x0301
    CIPHER_DECRYPT_SETUP = 0x0302
    CIPHER_GENERATE_IV = 0x0303
    CIPHER_SET_IV = 0x0304
    CIPHER_UPDATE = 0x0305
    CIPHER_FINISH = 0x0306
    CIPHER_ABORT = 0x0307
    KEY_DERIVATION_SETUP = 0x0401
    KEY_DERIVATION_GET_CAPACITY = 0x0402
    KEY_DERIVATION_SET_CAPACITY = 0x0403
    KEY_DERIVATION_INPUT_BYTES = 0x0404
    KEY_DERIVATION_INPUT_KEY = 0x0405
    KEY_DERIVATION_OUTPUT_BYTES = 0x0406
    KEY_DERIVATION_OUTPUT_KEY = 0x0407
    KEY_DERIVATION_ABORT = 0x0408
    KEY_DERIVATION_KEY_AGREEMENT = 0x0409
    RAW_KEY_AGREEMENT = 0x040A
    MAC_SIGN_SETUP = 0x0501
    MAC_VERIFY_SETUP = 0x0502
    MAC_UPDATE = 0x0503
    MAC_SIGN_FINISH = 0x0504
    MAC_VERIFY_FINISH = 0x0505
    MAC_ABORT = 0x0506
    AEAD_ENCRYPT_SETUP = 0x0601
    AEAD_DECRYPT_SETUP = 0x0602
    AEAD_GENERATE_NONCE = 0x0603
    AEAD_SET_NONCE = 0x0604
    AEAD_SET_LENGTHS = 0x0605
    AEAD_UPDATE_AD = 0x0606
    AEAD_UPDATE = 0x0607
    AEAD_FINISH = 0x0608
    AEAD_VERIFY = 0x0609
    AEAD_ABORT = 0x060A


_ATTRIBUTES: Final = {"attributes": Converter(AbiKeyAttributes.encode, AbiKeyAttributes.decode)}
_DATA: Final = Tlv(1, "data")

_generate_key = tlv_layout(GenerateKeyRequest, "24s", converters=_ATTRIBUTES)
_key_id = tlv_layout(KeyIdRequest, "I")
_import_key = tlv_layout(ImportKeyRequest, "24s", _DATA, converters=_ATTRIBUTES)
_copy_key = tlv_layout(CopyKeyRequest, "I24s", converters=_ATTRIBUTES)
_sign = tlv_layout(SignRequest, "II", _DATA)
_verify = tlv_layout(VerifyRequest, "II", _DATA, Tlv(2, "signature"))
_decrypt = tlv_layout(AsymmetricDecryptRequest, "II", Tlv(1, "ciphertext"), Tlv(2, "salt", optional=True))
_encrypt = tlv_layout(AsymmetricEncryptRequest, "II", Tlv(1, "plaintext"), Tlv(2, "salt", optional=True))
_random = tlv_layout(GenerateRandomRequest, "I")
_pkcs7 = tlv_layout(VerifyPkcs7Request, "", Tlv(1, "signature"), Tlv(2, "hash"), Tlv(3, "public_key_certificate"))
_uefi = tlv_layout(UefiFingerprintRequest, "", Tlv(1, "signature"))
_algorithm = tlv_layout(AlgorithmRequest, "I")
_key_algorithm = tlv_layout(KeyAlgorithmRequest, "II")
_handle = tlv_layout(HandleRequest, "I")
_handle_data = tlv_layout(HandleDataRequest, "I", _DATA)
_set_capacity = tlv_layout(SetCapacityRequest, "II")
_input_bytes = tlv_layout(InputBytesRequest, "II", _DATA)
_input_key = tlv_layout(InputKeyRequest, "III")
_output_bytes = tlv_layout(OutputBytesRequest, "II")
_output_key = tlv_layout(OutputKeyRequest, "I24s", converters=_ATTRIBUTES)
_agreement = tlv_layout(KeyAgreementRequest, "III", Tlv(1, "peer_key"))
_raw_agreement = tlv_layout(RawKeyAgreementRequest, "II", Tlv(1, "peer_key"))
_set_lengths = tlv_layout(SetLengthsRequest, "III")

_nothing = tlv_layout(EmptyResponse, "", response=True)
_new_key = tlv_layout(KeyIdResponse, "I", response=True)
_attributes = tlv_layout(KeyAttributesResponse, "24s", converters=_ATTRIBUTES, response=True)
_data = tlv_layout(DataResponse, "", _DATA, response=True)
_new_handle = tlv_layout(HandleResponse, "I", response=True)
_capacity = tlv_layout(CapacityResponse, "I", response=True)
_aead_finish = tlv_layout(AeadFinishResponse, "", Tlv(1, "ciphertext"), Tlv(2, "tag"), response=True)

_Op = CryptoOpcode
_ROWS: Final[tuple[tuple[CryptoOpcode, Any, Any], ...]] = (
    (_Op.GENERATE_KEY, _generate_key, _new_key),
    (_Op.DESTROY_KEY, _key_id, _nothing),
    (_Op.EXPORT_KEY, _key_id, _data),
    (_Op.EXPORT_PUBLIC_KEY, _key_id, _data),
    (_Op.IMPORT_KEY, _import_key, _new_key),
    (_Op.SIGN_HASH, _sign, _data),
    (_Op.VERIFY_HASH, _verify, _nothing),
    (_Op.ASYMMETRIC_DECRYPT, _decrypt, _data),
    (_Op.ASYMMETRIC_ENCRYPT, _encrypt, _data),
    (_Op.GENERATE_RANDOM, _random, _data),
    (_Op.COPY_KEY, _copy_key, _new_key),
    (_Op.PURGE_KEY, _key_id, _nothing),
    (_Op.GET_KEY_ATTRIBUTES, _key_id, _attributes),
    (_Op.SIGN_MESSAGE, _sign, _data),
    (_Op.VERIFY_MESSAGE, _verify, _nothing),
    (_Op.VERIFY_PKCS7_SIGNATURE, _pkcs7, _nothing),
    (_Op.GET_UEFI_PRIV_AUTH_VAR_FINGERPRINT, _uefi, _data),
    (_Op.HASH_SETUP, _algorithm, _new_handle),
    (_Op.HASH_UPDATE, _handle_data, _nothing),
    (_Op.HASH_FINISH, _handle, _data),
    (_Op.HASH_ABORT, _handle, _nothing),
    (_Op.HASH_VERIFY, _handle_data, _nothing),
    (_Op.HASH_CLONE, _handle, _new_handle),
    (_Op.CIPHER_ENCRYPT_SETUP, _key_algorithm, _new_handle),
    (_Op.CIPHER_DECRYPT_SETUP, _key_algorithm, _new_handle),
    (_Op.CIPHER_GENERATE_IV, _handle, _data),
    (_Op.CIPHER_SET_IV, _handle_data, _nothing),
    (_Op.CIPHER_UPDATE, _handle_data, _data),
    (_Op.CIPHER_FINISH, _handle, _data),
    (_Op.CIPHER_ABORT, _handle, _nothing),
    (_Op.KEY_DERIVATION_SETUP, _algorithm, _new_handle),
    (_Op.KEY_DERIVATION_GET_CAPACITY, _handle, _capacity),
    (_Op.KEY_DERIVATION_SET_CAPACITY, _set_capacity, _nothing),
    (_Op.KEY_DERIVATION_INPUT_BYTES, _input_bytes, _nothing),
    (_Op.KEY_DERIVATION_INPUT_KEY, _input_key, _nothing),
    (_Op.KEY_DERIVATION_OUTPUT_BYTES, _output_bytes, _data),
    (_Op.KEY_DERIVATION_OUTPUT_KEY, _output_key, _new_key),
    (_Op.KEY_DERIVATION_ABORT, _handle, _nothing),
    (_Op.KEY_DERIVATION_KEY_AGREEMENT, _agreement, _nothing),
    (_Op.RAW_KEY_AGREEMENT, _raw_agreement, _data),
    (_Op.MAC_SIGN_SETUP, _key_algorithm, _new_handle),
    (_Op.MAC_VERIFY_SETUP, _key_algorithm, _new_handle),
    (_Op.MAC_UPDATE, _handle_data, _nothing),
    (_Op.MAC_SIGN_FINISH, _handle, _data),
    (_Op.MAC_VERIFY_FINISH, _handle_data, _nothing),
    (_Op.MAC_ABORT, _handle, _nothing),
    (_Op.AEAD_ENCRYPT_SETUP, _key_algorithm, _new_handle),
    (_Op.AEAD_DECRYPT_SETUP, _key_algorithm, _new_handle),
    (_Op.AEAD_GENERATE_NONCE, _handle, _data),
    (_Op.AEAD_SET_NONCE, _handle_data, _nothing),
    (_Op.AEAD_SET_LENGTHS, _set_lengths, _nothing),
    (_Op.AEAD_UPDATE_AD, _handle_data, _nothing),
    (_Op.AEAD_UPDATE, _handle_data, _data),
    (_Op.AEAD_FINISH, _handle, _aead_finish),
    (_Op.AEAD_VERIFY, _handle_data, _data),
    (_Op.AEAD_ABORT, _handle, _nothing),
)
OPERATIONS: Final[Mapping[int, Operation]] = MappingProxyType({int(row[0]): Operation(*row) for row in _ROWS})
"""By opcode."""
