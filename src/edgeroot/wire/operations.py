"""One typed request and one typed result for every operation of the Parsec contract.

Field names are the contract's, with two exceptions that avoid a clash with Python: the hash to be signed is
``hash_value`` and algorithms are ``alg`` throughout. Bytes fields have the formats of the Parsec book ("Operations"):
RSA keys are PKCS#1 DER, ECC public keys SEC1 uncompressed points, ECDSA signatures raw r || s, AEAD ciphertexts carry
their tag at the end, cipher texts their IV in front.
"""

from __future__ import annotations

from enum import IntEnum

from edgeroot.psa import Algorithm, Hash, KeyAttributes
from edgeroot.wire.record import Record, secret


class ProviderId(IntEnum):
    """Provider ids of upstream's contract. Ids from 16 are further instances, shown in extended answers only."""

    CORE = 0
    MBED_CRYPTO = 1
    PKCS11 = 2
    TPM = 3
    TRUSTED_SERVICE = 4
    CRYPTO_AUTH_LIB = 5


class AuthType(IntEnum):
    """``auth type`` of a request's header; all but NO_AUTH are authenticator ids too."""

    NO_AUTH = 0
    DIRECT = 1
    JWT = 2
    UNIX_PEER_CREDENTIALS = 3
    JWT_SVID = 4


class CheckType(IntEnum):
    """What CanDoCrypto asks for."""

    USE = 1
    GENERATE = 2
    IMPORT = 3
    DERIVE = 4


class Operation(Record):
    """Base of every request."""


class Result(Record):
    """Base of every result; operations that answer nothing share :class:`Empty`."""


class Empty(Result):
    """The result without fields."""


# Core operations


class Ping(Operation):
    pass


class PingResult(Result):
    wire_protocol_version_maj: int
    wire_protocol_version_min: int


class ProviderInfo(Record):
    """``name`` and ``edgeroot_version`` travel in extended answers only (fields 1000 and 1001)."""

    uuid: str
    description: str
    vendor: str
    version_maj: int
    version_min: int
    version_rev: int
    id: int
    name: str = ""
    edgeroot_version: str = ""


class ListProviders(Operation):
    pass


class ListProvidersResult(Result):
    providers: tuple[ProviderInfo, ...]


class ListOpcodes(Operation):
    provider_id: int


class ListOpcodesResult(Result):
    opcodes: tuple[int, ...]


class AuthenticatorInfo(Record):
    description: str
    version_maj: int
    version_min: int
    version_rev: int
    id: int


class ListAuthenticators(Operation):
    pass


class ListAuthenticatorsResult(Result):
    authenticators: tuple[AuthenticatorInfo, ...]


class KeyInfo(Record):
    provider_id: int
    name: str
    attributes: KeyAttributes


class ListKeys(Operation):
    pass


class ListKeysResult(Result):
    keys: tuple[KeyInfo, ...]


class ListClients(Operation):
    pass


class ListClientsResult(Result):
    clients: tuple[str, ...]


class DeleteClient(Operation):
    client: str


# Key management


class PsaGenerateKey(Operation):
    key_name: str
    attributes: KeyAttributes


class PsaImportKey(Operation):
    key_name: str
    attributes: KeyAttributes
    data: bytes = secret()


class PsaDestroyKey(Operation):
    key_name: str


class PsaExportKey(Operation):
    key_name: str


class PsaExportKeyResult(Result):
    data: bytes = secret()


class PsaExportPublicKey(Operation):
    key_name: str


class PsaExportPublicKeyResult(Result):
    data: bytes


# Signatures


class PsaSignHash(Operation):
    key_name: str
    alg: Algorithm
    hash_value: bytes


class PsaSignHashResult(Result):
    signature: bytes


class PsaVerifyHash(Operation):
    key_name: str
    alg: Algorithm
    hash_value: bytes
    signature: bytes


class PsaSignMessage(Operation):
    key_name: str
    alg: Algorithm
    message: bytes = secret()


class PsaSignMessageResult(Result):
    signature: bytes


class PsaVerifyMessage(Operation):
    key_name: str
    alg: Algorithm
    message: bytes = secret()
    signature: bytes


# Encryption


class PsaAsymmetricEncrypt(Operation):
    """``salt`` is OAEP's label; empty means none."""

    key_name: str
    alg: Algorithm
    plaintext: bytes = secret()
    salt: bytes = b""


class PsaAsymmetricEncryptResult(Result):
    ciphertext: bytes


class PsaAsymmetricDecrypt(Operation):
    """``salt`` is OAEP's label; empty means none."""

    key_name: str
    alg: Algorithm
    ciphertext: bytes
    salt: bytes = b""


class PsaAsymmetricDecryptResult(Result):
    plaintext: bytes = secret()


class PsaAeadEncrypt(Operation):
    key_name: str
    alg: Algorithm
    nonce: bytes
    additional_data: bytes
    plaintext: bytes = secret()


class PsaAeadEncryptResult(Result):
    ciphertext: bytes


class PsaAeadDecrypt(Operation):
    key_name: str
    alg: Algorithm
    nonce: bytes
    additional_data: bytes
    ciphertext: bytes


class PsaAeadDecryptResult(Result):
    plaintext: bytes = secret()


class PsaCipherEncrypt(Operation):
    key_name: str
    alg: Algorithm
    plaintext: bytes = secret()


class PsaCipherEncryptResult(Result):
    ciphertext: bytes


class PsaCipherDecrypt(Operation):
    key_name: str
    alg: Algorithm
    ciphertext: bytes


class PsaCipherDecryptResult(Result):
    plaintext: bytes = secret()


# MAC, hash, key agreement, random


class PsaMacCompute(Operation):
    key_name: str
    alg: Algorithm
    input: bytes = secret()


class PsaMacComputeResult(Result):
    mac: bytes


class PsaMacVerify(Operation):
    key_name: str
    alg: Algorithm
    input: bytes = secret()
    mac: bytes


class PsaHashCompute(Operation):
    alg: Hash
    input: bytes = secret()


class PsaHashComputeResult(Result):
    hash_value: bytes


class PsaHashCompare(Operation):
    alg: Hash
    input: bytes = secret()
    hash_value: bytes


class PsaRawKeyAgreement(Operation):
    alg: Algorithm
    private_key_name: str
    peer_key: bytes


class PsaRawKeyAgreementResult(Result):
    shared_secret: bytes = secret()


class PsaGenerateRandom(Operation):
    size: int


class PsaGenerateRandomResult(Result):
    random_bytes: bytes = secret()


class CanDoCrypto(Operation):
    check_type: CheckType
    attributes: KeyAttributes


# Attestation (mechanism ActivateCredential, the contract's only one)


class PrepareKeyAttestation(Operation):
    """Both names lie inside the mechanism here; an empty attesting name means the TPM's endorsement key."""

    attested_key_name: str
    attesting_key_name: str


class PrepareKeyAttestationResult(Result):
    """``name`` is a TPM2B_NAME's content, ``public`` a TPMT_PUBLIC, ``attesting_key_pub`` a PKCS#1 RSAPublicKey."""

    name: bytes
    public: bytes
    attesting_key_pub: bytes


class AttestKey(Operation):
    """Both names lie outside the mechanism here."""

    attested_key_name: str
    attesting_key_name: str
    credential_blob: bytes
    secret: bytes = secret()


class AttestKeyResult(Result):
    credential: bytes = secret()


# Beyond Parsec's contract: protected storage and initial attestation (PSA Secure Storage 1.0, PSA Attestation 2.0)


class StorageSet(Operation):
    """Make the object, or replace what is in it. ``create_flags`` is psa_storage_create_flags_t; 1 means write-once."""

    object_name: str
    data: bytes = secret()
    create_flags: int = 0


class StorageGet(Operation):
    """At most ``data_size`` bytes from ``data_offset``; 0 stands for all that there are."""

    object_name: str
    data_offset: int = 0
    data_size: int = 0


class StorageGetResult(Result):
    data: bytes = secret()


class StorageInfo(Operation):
    object_name: str


class StorageInfoResult(Result):
    """psa_storage_info_t, sizes in bytes."""

    capacity: int
    size: int
    flags: int


class StorageRemove(Operation):
    object_name: str


class StoredObject(Record):
    provider_id: int
    name: str


class StorageList(Operation):
    pass


class StorageListResult(Result):
    objects: tuple[StoredObject, ...]


class AttestationToken(Operation):
    """``challenge`` has 32, 48 or 64 bytes."""

    challenge: bytes


class AttestationTokenResult(Result):
    """``token`` is a COSE_Sign1 with the claims of RFC 9783; of a TPM a map with a quote."""

    token: bytes


class KeyStatement(Operation):
    """``challenge`` has 32, 48 or 64 bytes."""

    key_name: str
    challenge: bytes


class KeyStatementResult(Result):
    """``statement`` is a COSE_Sign1 with RFC 9783's claims and one on the key; of a TPM a map with a certificate."""

    statement: bytes
