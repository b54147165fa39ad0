"""Write the seeds of the wire target: a request for every operation, and requests that are refused in every way.

Run ``python fuzz/make_corpus.py`` from the root with ``src`` on the path; the files are the same each time.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags
from edgeroot.wire import operations as ops
from edgeroot.wire.codec import encode_operation
from edgeroot.wire.framing import encode_request
from edgeroot.wire.header import FLAG_EXTENDED
from edgeroot.wire.opcodes import BY_OPERATION, FIRST_EXTENSION, Opcode

CORPUS: Final = Path(__file__).resolve().parent / "corpus/wire"
ECDSA: Final = Algorithm.ecdsa(Hash.SHA_256)
MAC: Final = Algorithm.hmac(Hash.SHA_256).truncated_mac(16)
ATTRIBUTES: Final = KeyAttributes(
    key_type=KeyType.ecc_key_pair(EccFamily.SECP_R1),
    key_bits=256,
    usage=UsageFlags.SIGN_HASH | UsageFlags.SIGN_MESSAGE,
    algorithm=Algorithm.ecdsa(Hash.ANY),
)
EXCHANGE: Final = KeyAttributes(
    key_type=KeyType.ecc_key_pair(EccFamily.MONTGOMERY),
    key_bits=255,
    usage=UsageFlags.DERIVE,
    algorithm=Algorithm.key_agreement(Algorithm.ECDH, Algorithm.hkdf(Hash.SHA_512)),
)
OPERATIONS: Final[tuple[ops.Operation, ...]] = (
    ops.Ping(),
    ops.ListProviders(),
    ops.ListOpcodes(1),
    ops.ListAuthenticators(),
    ops.ListKeys(),
    ops.ListClients(),
    ops.DeleteClient("app"),
    ops.PsaGenerateKey("key", ATTRIBUTES),
    ops.PsaImportKey("key", EXCHANGE, bytes(32)),
    ops.PsaDestroyKey("key"),
    ops.PsaExportKey("key"),
    ops.PsaExportPublicKey("key"),
    ops.PsaSignHash("key", ECDSA, bytes(32)),
    ops.PsaVerifyHash("key", ECDSA, bytes(32), bytes(64)),
    ops.PsaSignMessage("key", Algorithm.rsa_pss(Hash.SHA_384), b"message"),
    ops.PsaVerifyMessage("key", Algorithm.ECDSA_ANY, b"message", bytes(64)),
    ops.PsaAsymmetricEncrypt("key", Algorithm.rsa_oaep(Hash.SHA_256), b"plaintext", b"label"),
    ops.PsaAsymmetricDecrypt("key", Algorithm.RSA_PKCS1V15_CRYPT, bytes(256)),
    ops.PsaAeadEncrypt("key", Algorithm.GCM, bytes(12), b"data", b"plaintext"),
    ops.PsaAeadDecrypt("key", Algorithm.CCM.with_tag_length(8), bytes(13), b"", bytes(24)),
    ops.PsaCipherEncrypt("key", Algorithm.CBC_PKCS7, b"plaintext"),
    ops.PsaCipherDecrypt("key", Algorithm.CTR, bytes(32)),
    ops.PsaMacCompute("key", MAC, b"input"),
    ops.PsaMacVerify("key", Algorithm.CMAC, b"input", bytes(16)),
    ops.PsaHashCompute(Hash.SHA3_256, b"input"),
    ops.PsaHashCompare(Hash.SHA_1, b"input", bytes(20)),
    ops.PsaRawKeyAgreement(Algorithm.ECDH, "key", bytes(65)),
    ops.PsaGenerateRandom(16),
    ops.CanDoCrypto(ops.CheckType.GENERATE, ATTRIBUTES),
    ops.PrepareKeyAttestation("key", ""),
    ops.AttestKey("key", "", bytes(8), bytes(9)),
    ops.StorageSet("object", b"secret", 1),
    ops.StorageGet("object", 1, 2),
    ops.StorageInfo("object"),
    ops.StorageRemove("object"),
    ops.StorageList(),
    ops.AttestationToken(bytes(32)),
    ops.KeyStatement("key", bytes(32)),
)


def request(opcode: int, body: bytes, *, flags: int = 0) -> bytes:
    """A request to provider 1 of application ``app``."""
    return encode_request(opcode=opcode, provider=1, body=body, auth_type=1, auth=b"app", flags=flags)


def _request_for(operation: ops.Operation) -> bytes:
    opcode = BY_OPERATION[type(operation)].opcode
    flags = FLAG_EXTENDED if opcode >= FIRST_EXTENSION else 0
    return request(opcode, encode_operation(operation), flags=flags)


def patched(message: bytes, offset: int, replacement: bytes) -> bytes:
    """``message`` with other bytes at ``offset``."""
    return message[:offset] + replacement + message[offset + len(replacement) :]


def seeds() -> dict[str, bytes]:
    """Every seed by its file name."""
    files = {type(operation).__name__: _request_for(operation) for operation in OPERATIONS}
    ping = request(Opcode.PING, b"")
    sign = files["PsaSignHash"]
    return files | {
        "empty": b"",
        "half-magic": ping[:2],
        "half-header": ping[:20],
        "half-body": sign[:50],
        "two-requests": ping + sign,
        "flags": request(Opcode.PING, b"", flags=3),
        "wrong-magic": patched(ping, 0, b"HTTP"),
        "short-header-size": patched(ping, 4, struct.pack("<H", 8)),
        "long-header-size": patched(ping, 4, struct.pack("<H", 31)),
        "wrong-version": patched(ping, 6, b"\x02"),
        "reserved": patched(ping, 35, b"\x01"),
        "huge-body": patched(ping, 22, b"\xff\xff\xff\xff"),
        "content-type": patched(ping, 19, b"\x01"),
        "accept-type": patched(ping, 20, b"\x01"),
        "auth-type": patched(ping, 21, b"\x05"),
        "extension-without-its-flag": request(Opcode.STORAGE_LIST, b""),
        "unknown-opcode": patched(ping, 28, b"\x1d"),
        "unknown-provider": patched(ping, 10, b"\x06"),
        "truncated-protobuf": request(Opcode.PSA_SIGN_HASH, b"\x0a\x7f"),
        "not-utf8": request(Opcode.PSA_DESTROY_KEY, b"\x0a\x01\xff"),
        "deep-groups": request(Opcode.PSA_DESTROY_KEY, b"\x0b" * 500),
        "no-algorithm": request(Opcode.PSA_SIGN_HASH, b"\x0a\x01k"),
        "hash-none": request(Opcode.PSA_HASH_COMPUTE, b"\x08\x00"),
        "tag-too-long": request(Opcode.PSA_AEAD_ENCRYPT, b"\x12\x06\x12\x04\x08\x02\x10\x40"),
    }


if __name__ == "__main__":
    CORPUS.mkdir(parents=True, exist_ok=True)
    for name, content in seeds().items():
        (CORPUS / name).write_bytes(content)
