"""Bodies of the cryptographic operations."""

from __future__ import annotations

from typing import Final

from edgeroot.wire import operations as ops
from edgeroot.wire.contract.generated import crypto_pb2 as pb
from edgeroot.wire.convert.algorithms import (
    CIPHERS,
    ENCRYPTIONS,
    HASHES,
    RAW_KEY_AGREEMENTS,
    SIGNATURES,
    decode_aead,
    decode_mac,
    encode_aead,
    encode_mac,
)
from edgeroot.wire.convert.body import AnyBody, Body
from edgeroot.wire.status import ResponseStatus, WireError


def _decode_mac_compute(message: pb.PsaMacComputeOperation) -> ops.PsaMacCompute:
    """The operation; INVALID_ENCODING if the message is a PsaMacVerify's.

    The Go client asks for verification under the opcode of PsaMacCompute, and reads any success as "the MAC is right".
    Skipped as unknown, as fields from newer peers are, its MAC would never be looked at. (An empty MAC does not travel,
    so that cannot be told from a computation.)
    """
    if message.HasField("mac"):
        raise WireError(ResponseStatus.INVALID_ENCODING, "a MAC to verify, in PsaMacCompute")
    return ops.PsaMacCompute(message.key_name, decode_mac(message.alg), message.input)


CRYPTO_BODIES: Final[tuple[AnyBody, ...]] = (
    # Signatures
    Body(
        pb.PsaSignHashOperation,
        ops.PsaSignHash,
        decode=lambda m: ops.PsaSignHash(m.key_name, SIGNATURES.decode(m.alg), m.hash),
        encode=lambda v: pb.PsaSignHashOperation(key_name=v.key_name, alg=SIGNATURES.encode(v.alg), hash=v.hash_value),
    ),
    Body(
        pb.PsaSignHashResult,
        ops.PsaSignHashResult,
        decode=lambda m: ops.PsaSignHashResult(m.signature),
        encode=lambda v: pb.PsaSignHashResult(signature=v.signature),
    ),
    Body(
        pb.PsaVerifyHashOperation,
        ops.PsaVerifyHash,
        decode=lambda m: ops.PsaVerifyHash(m.key_name, SIGNATURES.decode(m.alg), m.hash, m.signature),
        encode=lambda v: pb.PsaVerifyHashOperation(
            key_name=v.key_name, alg=SIGNATURES.encode(v.alg), hash=v.hash_value, signature=v.signature
        ),
    ),
    Body(
        pb.PsaSignMessageOperation,
        ops.PsaSignMessage,
        decode=lambda m: ops.PsaSignMessage(m.key_name, SIGNATURES.decode(m.alg), m.message),
        encode=lambda v: pb.PsaSignMessageOperation(
            key_name=v.key_name, alg=SIGNATURES.encode(v.alg), message=v.message
        ),
    ),
    Body(
        pb.PsaSignMessageResult,
        ops.PsaSignMessageResult,
        decode=lambda m: ops.PsaSignMessageResult(m.signature),
        encode=lambda v: pb.PsaSignMessageResult(signature=v.signature),
    ),
    Body(
        pb.PsaVerifyMessageOperation,
        ops.PsaVerifyMessage,
        decode=lambda m: ops.PsaVerifyMessage(m.key_name, SIGNATURES.decode(m.alg), m.message, m.signature),
        encode=lambda v: pb.PsaVerifyMessageOperation(
            key_name=v.key_name, alg=SIGNATURES.encode(v.alg), message=v.message, signature=v.signature
        ),
    ),
    # Encryption
    Body(
        pb.PsaAsymmetricEncryptOperation,
        ops.PsaAsymmetricEncrypt,
        decode=lambda m: ops.PsaAsymmetricEncrypt(m.key_name, ENCRYPTIONS.decode(m.alg), m.plaintext, m.salt),
        encode=lambda v: pb.PsaAsymmetricEncryptOperation(
            key_name=v.key_name, alg=ENCRYPTIONS.encode(v.alg), plaintext=v.plaintext, salt=v.salt
        ),
    ),
    Body(
        pb.PsaAsymmetricEncryptResult,
        ops.PsaAsymmetricEncryptResult,
        decode=lambda m: ops.PsaAsymmetricEncryptResult(m.ciphertext),
        encode=lambda v: pb.PsaAsymmetricEncryptResult(ciphertext=v.ciphertext),
    ),
    Body(
        pb.PsaAsymmetricDecryptOperation,
        ops.PsaAsymmetricDecrypt,
        decode=lambda m: ops.PsaAsymmetricDecrypt(m.key_name, ENCRYPTIONS.decode(m.alg), m.ciphertext, m.salt),
        encode=lambda v: pb.PsaAsymmetricDecryptOperation(
            key_name=v.key_name, alg=ENCRYPTIONS.encode(v.alg), ciphertext=v.ciphertext, salt=v.salt
        ),
    ),
    Body(
        pb.PsaAsymmetricDecryptResult,
        ops.PsaAsymmetricDecryptResult,
        decode=lambda m: ops.PsaAsymmetricDecryptResult(m.plaintext),
        encode=lambda v: pb.PsaAsymmetricDecryptResult(plaintext=v.plaintext),
    ),
    Body(
        pb.PsaAeadEncryptOperation,
        ops.PsaAeadEncrypt,
        decode=lambda m: ops.PsaAeadEncrypt(m.key_name, decode_aead(m.alg), m.nonce, m.additional_data, m.plaintext),
        encode=lambda v: pb.PsaAeadEncryptOperation(
            key_name=v.key_name,
            alg=encode_aead(v.alg),
            nonce=v.nonce,
            additional_data=v.additional_data,
            plaintext=v.plaintext,
        ),
    ),
    Body(
        pb.PsaAeadEncryptResult,
        ops.PsaAeadEncryptResult,
        decode=lambda m: ops.PsaAeadEncryptResult(m.ciphertext),
        encode=lambda v: pb.PsaAeadEncryptResult(ciphertext=v.ciphertext),
    ),
    Body(
        pb.PsaAeadDecryptOperation,
        ops.PsaAeadDecrypt,
        decode=lambda m: ops.PsaAeadDecrypt(m.key_name, decode_aead(m.alg), m.nonce, m.additional_data, m.ciphertext),
        encode=lambda v: pb.PsaAeadDecryptOperation(
            key_name=v.key_name,
            alg=encode_aead(v.alg),
            nonce=v.nonce,
            additional_data=v.additional_data,
            ciphertext=v.ciphertext,
        ),
    ),
    Body(
        pb.PsaAeadDecryptResult,
        ops.PsaAeadDecryptResult,
        decode=lambda m: ops.PsaAeadDecryptResult(m.plaintext),
        encode=lambda v: pb.PsaAeadDecryptResult(plaintext=v.plaintext),
    ),
    Body(
        pb.PsaCipherEncryptOperation,
        ops.PsaCipherEncrypt,
        decode=lambda m: ops.PsaCipherEncrypt(m.key_name, CIPHERS.decode(m.alg), m.plaintext),
        encode=lambda v: pb.PsaCipherEncryptOperation(
            key_name=v.key_name, alg=CIPHERS.encode(v.alg), plaintext=v.plaintext
        ),
    ),
    Body(
        pb.PsaCipherEncryptResult,
        ops.PsaCipherEncryptResult,
        decode=lambda m: ops.PsaCipherEncryptResult(m.ciphertext),
        encode=lambda v: pb.PsaCipherEncryptResult(ciphertext=v.ciphertext),
    ),
    Body(
        pb.PsaCipherDecryptOperation,
        ops.PsaCipherDecrypt,
        decode=lambda m: ops.PsaCipherDecrypt(m.key_name, CIPHERS.decode(m.alg), m.ciphertext),
        encode=lambda v: pb.PsaCipherDecryptOperation(
            key_name=v.key_name, alg=CIPHERS.encode(v.alg), ciphertext=v.ciphertext
        ),
    ),
    Body(
        pb.PsaCipherDecryptResult,
        ops.PsaCipherDecryptResult,
        decode=lambda m: ops.PsaCipherDecryptResult(m.plaintext),
        encode=lambda v: pb.PsaCipherDecryptResult(plaintext=v.plaintext),
    ),
    # MAC, hash, key agreement, random
    Body(
        pb.PsaMacComputeOperation,
        ops.PsaMacCompute,
        decode=_decode_mac_compute,
        encode=lambda v: pb.PsaMacComputeOperation(key_name=v.key_name, alg=encode_mac(v.alg), input=v.input),
    ),
    Body(
        pb.PsaMacComputeResult,
        ops.PsaMacComputeResult,
        decode=lambda m: ops.PsaMacComputeResult(m.mac),
        encode=lambda v: pb.PsaMacComputeResult(mac=v.mac),
    ),
    Body(
        pb.PsaMacVerifyOperation,
        ops.PsaMacVerify,
        decode=lambda m: ops.PsaMacVerify(m.key_name, decode_mac(m.alg), m.input, m.mac),
        encode=lambda v: pb.PsaMacVerifyOperation(key_name=v.key_name, alg=encode_mac(v.alg), input=v.input, mac=v.mac),
    ),
    Body(
        pb.PsaHashComputeOperation,
        ops.PsaHashCompute,
        decode=lambda m: ops.PsaHashCompute(HASHES.decode(m.alg), m.input),
        encode=lambda v: pb.PsaHashComputeOperation(alg=HASHES.encode(v.alg), input=v.input),
    ),
    Body(
        pb.PsaHashComputeResult,
        ops.PsaHashComputeResult,
        decode=lambda m: ops.PsaHashComputeResult(m.hash),
        encode=lambda v: pb.PsaHashComputeResult(hash=v.hash_value),
    ),
    Body(
        pb.PsaHashCompareOperation,
        ops.PsaHashCompare,
        decode=lambda m: ops.PsaHashCompare(HASHES.decode(m.alg), m.input, m.hash),
        encode=lambda v: pb.PsaHashCompareOperation(alg=HASHES.encode(v.alg), input=v.input, hash=v.hash_value),
    ),
    Body(
        pb.PsaRawKeyAgreementOperation,
        ops.PsaRawKeyAgreement,
        decode=lambda m: ops.PsaRawKeyAgreement(RAW_KEY_AGREEMENTS.decode(m.alg), m.private_key_name, m.peer_key),
        encode=lambda v: pb.PsaRawKeyAgreementOperation(
            alg=RAW_KEY_AGREEMENTS.encode(v.alg), private_key_name=v.private_key_name, peer_key=v.peer_key
        ),
    ),
    Body(
        pb.PsaRawKeyAgreementResult,
        ops.PsaRawKeyAgreementResult,
        decode=lambda m: ops.PsaRawKeyAgreementResult(m.shared_secret),
        encode=lambda v: pb.PsaRawKeyAgreementResult(shared_secret=v.shared_secret),
    ),
    Body(
        pb.PsaGenerateRandomOperation,
        ops.PsaGenerateRandom,
        decode=lambda m: ops.PsaGenerateRandom(m.size),
        encode=lambda v: pb.PsaGenerateRandomOperation(size=v.size),
    ),
    Body(
        pb.PsaGenerateRandomResult,
        ops.PsaGenerateRandomResult,
        decode=lambda m: ops.PsaGenerateRandomResult(m.random_bytes),
        encode=lambda v: pb.PsaGenerateRandomResult(random_bytes=v.random_bytes),
    ),
)
