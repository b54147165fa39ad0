"""The one table of operations: number, kind, whether an identity is needed, request and result types."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from edgeroot.wire import operations as ops

FIRST_EXTENSION: Final = 0x1000
"""Opcodes from here on exist for extended requests only."""


class Opcode(IntEnum):
    """Operation numbers: the Parsec contract's (0x1D is unassigned), and from 0x1000 those of extensions."""

    PING = 0x01
    PSA_GENERATE_KEY = 0x02
    PSA_DESTROY_KEY = 0x03
    PSA_SIGN_HASH = 0x04
    PSA_VERIFY_HASH = 0x05
    PSA_IMPORT_KEY = 0x06
    PSA_EXPORT_PUBLIC_KEY = 0x07
    LIST_PROVIDERS = 0x08
    LIST_OPCODES = 0x09
    PSA_ASYMMETRIC_ENCRYPT = 0x0A
    PSA_ASYMMETRIC_DECRYPT = 0x0B
    PSA_EXPORT_KEY = 0x0C
    PSA_GENERATE_RANDOM = 0x0D
    LIST_AUTHENTICATORS = 0x0E
    PSA_HASH_COMPUTE = 0x0F
    PSA_HASH_COMPARE = 0x10
    PSA_AEAD_ENCRYPT = 0x11
    PSA_AEAD_DECRYPT = 0x12
    PSA_RAW_KEY_AGREEMENT = 0x13
    PSA_CIPHER_ENCRYPT = 0x14
    PSA_CIPHER_DECRYPT = 0x15
    PSA_MAC_COMPUTE = 0x16
    PSA_MAC_VERIFY = 0x17
    PSA_SIGN_MESSAGE = 0x18
    PSA_VERIFY_MESSAGE = 0x19
    LIST_KEYS = 0x1A
    LIST_CLIENTS = 0x1B
    DELETE_CLIENT = 0x1C
    ATTEST_KEY = 0x1E
    PREPARE_KEY_ATTESTATION = 0x1F
    CAN_DO_CRYPTO = 0x20
    STORAGE_SET = 0x1001
    STORAGE_GET = 0x1002
    STORAGE_INFO = 0x1003
    STORAGE_REMOVE = 0x1004
    STORAGE_LIST = 0x1005
    ATTESTATION_TOKEN = 0x1011
    KEY_STATEMENT = 0x1012

    @property
    def display_name(self) -> str:
        """The name that upstream's documentation and tools use, such as ``PsaSignHash``."""
        return SPECS[self].operation.__name__


class OperationSpec(NamedTuple):
    """What the pipeline and the clients need to know of an operation before they look into its body."""

    opcode: Opcode
    operation: type[ops.Operation]
    result: type[ops.Result]
    core: bool = False  # served by the core provider (id 0), all others by crypto providers
    admin: bool = False
    needs_identity: bool = True
    listed_to_all: bool = True  # upstream's clients refuse a whole ListOpcodes answer with a number they do not know


_TABLE: Final = (
    OperationSpec(Opcode.PING, ops.Ping, ops.PingResult, core=True, needs_identity=False),
    OperationSpec(Opcode.LIST_PROVIDERS, ops.ListProviders, ops.ListProvidersResult, core=True, needs_identity=False),
    OperationSpec(Opcode.LIST_OPCODES, ops.ListOpcodes, ops.ListOpcodesResult, core=True, needs_identity=False),
    OperationSpec(
        Opcode.LIST_AUTHENTICATORS,
        ops.ListAuthenticators,
        ops.ListAuthenticatorsResult,
        core=True,
        needs_identity=False,
    ),
    OperationSpec(Opcode.LIST_KEYS, ops.ListKeys, ops.ListKeysResult, core=True),
    OperationSpec(Opcode.LIST_CLIENTS, ops.ListClients, ops.ListClientsResult, core=True, admin=True),
    OperationSpec(Opcode.DELETE_CLIENT, ops.DeleteClient, ops.Empty, core=True, admin=True),
    OperationSpec(Opcode.PSA_GENERATE_KEY, ops.PsaGenerateKey, ops.Empty),
    OperationSpec(Opcode.PSA_IMPORT_KEY, ops.PsaImportKey, ops.Empty),
    OperationSpec(Opcode.PSA_DESTROY_KEY, ops.PsaDestroyKey, ops.Empty),
    OperationSpec(Opcode.PSA_EXPORT_KEY, ops.PsaExportKey, ops.PsaExportKeyResult),
    OperationSpec(Opcode.PSA_EXPORT_PUBLIC_KEY, ops.PsaExportPublicKey, ops.PsaExportPublicKeyResult),
    OperationSpec(Opcode.PSA_SIGN_HASH, ops.PsaSignHash, ops.PsaSignHashResult),
    OperationSpec(Opcode.PSA_VERIFY_HASH, ops.PsaVerifyHash, ops.Empty),
    OperationSpec(Opcode.PSA_SIGN_MESSAGE, ops.PsaSignMessage, ops.PsaSignMessageResult),
    OperationSpec(Opcode.PSA_VERIFY_MESSAGE, ops.PsaVerifyMessage, ops.Empty),
    OperationSpec(Opcode.PSA_ASYMMETRIC_ENCRYPT, ops.PsaAsymmetricEncrypt, ops.PsaAsymmetricEncryptResult),
    OperationSpec(Opcode.PSA_ASYMMETRIC_DECRYPT, ops.PsaAsymmetricDecrypt, ops.PsaAsymmetricDecryptResult),
    OperationSpec(Opcode.PSA_AEAD_ENCRYPT, ops.PsaAeadEncrypt, ops.PsaAeadEncryptResult),
    OperationSpec(Opcode.PSA_AEAD_DECRYPT, ops.PsaAeadDecrypt, ops.PsaAeadDecryptResult),
    OperationSpec(Opcode.PSA_CIPHER_ENCRYPT, ops.PsaCipherEncrypt, ops.PsaCipherEncryptResult),
    OperationSpec(Opcode.PSA_CIPHER_DECRYPT, ops.PsaCipherDecrypt, ops.PsaCipherDecryptResult),
    OperationSpec(Opcode.PSA_MAC_COMPUTE, ops.PsaMacCompute, ops.PsaMacComputeResult, listed_to_all=False),
    OperationSpec(Opcode.PSA_MAC_VERIFY, ops.PsaMacVerify, ops.Empty, listed_to_all=False),
    OperationSpec(Opcode.PSA_HASH_COMPUTE, ops.PsaHashCompute, ops.PsaHashComputeResult, needs_identity=False),
    OperationSpec(Opcode.PSA_HASH_COMPARE, ops.PsaHashCompare, ops.Empty, needs_identity=False),
    OperationSpec(Opcode.PSA_RAW_KEY_AGREEMENT, ops.PsaRawKeyAgreement, ops.PsaRawKeyAgreementResult),
    OperationSpec(Opcode.PSA_GENERATE_RANDOM, ops.PsaGenerateRandom, ops.PsaGenerateRandomResult, needs_identity=False),
    OperationSpec(Opcode.CAN_DO_CRYPTO, ops.CanDoCrypto, ops.Empty),
    OperationSpec(Opcode.PREPARE_KEY_ATTESTATION, ops.PrepareKeyAttestation, ops.PrepareKeyAttestationResult),
    OperationSpec(Opcode.ATTEST_KEY, ops.AttestKey, ops.AttestKeyResult),
    OperationSpec(Opcode.STORAGE_SET, ops.StorageSet, ops.Empty, listed_to_all=False),
    OperationSpec(Opcode.STORAGE_GET, ops.StorageGet, ops.StorageGetResult, listed_to_all=False),
    OperationSpec(Opcode.STORAGE_INFO, ops.StorageInfo, ops.StorageInfoResult, listed_to_all=False),
    OperationSpec(Opcode.STORAGE_REMOVE, ops.StorageRemove, ops.Empty, listed_to_all=False),
    OperationSpec(Opcode.STORAGE_LIST, ops.StorageList, ops.StorageListResult, core=True, listed_to_all=False),
    OperationSpec(Opcode.ATTESTATION_TOKEN, ops.AttestationToken, ops.AttestationTokenResult, listed_to_all=False),
    OperationSpec(Opcode.KEY_STATEMENT, ops.KeyStatement, ops.KeyStatementResult, listed_to_all=False),
)
SPECS: Final[dict[int, OperationSpec]] = {spec.opcode: spec for spec in _TABLE}
BY_OPERATION: Final[dict[type[ops.Operation], OperationSpec]] = {spec.operation: spec for spec in _TABLE}
