"""One typed request and one typed result for every operation of the Parsec contract.

Field names are the contract's, with two exceptions that avoid a clash with Python: the hash to be signed is
``hash_value`` and algorithms are ``alg`` throughout. Bytes fields have the formats of the Parsec book ("Operations"):
RSA keys are PKCS#1 DER, ECC public keys SEC1 uncompressed points, ECDSA signatures raw r || s, AEAD ciphertexts carry
their tag at the end, cipher texts their IV in front.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from edgeroot.psa import Algorithm, Hash, KeyAttributes


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


class Operation:
    """Base of every request."""

    __slots__ = ()


class Result:
    """Base of every result; operations that answer nothing share :class:`Empty`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Empty(Result):
    """The result without fields."""


# Core operations


@dataclass(frozen=True, slots=True)
class Ping(Operation):
    pass


@dataclass(frozen=True, slots=True)
class PingResult(Result):
    wire_protocol_version_maj: int
    wire_protocol_version_min: int


@dataclass(frozen=True, slots=True)
class ProviderInfo:
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


@dataclass(frozen=True, slots=True)
class ListProviders(Operation):
    pass


@dataclass(frozen=True, slots=True)
class ListProvidersResult(Result):
    providers: tuple[ProviderInfo, ...]


@dataclass(frozen=True, slots=True)
class ListOpcodes(Operation):
    provider_id: int


@dataclass(frozen=True, slots=True)
class ListOpcodesResult(Result):
    opcodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AuthenticatorInfo:
    description: str
    version_maj: int
    version_min: int
    version_rev: int
    id: int


@dataclass(frozen=True, slots=True)
class ListAuthenticators(Operation):
    pass


@dataclass(frozen=True, slots=True)
class ListAuthenticatorsResult(Result):
    authenticators: tuple[AuthenticatorInfo, ...]


@dataclass(frozen=True, slots=True)
class KeyInfo:
    provider_id: int
    name: str
    attributes: KeyAttributes


@dataclass(frozen=True, slots=True)
class ListKeys(Operation):
    pass


@dataclass(frozen=True, slots=True)
class ListKeysResult(Result):
    keys: tuple[KeyInfo, ...]


@dataclass(frozen=True, slots=True)
class ListClients(Operation):
    pass


@dataclass(frozen=True, slots=True)
class ListClientsResult(Result):
    clients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeleteClient(Operation):
    client: str


# Key management


@dataclass(frozen=True, slots=True)
class PsaGenerateKey(Operation):
    key_name: str
    attributes: KeyAttributes


@dataclass(frozen=True, slots=True)
class PsaImportKey(Operation):
    key_name: str
    attributes: KeyAttributes
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PsaDestroyKey(Operation):
    key_name: str


@dataclass(frozen=True, slots=True)
class PsaExportKey(Operation):
    key_name: str


@dataclass(frozen=True, slots=True)
class PsaExportKeyResult(Result):
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PsaExportPublicKey(Operation):
    key_name: str


@dataclass(frozen=True, slots=True)
class PsaExportPublicKeyResult(Result):
    data: bytes


# Signatures


@dataclass(frozen=True, slots=True)
class PsaSignHash(Operation):
    key_name: str
    alg: Algorithm
    hash_value: bytes


@dataclass(frozen=True, slots=True)
class PsaSignHashResult(Result):
    signature: bytes


@dataclass(frozen=True, slots=True)
class PsaVerifyHash(Operation):
    key_name: str
    alg: Algorithm
    hash_value: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class PsaSignMessage(Operation):
    key_name: str
    alg: Algorithm
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PsaSignMessageResult(Result):
    signature: bytes


@dataclass(frozen=True, slots=True)
class PsaVerifyMessage(Operation):
    key_name: str
    alg: Algorithm
    message: bytes = field(repr=False)
    signature: bytes


# Encryption


@dataclass(frozen=True, slots=True)
class PsaAsymmetricEncrypt(Operation):
    """``salt`` is OAEP's label; empty means none."""

    key_name: str
    alg: Algorithm
    plaintext: bytes = field(repr=False)
    salt: bytes = b""


@dataclass(frozen=True, slots=True)
class PsaAsymmetricEncryptResult(Result):
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class PsaAsymmetricDecrypt(Operation):
    """``salt`` is OAEP's label; empty means none."""

    key_name: str
    alg: Algorithm
    ciphertext: bytes
    salt: bytes = b""


@dataclass(frozen=True, slots=True)
class PsaAsymmetricDecryptResult(Result):
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PsaAeadEncrypt(Operation):
    key_name: str
    alg: Algorithm
    nonce: bytes
    additional_data: bytes
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PsaAeadEncryptResult(Result):
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class PsaAeadDecrypt(Operation):
    key_name: str
    alg: Algorithm
    nonce: bytes
    additional_data: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class PsaAeadDecryptResult(Result):
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PsaCipherEncrypt(Operation):
    key_name: str
    alg: Algorithm
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PsaCipherEncryptResult(Result):
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class PsaCipherDecrypt(Operation):
    key_name: str
    alg: Algorithm
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class PsaCipherDecryptResult(Result):
    plaintext: bytes = field(repr=False)


# MAC, hash, key agreement, random


@dataclass(frozen=True, slots=True)
class PsaMacCompute(Operation):
    key_name: str
    alg: Algorithm
    input: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PsaMacComputeResult(Result):
    mac: bytes


@dataclass(frozen=True, slots=True)
class PsaMacVerify(Operation):
    key_name: str
    alg: Algorithm
    input: bytes = field(repr=False)
    mac: bytes


@dataclass(frozen=True, slots=True)
class PsaHashCompute(Operation):
    alg: Hash
    input: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PsaHashComputeResult(Result):
    hash_value: bytes


@dataclass(frozen=True, slots=True)
class PsaHashCompare(Operation):
    alg: Hash
    input: bytes = field(repr=False)
    hash_value: bytes


@dataclass(frozen=True, slots=True)
class PsaRawKeyAgreement(Operation):
    alg: Algorithm
    private_key_name: str
    peer_key: bytes


@dataclass(frozen=True, slots=True)
class PsaRawKeyAgreementResult(Result):
    shared_secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PsaGenerateRandom(Operation):
    size: int


@dataclass(frozen=True, slots=True)
class PsaGenerateRandomResult(Result):
    random_bytes: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CanDoCrypto(Operation):
    check_type: CheckType
    attributes: KeyAttributes


# Attestation (mechanism ActivateCredential, the contract's only one)


@dataclass(frozen=True, slots=True)
class PrepareKeyAttestation(Operation):
    """Both names lie inside the mechanism here; an empty attesting name means the TPM's endorsement key."""

    attested_key_name: str
    attesting_key_name: str


@dataclass(frozen=True, slots=True)
class PrepareKeyAttestationResult(Result):
    """``name`` is a TPM2B_NAME's content, ``public`` a TPMT_PUBLIC, ``attesting_key_pub`` a PKCS#1 RSAPublicKey."""

    name: bytes
    public: bytes
    attesting_key_pub: bytes


@dataclass(frozen=True, slots=True)
class AttestKey(Operation):
    """Both names lie outside the mechanism here."""

    attested_key_name: str
    attesting_key_name: str
    credential_blob: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AttestKeyResult(Result):
    credential: bytes = field(repr=False)
