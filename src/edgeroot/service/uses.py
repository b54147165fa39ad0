"""How each operation that uses a key is checked and carried out. One row per operation, no second list anywhere."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, NamedTuple

from edgeroot.auth import Identity
from edgeroot.providers.api import Function, LoadedKey
from edgeroot.psa import CHALLENGE_SIZES_BYTES, Algorithm, PsaError, PsaStatus, UsageFlags, bound_challenge
from edgeroot.psa.policy import Violation, check_hash_length
from edgeroot.wire import operations as ops
from edgeroot.wire.opcodes import Opcode

# Operations are told apart by their opcode, so a row's functions take whatever that opcode's type is; and a provider
# in steps (edgeroot.providers.api.SteppedProvider) takes the same calls and gives steps to the same values.
_Check = Callable[[Any], Violation | None]
_Call = Callable[[Any, LoadedKey, Any], Any]
_Result = Callable[[Any], ops.Result]
_Bind = Callable[[Any, Identity], ops.Operation]


class KeyUse(NamedTuple):
    """``usage`` names alternatives: one of its flags is enough; NONE means that no flag is needed.

    ``bind`` gives the operation with a challenge that is bound to its caller, for providers that need that.
    ``call`` has the provider act, ``result`` makes of the value that it gave what the client gets. ``named`` gives the
    name of the key, or of the stored object where ``of_object`` is true.
    """

    function: Function
    usage: UsageFlags
    call: _Call
    result: _Result
    check: _Check | None = None
    has_algorithm: bool = True
    named: Callable[[Any], str] = attrgetter("key_name")
    of_object: bool = False
    bind: _Bind | None = None


_EMPTY: Final = ops.Empty()


def _empty(_value: None) -> ops.Result:
    return _EMPTY


def _hash_fits(op: ops.PsaSignHash | ops.PsaVerifyHash) -> Violation | None:
    return check_hash_length(op.alg, len(op.hash_value))


def _rsa_input(data: bytes, alg: Algorithm, salt: bytes) -> Violation | None:
    if not data or (salt and alg == Algorithm.RSA_PKCS1V15_CRYPT):
        return Violation.ARGUMENT
    return None


def _asymmetric_encrypt_fits(op: ops.PsaAsymmetricEncrypt) -> Violation | None:
    return _rsa_input(op.plaintext, op.alg, op.salt)


def _asymmetric_decrypt_fits(op: ops.PsaAsymmetricDecrypt) -> Violation | None:
    return _rsa_input(op.ciphertext, op.alg, op.salt)


def _nonce_given(op: ops.PsaAeadEncrypt) -> Violation | None:
    # Upstream refuses an empty plaintext too; PSA allows it, and a MAC over additional data alone is a use of AEAD.
    return None if op.nonce else Violation.ARGUMENT


def _nonce_and_ciphertext_given(op: ops.PsaAeadDecrypt) -> Violation | None:
    return None if op.nonce and op.ciphertext else Violation.ARGUMENT


def _plaintext_given(op: ops.PsaCipherEncrypt) -> Violation | None:
    return None if op.plaintext else Violation.ARGUMENT


def _ciphertext_given(op: ops.PsaCipherDecrypt) -> Violation | None:
    return None if op.ciphertext else Violation.ARGUMENT


def _device_attests(op: ops.PrepareKeyAttestation | ops.AttestKey) -> Violation | None:
    if op.attesting_key_name:
        message = "only the device's endorsement key attests: leave the attesting key's name empty"
        raise PsaError(PsaStatus.NOT_SUPPORTED, message)
    return None


def _bound(challenge: bytes, caller: Identity) -> bytes:
    """A challenge of another size stays as it is, and is refused by whoever looks at challenges."""
    if len(challenge) not in CHALLENGE_SIZES_BYTES:
        return challenge
    return bound_challenge(challenge, authenticator=caller.authenticator, application=caller.application)


KEY_USES: Final[dict[int, KeyUse]] = {
    Opcode.PSA_SIGN_HASH: KeyUse(
        Function.SIGN_HASH,
        UsageFlags.SIGN_HASH,
        lambda provider, key, op: provider.sign_hash(key, op.alg, op.hash_value),
        ops.PsaSignHashResult,
        _hash_fits,
    ),
    Opcode.PSA_VERIFY_HASH: KeyUse(
        Function.VERIFY_HASH,
        UsageFlags.VERIFY_HASH,
        lambda provider, key, op: provider.verify_hash(key, op.alg, op.hash_value, op.signature),
        _empty,
        _hash_fits,
    ),
    Opcode.PSA_SIGN_MESSAGE: KeyUse(
        Function.SIGN_MESSAGE,
        UsageFlags.SIGN_MESSAGE | UsageFlags.SIGN_HASH,
        lambda provider, key, op: provider.sign_message(key, op.alg, op.message),
        ops.PsaSignMessageResult,
    ),
    Opcode.PSA_VERIFY_MESSAGE: KeyUse(
        Function.VERIFY_MESSAGE,
        UsageFlags.VERIFY_MESSAGE | UsageFlags.VERIFY_HASH,
        lambda provider, key, op: provider.verify_message(key, op.alg, op.message, op.signature),
        _empty,
    ),
    Opcode.PSA_ASYMMETRIC_ENCRYPT: KeyUse(
        Function.ASYMMETRIC_ENCRYPT,
        UsageFlags.ENCRYPT,
        lambda provider, key, op: provider.asymmetric_encrypt(key, op.alg, op.plaintext, op.salt),
        ops.PsaAsymmetricEncryptResult,
        _asymmetric_encrypt_fits,
    ),
    Opcode.PSA_ASYMMETRIC_DECRYPT: KeyUse(
        Function.ASYMMETRIC_DECRYPT,
        UsageFlags.DECRYPT,
        lambda provider, key, op: provider.asymmetric_decrypt(key, op.alg, op.ciphertext, op.salt),
        ops.PsaAsymmetricDecryptResult,
        _asymmetric_decrypt_fits,
    ),
    Opcode.PSA_AEAD_ENCRYPT: KeyUse(
        Function.AEAD_ENCRYPT,
        UsageFlags.ENCRYPT,
        lambda provider, key, op: provider.aead_encrypt(
            key, op.alg, nonce=op.nonce, additional_data=op.additional_data, plaintext=op.plaintext
        ),
        ops.PsaAeadEncryptResult,
        _nonce_given,
    ),
    Opcode.PSA_AEAD_DECRYPT: KeyUse(
        Function.AEAD_DECRYPT,
        UsageFlags.DECRYPT,
        lambda provider, key, op: provider.aead_decrypt(
            key, op.alg, nonce=op.nonce, additional_data=op.additional_data, ciphertext=op.ciphertext
        ),
        ops.PsaAeadDecryptResult,
        _nonce_and_ciphertext_given,
    ),
    Opcode.PSA_CIPHER_ENCRYPT: KeyUse(
        Function.CIPHER_ENCRYPT,
        UsageFlags.ENCRYPT,
        lambda provider, key, op: provider.cipher_encrypt(key, op.alg, op.plaintext),
        ops.PsaCipherEncryptResult,
        _plaintext_given,
    ),
    Opcode.PSA_CIPHER_DECRYPT: KeyUse(
        Function.CIPHER_DECRYPT,
        UsageFlags.DECRYPT,
        lambda provider, key, op: provider.cipher_decrypt(key, op.alg, op.ciphertext),
        ops.PsaCipherDecryptResult,
        _ciphertext_given,
    ),
    Opcode.PSA_MAC_COMPUTE: KeyUse(
        Function.MAC_COMPUTE,
        UsageFlags.SIGN_MESSAGE | UsageFlags.SIGN_HASH,
        lambda provider, key, op: provider.mac_compute(key, op.alg, op.input),
        ops.PsaMacComputeResult,
    ),
    Opcode.PSA_MAC_VERIFY: KeyUse(
        Function.MAC_VERIFY,
        UsageFlags.VERIFY_MESSAGE | UsageFlags.VERIFY_HASH,
        lambda provider, key, op: provider.mac_verify(key, op.alg, op.input, op.mac),
        _empty,
    ),
    Opcode.PSA_RAW_KEY_AGREEMENT: KeyUse(
        Function.RAW_KEY_AGREEMENT,
        UsageFlags.DERIVE,
        lambda provider, key, op: provider.raw_key_agreement(key, op.alg, op.peer_key),
        ops.PsaRawKeyAgreementResult,
        named=attrgetter("private_key_name"),
    ),
    Opcode.PSA_EXPORT_KEY: KeyUse(
        Function.EXPORT_KEY,
        UsageFlags.EXPORT,
        lambda provider, key, _op: provider.export_key(key),
        ops.PsaExportKeyResult,
        has_algorithm=False,
    ),
    Opcode.PSA_EXPORT_PUBLIC_KEY: KeyUse(
        Function.EXPORT_PUBLIC_KEY,
        UsageFlags.NONE,  # PSA Crypto API, psa_export_public_key: always allowed, whatever the policy says
        lambda provider, key, _op: provider.export_public_key(key),
        ops.PsaExportPublicKeyResult,
        has_algorithm=False,
    ),
    Opcode.PREPARE_KEY_ATTESTATION: KeyUse(
        Function.PREPARE_KEY_ATTESTATION,
        UsageFlags.NONE,  # PSA has no flag for attestation: a key's owner may say which key it is
        lambda provider, key, _op: provider.prepare_key_attestation(key, None),
        lambda prepared: ops.PrepareKeyAttestationResult(*prepared),
        _device_attests,
        has_algorithm=False,
        named=attrgetter("attested_key_name"),
    ),
    Opcode.ATTEST_KEY: KeyUse(
        Function.ATTEST_KEY,
        UsageFlags.NONE,
        lambda provider, key, op: provider.attest_key(key, None, credential_blob=op.credential_blob, secret=op.secret),
        ops.AttestKeyResult,
        _device_attests,
        has_algorithm=False,
        named=attrgetter("attested_key_name"),
    ),
    Opcode.KEY_STATEMENT: KeyUse(
        Function.KEY_STATEMENT,
        UsageFlags.NONE,
        lambda provider, key, op: provider.key_statement(key, op.challenge),
        ops.KeyStatementResult,
        has_algorithm=False,
        bind=lambda op, caller: ops.KeyStatement(op.key_name, _bound(op.challenge, caller)),
    ),
    Opcode.STORAGE_GET: KeyUse(
        Function.PS_GET,
        UsageFlags.NONE,
        lambda provider, key, op: provider.get_object(key, op.data_offset, op.data_size),
        ops.StorageGetResult,
        has_algorithm=False,
        named=attrgetter("object_name"),
        of_object=True,
    ),
    Opcode.STORAGE_INFO: KeyUse(
        Function.PS_GET_INFO,
        UsageFlags.NONE,
        lambda provider, key, _op: provider.get_object_info(key),
        lambda info: ops.StorageInfoResult(*info),
        has_algorithm=False,
        named=attrgetter("object_name"),
        of_object=True,
    ),
}


class KeylessUse(NamedTuple):
    """An operation of a crypto provider that needs no key."""

    function: Function
    call: Callable[[Any, Any], Any]
    result: _Result
    bind: _Bind | None = None


KEYLESS_USES: Final[dict[int, KeylessUse]] = {
    Opcode.PSA_HASH_COMPUTE: KeylessUse(
        Function.HASH_COMPUTE, lambda provider, op: provider.hash_compute(op.alg, op.input), ops.PsaHashComputeResult
    ),
    Opcode.PSA_HASH_COMPARE: KeylessUse(
        Function.HASH_COMPARE, lambda provider, op: provider.hash_compare(op.alg, op.input, op.hash_value), _empty
    ),
    Opcode.PSA_GENERATE_RANDOM: KeylessUse(
        Function.GENERATE_RANDOM, lambda provider, op: provider.generate_random(op.size), ops.PsaGenerateRandomResult
    ),
    Opcode.ATTESTATION_TOKEN: KeylessUse(
        Function.INITIAL_ATTEST_GET_TOKEN,
        lambda provider, op: provider.attestation_token(op.challenge),
        ops.AttestationTokenResult,
        bind=lambda op, caller: ops.AttestationToken(_bound(op.challenge, caller)),
    ),
}

# Which function of a provider stands behind an opcode: from it ListOpcodes is answered.
FUNCTION_OF_OPCODE: Final[dict[int, Function]] = {
    Opcode.PSA_GENERATE_KEY: Function.GENERATE_KEY,
    Opcode.PSA_IMPORT_KEY: Function.IMPORT_KEY,
    Opcode.PSA_DESTROY_KEY: Function.DESTROY_KEY,
    Opcode.STORAGE_SET: Function.PS_SET,
    Opcode.STORAGE_REMOVE: Function.PS_REMOVE,
    **{opcode: use.function for opcode, use in KEY_USES.items()},
    **{opcode: keyless.function for opcode, keyless in KEYLESS_USES.items()},
}
