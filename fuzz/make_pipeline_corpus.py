"""Write the seeds of the pipeline target: what clients do with each kind of key, several requests to a seed.

Run ``python fuzz/make_pipeline_corpus.py`` from the root with ``src`` on the path; the files are the same each time.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from edgeroot.psa import Algorithm, Hash
from edgeroot.wire import operations as ops
from edgeroot.wire.codec import encode_operation
from edgeroot.wire.framing import encode_request
from edgeroot.wire.header import FLAG_EXTENDED, FLAG_KEEP
from edgeroot.wire.opcodes import BY_OPERATION, SPECS
from fuzz.fuzz_pipeline import APPLICATION, SECOND_PROVIDER, UID, key_kinds

CORPUS: Final = Path(__file__).resolve().parent / "corpus/pipeline"
ES256: Final = Algorithm.ecdsa(Hash.SHA_256)
DETERMINISTIC: Final = Algorithm.deterministic_ecdsa(Hash.SHA_384)
RS256: Final = Algorithm.rsa_pkcs1v15_sign(Hash.SHA_256)
PSS: Final = Algorithm.rsa_pss(Hash.SHA_256)
OAEP: Final = Algorithm.rsa_oaep(Hash.SHA_256)
CRYPT: Final = Algorithm.RSA_PKCS1V15_CRYPT
CCM8: Final = Algorithm.CCM.with_tag_length(8)
HS256: Final = Algorithm.hmac(Hash.SHA_256)
P256_POINT: Final = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)

SEQUENCES: Final[dict[str, tuple[ops.Operation, ...]]] = {
    "life": (
        ops.PsaGenerateKey("new", key_kinds()["key"]),
        ops.PsaGenerateKey("new", key_kinds()["key"]),
        ops.PsaSignHash("new", ES256, bytes(32)),
        ops.PsaExportPublicKey("new"),
        ops.PsaExportKey("new"),
        ops.ListKeys(),
        ops.PsaDestroyKey("new"),
        ops.PsaDestroyKey("new"),
    ),
    "import": (
        ops.PsaImportKey("new", key_kinds()["gcm"], bytes(range(32))),
        ops.PsaAeadEncrypt("new", Algorithm.GCM, bytes(12), b"data", b"plaintext"),
        ops.PsaImportKey("ec", key_kinds()["key"], bytes(31) + b"\1"),
        ops.PsaExportKey("ec"),
        ops.PsaImportKey("short", key_kinds()["gcm"], bytes(31)),
    ),
    "sign": (
        ops.PsaSignMessage("key", ES256, b"message"),
        ops.PsaVerifyMessage("key", ES256, b"message", bytes(64)),
        ops.PsaVerifyHash("key", ES256, bytes(32), bytes(64)),
        ops.PsaSignHash("det", DETERMINISTIC, bytes(48)),
        ops.PsaSignHash("rsa-sign", RS256, bytes(32)),
        ops.PsaVerifyHash("rsa-sign", RS256, bytes(32), bytes(128)),
        ops.PsaSignHash("rsa-pss", PSS, bytes(32)),
        ops.PsaVerifyHash("rsa-pss", PSS, bytes(32), bytes(128)),
    ),
    "asymmetric": (
        ops.PsaAsymmetricEncrypt("rsa-crypt", CRYPT, b"plaintext"),
        ops.PsaAsymmetricDecrypt("rsa-crypt", CRYPT, bytes(128)),
        ops.PsaAsymmetricEncrypt("rsa-oaep", OAEP, b"plaintext", b"label"),
        ops.PsaAsymmetricDecrypt("rsa-oaep", OAEP, bytes(128), b"label"),
    ),
    "aead": (
        ops.PsaAeadEncrypt("gcm", Algorithm.GCM, bytes(12), b"", b""),
        ops.PsaAeadDecrypt("gcm", Algorithm.GCM, bytes(12), b"", bytes(16)),
        ops.PsaAeadEncrypt("ccm", CCM8, bytes(13), b"data", b"plaintext"),
        ops.PsaAeadDecrypt("ccm", CCM8, bytes(13), b"data", bytes(17)),
        ops.PsaAeadEncrypt("chacha", Algorithm.CHACHA20_POLY1305, bytes(12), b"data", b"plaintext"),
        ops.PsaAeadDecrypt("chacha", Algorithm.CHACHA20_POLY1305, bytes(12), b"data", bytes(30)),
    ),
    "cipher": (
        ops.PsaCipherEncrypt("ctr", Algorithm.CTR, b"plaintext"),
        ops.PsaCipherDecrypt("ctr", Algorithm.CTR, bytes(20)),
        ops.PsaCipherEncrypt("cbc", Algorithm.CBC_PKCS7, b"plaintext"),
        ops.PsaCipherDecrypt("cbc", Algorithm.CBC_PKCS7, bytes(32)),
    ),
    "mac": (
        ops.PsaMacCompute("hmac", HS256, b"input"),
        ops.PsaMacVerify("hmac", HS256, b"input", bytes(32)),
        ops.PsaMacCompute("cmac", Algorithm.CMAC, b"input"),
        ops.PsaMacVerify("cmac", Algorithm.CMAC, b"input", bytes(16)),
    ),
    "agreement": (
        ops.PsaRawKeyAgreement(Algorithm.ECDH, "ecdh", P256_POINT),
        ops.PsaRawKeyAgreement(Algorithm.ECDH, "x25519", b"\x09" + bytes(31)),
        ops.PsaRawKeyAgreement(Algorithm.ECDH, "x25519", bytes(32)),
    ),
    "keyless": (
        ops.PsaHashCompute(Hash.SHA_256, b"input"),
        ops.PsaHashCompare(Hash.SHA_256, b"input", bytes(32)),
        ops.PsaGenerateRandom(16),
        ops.PsaGenerateRandom(1 << 40),
    ),
    "core": (
        ops.Ping(),
        ops.ListProviders(),
        ops.ListAuthenticators(),
        ops.ListOpcodes(0),
        ops.ListOpcodes(1),
        ops.ListOpcodes(SECOND_PROVIDER),
        ops.ListKeys(),
        ops.ListClients(),
        ops.DeleteClient(APPLICATION),
        ops.ListKeys(),
    ),
    "can-do": tuple(
        ops.CanDoCrypto(check_type, attributes) for check_type in ops.CheckType for attributes in key_kinds().values()
    )[:32],
    "objects": (
        ops.StorageSet("object", b"secret"),
        ops.StorageSet("object", b"another"),
        ops.StorageGet("object"),
        ops.StorageGet("object", 3, 2),
        ops.StorageInfo("object"),
        ops.StorageList(),
        ops.StorageSet("fixed", b"once", 1),
        ops.StorageSet("fixed", b"twice"),
        ops.StorageRemove("fixed"),
        ops.StorageRemove("object"),
        ops.StorageGet("object"),
        ops.AttestationToken(bytes(32)),
        ops.AttestationToken(bytes(1)),
        ops.DeleteClient(APPLICATION),
    ),
    "raw": (ops.PsaExportKey("raw"), ops.PsaExportPublicKey("raw"), ops.PsaSignHash("raw", ES256, bytes(32))),
}


def frame(operation: ops.Operation, *, flags: int = FLAG_KEEP, provider: int = 1, unix: bool = False) -> bytes:
    """A request of the application that has the keys, or of the Unix user who has none."""
    spec = BY_OPERATION[type(operation)]
    return encode_request(
        opcode=spec.opcode,
        provider=0 if spec.core else provider,
        body=encode_operation(operation),
        auth_type=3 if unix else 1,
        auth=struct.pack("<I", UID) if unix else APPLICATION.encode(),
        flags=flags,
    )


def seeds() -> dict[str, bytes]:
    """Every seed by its file name."""
    files = {name: b"".join(map(frame, operations)) for name, operations in SEQUENCES.items()}
    life, core = SEQUENCES["life"], SEQUENCES["core"]
    files["objects"] = b"".join(frame(one, flags=FLAG_KEEP | FLAG_EXTENDED) for one in SEQUENCES["objects"])
    files["life-of-a-user"] = b"".join(frame(operation, unix=True) for operation in life)
    files["life-elsewhere"] = b"".join(
        frame(operation, flags=FLAG_KEEP | FLAG_EXTENDED, provider=SECOND_PROVIDER) for operation in life
    )
    files["core-extended"] = b"".join(frame(operation, flags=FLAG_EXTENDED) for operation in core)
    files["anonymous"] = b"".join(
        encode_request(opcode=opcode, provider=0 if spec.core else 1, body=b"", auth_type=0, auth=b"")
        for opcode, spec in SPECS.items()
    )
    return files


if __name__ == "__main__":
    CORPUS.mkdir(parents=True, exist_ok=True)
    for name, content in seeds().items():
        (CORPUS / name).write_bytes(content)
