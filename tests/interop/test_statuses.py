"""The statuses that clients rely on, each shown once, in upstream's service and in ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.client import templates
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags
from edgeroot.wire import operations as ops
from edgeroot.wire.operations import CheckType
from edgeroot.wire.status import ResponseStatus as Status
from peers import PeersRoot, UpstreamService
from tests.interop.random_operations import ec_key, point, rsa_key, rsa_pair_der, rsa_public_der, scalar
from tests.interop.raw_socket import ask
from tests.support.service import Service, running_service

ES256 = Algorithm.ecdsa(Hash.SHA_256)
ANY = Algorithm.ecdsa(Hash.ANY)
OAEP = Algorithm.rsa_oaep(Hash.SHA_256)
CRYPT = Algorithm.RSA_PKCS1V15_CRYPT
HASH = bytes(32)
EC = ec_key(ec.SECP256R1)
P256 = templates.ecdsa_p256()
ECDH = templates.ecdh()
GCM = templates.aes_gcm()
DES = KeyAttributes(KeyType.DES, 64, UsageFlags.ENCRYPT, Algorithm.NONE)
SHA1 = replace(P256, algorithm=Algorithm.ecdsa(Hash.SHA_1))
EVERYTHING = UsageFlags(0x7F01)

KEYS: dict[str, tuple[KeyAttributes, bytes | None]] = {
    "ec": (P256, None),
    "any": (replace(P256, algorithm=ANY), None),
    "raw": (replace(P256, algorithm=Algorithm.ECDSA_ANY), None),
    "sign only": (replace(P256, usage=UsageFlags.SIGN_HASH), None),
    "no use": (replace(P256, usage=UsageFlags.NONE), None),
    "unlike": (replace(P256, algorithm=Algorithm.GCM, usage=EVERYTHING), None),
    "no algorithm": (replace(P256, algorithm=Algorithm.NONE, usage=EVERYTHING), None),
    "ec public": (
        replace(P256, key_type=KeyType.ecc_public_key(EccFamily.SECP_R1), usage=UsageFlags.VERIFY_HASH),
        point(EC),
    ),
    "exportable": (templates.ecdsa_p256(exportable=True), scalar(EC)),
    "gcm": (GCM, bytes(32)),
    "crypt": (templates.rsa_pkcs1v15_crypt(1024), rsa_pair_der(rsa_key(1024))),
    "oaep": (templates.rsa_oaep(1024), rsa_pair_der(rsa_key(1024))),
    "rsa public": (
        replace(templates.rsa_oaep(1024), key_type=KeyType.RSA_PUBLIC_KEY, usage=UsageFlags.ENCRYPT),
        rsa_public_der(rsa_key(1024)),
    ),
    "ecdh": (ECDH, None),
}


class Row(NamedTuple):
    operation: ops.Operation
    status: Status
    why: str


OK = Status.SUCCESS
GONE, TAKEN = Status.PSA_ERROR_DOES_NOT_EXIST, Status.PSA_ERROR_ALREADY_EXISTS
NOT_PERMITTED, INVALID = Status.PSA_ERROR_NOT_PERMITTED, Status.PSA_ERROR_INVALID_ARGUMENT
UNSUPPORTED, WRONG = Status.PSA_ERROR_NOT_SUPPORTED, Status.PSA_ERROR_INVALID_SIGNATURE


def sign(key_name: str, alg: Algorithm = ES256, hash_value: bytes = HASH) -> ops.PsaSignHash:
    return ops.PsaSignHash(key_name, alg, hash_value)


def seal(key_name: str, nonce: bytes = bytes(12), plaintext: bytes = b"p") -> ops.PsaAeadEncrypt:
    return ops.PsaAeadEncrypt(key_name, Algorithm.GCM, nonce, b"", plaintext)


def can(check_type: CheckType, attributes: KeyAttributes, **changes: object) -> ops.CanDoCrypto:
    return ops.CanDoCrypto(check_type, replace(attributes, **changes))  # type: ignore[arg-type] # a field's value


ROWS = [
    # Existence, then usage, then policy, then type, then sizes.
    Row(sign("nothing"), GONE, "no such key"),
    Row(sign("no use", Algorithm.rsa_pss(Hash.SHA_256), b""), NOT_PERMITTED, "usage comes first"),
    Row(sign("ec", Algorithm.ecdsa(Hash.SHA_384), bytes(48)), NOT_PERMITTED, "another hash than the policy's"),
    Row(sign("ec", Algorithm.rsa_pss(Hash.SHA_256)), NOT_PERMITTED, "another scheme than the policy's"),
    Row(sign("no algorithm"), NOT_PERMITTED, "a policy without an algorithm permits none"),
    Row(seal("unlike"), NOT_PERMITTED, "a policy that does not fit the key is no argument's fault"),
    Row(sign("ec", ES256, bytes(31)), INVALID, "a hash of another length"),
    Row(sign("ec", ES256, b""), INVALID, "no hash"),
    Row(sign("ec"), OK, "all is right"),
    # The wildcard is for policies.
    Row(sign("any"), OK, "any hash permits this one"),
    Row(sign("any", Algorithm.ecdsa(Hash.SHA_512), bytes(64)), OK, "and that one"),
    Row(sign("any", ANY), NOT_PERMITTED, "but is none itself"),
    Row(sign("ec", ANY), NOT_PERMITTED, "nor for a specific policy"),
    Row(sign("raw", Algorithm.ECDSA_ANY, b""), OK, "without a hash algorithm any bytes are a hash, and so are none"),
    Row(ops.PsaVerifyHash("raw", Algorithm.ECDSA_ANY, b"", bytes(64)), WRONG, "a signature of nobody over nothing"),
    Row(ops.PsaVerifyHash("ec", ES256, HASH, bytes(64)), WRONG, "a signature of nobody"),
    Row(ops.PsaVerifyHash("ec", ES256, HASH, b""), WRONG, "no signature"),
    Row(ops.PsaVerifyHash("sign only", ES256, HASH, bytes(64)), NOT_PERMITTED, "no right to verify"),
    Row(ops.PsaVerifyHash("ec public", ES256, HASH, bytes(64)), WRONG, "with a public key alone"),
    Row(sign("ec public"), NOT_PERMITTED, "no right to sign"),
    # Making and destroying.
    Row(ops.PsaGenerateKey("ec", GCM), TAKEN, "the name is taken"),
    Row(ops.PsaImportKey("ec", GCM, bytes(32)), TAKEN, "for imports too"),
    Row(ops.PsaGenerateKey("x", replace(P256, key_type=KeyType.RSA_PUBLIC_KEY)), INVALID, "half a key"),
    Row(ops.PsaGenerateKey("x", replace(GCM, key_bits=100)), INVALID, "no such size"),
    Row(ops.PsaGenerateKey("x", replace(GCM, key_bits=0)), INVALID, "no size"),
    Row(ops.PsaImportKey("x", GCM, bytes(31)), INVALID, "too short for its size"),
    Row(ops.PsaImportKey("x", GCM, b""), INVALID, "nothing"),
    Row(ops.PsaImportKey("x", P256, bytes(32)), INVALID, "no scalar of the curve"),
    Row(ops.PsaImportKey("x", KEYS["ec public"][0], b"\4" + bytes(64)), INVALID, "no point of the curve"),
    Row(ops.PsaImportKey("x", KEYS["crypt"][0], b"\x30\x00"), INVALID, "no RSA key"),
    Row(ops.PsaImportKey("x", KEYS["rsa public"][0], rsa_pair_der(rsa_key(1024))), INVALID, "a pair as public key"),
    Row(ops.PsaDestroyKey("x"), GONE, "none of these left a key"),
    Row(ops.PsaGenerateKey("", P256), OK, "an empty name is a name"),
    Row(ops.PsaGenerateKey("a/../b\0\U0001f511", P256), OK, "as is any other"),
    Row(ops.PsaDestroyKey(""), OK, "and so they go"),
    Row(ops.PsaDestroyKey("a/../b\0\U0001f511"), OK, "both"),
    # Exporting.
    Row(ops.PsaExportPublicKey("no use"), OK, "a public part needs no right"),
    Row(ops.PsaExportPublicKey("gcm"), INVALID, "where there is one"),
    Row(ops.PsaExportKey("ec"), NOT_PERMITTED, "the key itself does"),
    Row(ops.PsaExportKey("exportable"), OK, "which this one has"),
    Row(ops.PsaExportKey("ec public"), OK, "and public keys do not need"),
    # Encryption.
    Row(ops.PsaAsymmetricEncrypt("crypt", CRYPT, b"p"), OK, "all is right"),
    Row(ops.PsaAsymmetricEncrypt("crypt", CRYPT, b""), INVALID, "nothing to encrypt"),
    Row(ops.PsaAsymmetricEncrypt("crypt", CRYPT, b"p", b"label"), INVALID, "a label for PKCS#1 v1.5"),
    Row(ops.PsaAsymmetricEncrypt("crypt", CRYPT, bytes(118)), INVALID, "too long"),
    Row(ops.PsaAsymmetricEncrypt("crypt", OAEP, b"p"), NOT_PERMITTED, "not the policy's"),
    Row(ops.PsaAsymmetricEncrypt("oaep", OAEP, b"p", b"label"), OK, "a label for OAEP"),
    Row(ops.PsaAsymmetricEncrypt("rsa public", OAEP, b"p"), OK, "with a public key alone"),
    Row(ops.PsaAsymmetricDecrypt("rsa public", OAEP, bytes(128)), NOT_PERMITTED, "which decrypts nothing"),
    Row(ops.PsaAsymmetricDecrypt("oaep", OAEP, b"\1" + bytes(127)), Status.PSA_ERROR_INVALID_PADDING, "nonsense"),
    Row(ops.PsaAsymmetricDecrypt("oaep", OAEP, bytes(127)), INVALID, "nonsense of a wrong length"),
    Row(ops.PsaAsymmetricDecrypt("oaep", OAEP, b""), INVALID, "nothing to decrypt"),
    Row(seal("gcm"), OK, "all is right"),
    Row(seal("gcm", nonce=b""), INVALID, "no nonce"),
    Row(ops.PsaAeadDecrypt("gcm", Algorithm.GCM, bytes(12), b"", bytes(17)), WRONG, "a wrong tag"),
    Row(ops.PsaAeadDecrypt("gcm", Algorithm.GCM, bytes(12), b"", bytes(15)), INVALID, "half a tag"),
    Row(ops.PsaAeadDecrypt("gcm", Algorithm.GCM, bytes(12), b"", b""), INVALID, "nothing to decrypt"),
    Row(ops.PsaAeadEncrypt("gcm", Algorithm.CCM, bytes(12), b"", b"p"), NOT_PERMITTED, "not the policy's"),
    # The rest.
    Row(ops.PsaRawKeyAgreement(Algorithm.ECDH, "ecdh", point(EC)), OK, "all is right"),
    Row(ops.PsaRawKeyAgreement(Algorithm.ECDH, "ecdh", point(EC)[:-1]), INVALID, "not a point"),
    Row(ops.PsaRawKeyAgreement(Algorithm.ECDH, "ecdh", b"\4" + bytes(64)), INVALID, "not on the curve"),
    Row(ops.PsaRawKeyAgreement(Algorithm.ECDH, "ec", point(EC)), NOT_PERMITTED, "a key for signing"),
    Row(ops.PsaRawKeyAgreement(Algorithm.FFDH, "ecdh", point(EC)), NOT_PERMITTED, "not the policy's"),
    Row(ops.PsaHashCompute(Hash.MD5, b""), OK, "old hashes may be computed"),
    Row(ops.PsaHashCompute(Hash.MD2, b""), UNSUPPORTED, "unless they are too old"),
    Row(ops.PsaHashCompare(Hash.SHA_256, b"", HASH), WRONG, "another hash"),
    Row(ops.PsaGenerateRandom(0), OK, "no random bytes"),
    Row(can(CheckType.GENERATE, P256), OK, "a key that can be made"),
    Row(can(CheckType.IMPORT, P256), OK, "or imported"),
    Row(can(CheckType.USE, P256), OK, "or used"),
    Row(can(CheckType.GENERATE, P256, algorithm=Algorithm.NONE), OK, "for no use"),
    Row(can(CheckType.USE, P256, algorithm=Algorithm.NONE), UNSUPPORTED, "not for use without an algorithm"),
    Row(can(CheckType.USE, P256, usage=UsageFlags.NONE), UNSUPPORTED, "nor without a right"),
    Row(can(CheckType.USE, P256, usage=UsageFlags.EXPORT), UNSUPPORTED, "export is no use"),
    Row(can(CheckType.USE, ECDH, usage=UsageFlags.DERIVE), UNSUPPORTED, "nor is derivation alone"),
    Row(can(CheckType.USE, ECDH, usage=EVERYTHING), OK, "with others it is"),
    Row(can(CheckType.USE, P256, algorithm=Algorithm.GCM), UNSUPPORTED, "an algorithm that does not fit"),
    Row(can(CheckType.DERIVE, P256), UNSUPPORTED, "never"),
    Row(can(CheckType.GENERATE, KEYS["ec public"][0]), UNSUPPORTED, "half a key"),
    Row(can(CheckType.IMPORT, KEYS["ec public"][0]), OK, "can be imported"),
    Row(can(CheckType.GENERATE, KEYS["crypt"][0], key_bits=0), UNSUPPORTED, "RSA of no size"),
    Row(can(CheckType.GENERATE, KEYS["crypt"][0], key_bits=1001), UNSUPPORTED, "RSA of an odd size"),
]

# Of the contract, but of none of upstream's software: only ours is asked.
CTR, CBC, CMAC = Algorithm.CTR, Algorithm.CBC_PKCS7, Algorithm.CMAC
SHORT_CMAC = CMAC.truncated_mac(8)
HMAC = Algorithm.hmac(Hash.SHA_256)
OWN_KEYS: dict[str, tuple[KeyAttributes, bytes | None]] = {
    "messages": (replace(P256, usage=UsageFlags.SIGN_MESSAGE | UsageFlags.VERIFY_MESSAGE), None),
    "ctr": (templates.aes_cipher(CTR), None),
    "opening": (replace(templates.aes_cipher(CBC), key_bits=128, usage=UsageFlags.DECRYPT), bytes(16)),
    "hmac": (templates.hmac(), None),
    "checking": (replace(templates.hmac(), usage=UsageFlags.VERIFY_MESSAGE), bytes(32)),
    "short": (replace(templates.aes_cmac(), algorithm=SHORT_CMAC), None),
}
OWN_ROWS = [
    Row(ops.PsaSignMessage("ec", ES256, b"m"), OK, "who may sign hashes may sign messages"),
    Row(ops.PsaSignMessage("messages", ES256, b""), OK, "no message is a message"),
    Row(sign("messages"), NOT_PERMITTED, "who may sign messages may not sign hashes"),
    Row(ops.PsaSignMessage("no use", ES256, b"m"), NOT_PERMITTED, "no right"),
    Row(ops.PsaSignMessage("messages", Algorithm.ecdsa(Hash.SHA_384), b"m"), NOT_PERMITTED, "not the policy's"),
    Row(ops.PsaSignMessage("any", ANY, b"m"), NOT_PERMITTED, "the wildcard is for policies"),
    Row(ops.PsaSignMessage("raw", Algorithm.ECDSA_ANY, b"m"), INVALID, "nothing says how to hash it"),
    Row(ops.PsaVerifyMessage("messages", ES256, b"m", bytes(64)), WRONG, "a signature of nobody"),
    Row(ops.PsaVerifyMessage("ec public", ES256, b"m", b""), WRONG, "no signature"),
    Row(ops.PsaVerifyMessage("sign only", ES256, b"m", bytes(64)), NOT_PERMITTED, "no right to verify"),
    Row(ops.PsaCipherEncrypt("ctr", CTR, b"p"), OK, "all is right"),
    Row(ops.PsaCipherEncrypt("ctr", CTR, b""), INVALID, "nothing to encrypt"),
    Row(ops.PsaCipherEncrypt("ctr", CBC, b"p"), NOT_PERMITTED, "not the policy's"),
    Row(ops.PsaCipherEncrypt("gcm", CTR, b"p"), NOT_PERMITTED, "a key for AEAD"),
    Row(ops.PsaCipherEncrypt("opening", CBC, b"p"), NOT_PERMITTED, "no right to encrypt"),
    Row(ops.PsaCipherDecrypt("ctr", CTR, b""), INVALID, "nothing to decrypt"),
    Row(ops.PsaCipherDecrypt("ctr", CTR, bytes(15)), INVALID, "half an IV"),
    Row(ops.PsaCipherDecrypt("opening", CBC, bytes(31)), INVALID, "half a block"),
    Row(ops.PsaCipherDecrypt("opening", CBC, bytes(32)), Status.PSA_ERROR_INVALID_PADDING, "nonsense"),
    Row(ops.PsaMacCompute("hmac", HMAC, b""), OK, "a MAC of nothing"),
    Row(ops.PsaMacCompute("hmac", HMAC.truncated_mac(16), b"i"), NOT_PERMITTED, "shorter than the policy's"),
    Row(ops.PsaMacCompute("short", SHORT_CMAC, b"i"), OK, "as short as the policy's"),
    Row(ops.PsaMacCompute("short", CMAC, b"i"), NOT_PERMITTED, "longer than the policy's"),
    Row(ops.PsaMacCompute("checking", HMAC, b"i"), NOT_PERMITTED, "no right to make one"),
    Row(ops.PsaMacVerify("checking", HMAC, b"i", bytes(32)), WRONG, "a MAC of nobody"),
    Row(ops.PsaMacVerify("checking", HMAC, b"i", b""), WRONG, "no MAC"),
    Row(ops.PsaMacCompute("gcm", CMAC, b"i"), NOT_PERMITTED, "a key for AEAD"),
    Row(ops.PsaMacCompute("nothing", CMAC, b"i"), GONE, "no such key"),
    Row(ops.PsaAeadEncrypt("gcm", Algorithm.GCM, bytes(12), b"a", b""), OK, "additional data alone may be sealed"),
]


def make_keys(path: Path, keys: dict[str, tuple[KeyAttributes, bytes | None]]) -> None:
    for key_name, (attributes, material) in keys.items():
        operation: ops.Operation = ops.PsaGenerateKey(key_name, attributes)
        if material is not None:
            operation = ops.PsaImportKey(key_name, attributes, material)
        assert ask(path, operation)[0] is OK, key_name


@pytest.fixture(scope="module")
def ours() -> Iterator[Path]:
    with running_service() as service:
        make_keys(service.socket_path, KEYS | OWN_KEYS)
        yield service.socket_path


@pytest.fixture(scope="module")
def upstream(peers_root: PeersRoot) -> Iterator[Path]:
    del peers_root
    with UpstreamService(idle_sleep_ms=1) as service:
        make_keys(service.socket_path, KEYS)
        yield service.socket_path


def _name(row: Row) -> str:
    return f"{type(row.operation).__name__}: {row.why}"


@pytest.mark.parametrize("row", [*ROWS, *OWN_ROWS], ids=_name)
def test_ours(ours: Path, row: Row) -> None:
    assert ask(ours, row.operation)[0] is row.status


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_upstream(upstream: Path, row: Row) -> None:
    assert ask(upstream, row.operation)[0] is row.status


def test_hash_rights_imply_message_rights_and_are_listed_so(ours: Path) -> None:
    _, listed = ask(ours, ops.ListKeys())
    assert isinstance(listed, ops.ListKeysResult)
    usage = {key.name: key.attributes.usage for key in listed.keys}
    assert usage["sign only"] == UsageFlags.SIGN_HASH | UsageFlags.SIGN_MESSAGE
    assert usage["ec public"] == UsageFlags.VERIFY_HASH | UsageFlags.VERIFY_MESSAGE
    assert {key.name: key.attributes for key in listed.keys} == {
        key_name: replace(attributes, usage=attributes.usage.with_implied())
        for key_name, (attributes, _) in (KEYS | OWN_KEYS).items()
    }


def test_imports_without_a_size_list_the_size_that_was_found(ours: Path) -> None:
    """Upstream lists 0, which says nothing to anybody; its TPM provider lists the real one, as ours does throughout."""
    assert ask(ours, ops.PsaImportKey("sized", replace(GCM, key_bits=0), bytes(16)))[0] is OK
    _, listed = ask(ours, ops.ListKeys())
    assert isinstance(listed, ops.ListKeysResult)
    assert {key.attributes.key_bits for key in listed.keys if key.name == "sized"} == {128}
    assert ask(ours, ops.PsaDestroyKey("sized"))[0] is OK


@pytest.mark.parametrize("attributes", [DES, SHA1], ids=["DES", "ECDSA over SHA-1"])
def test_deprecated_primitives(service: Service, attributes: KeyAttributes) -> None:
    """Refused before anything else when generated, let through when imported, and hashes are not looked at."""
    path = service.socket_path
    material = bytes.fromhex("0123456789abcdef") if attributes is DES else scalar(EC)
    assert ask(path, ops.PsaGenerateKey("taken", P256))[0] is OK
    assert ask(path, ops.PsaGenerateKey("taken", attributes))[0] is Status.DEPRECATED_PRIMITIVE
    assert ask(path, ops.PsaGenerateKey("free", attributes))[0] is Status.DEPRECATED_PRIMITIVE
    assert ask(path, ops.PsaImportKey("free", attributes, material))[0] is OK
    assert ask(path, ops.PsaHashCompute(Hash.SHA_1, b""))[0] is OK
    for key_name in ("taken", "free"):
        assert ask(path, ops.PsaDestroyKey(key_name))[0] is OK


def test_oaep_with_a_hash_too_long_for_the_key(ours: Path) -> None:
    """Upstream's provider panics here and answers nobody from then on, so only ours is asked."""
    alg = Algorithm.rsa_oaep(Hash.SHA_512)
    attributes = replace(templates.rsa_oaep(1024), algorithm=alg)
    assert ask(ours, ops.PsaImportKey("long", attributes, rsa_pair_der(rsa_key(1024))))[0] is OK
    assert ask(ours, ops.PsaAsymmetricEncrypt("long", alg, b"p"))[0] is INVALID
    assert ask(ours, ops.PsaAsymmetricDecrypt("long", alg, bytes(128)))[0] in (
        INVALID,
        Status.PSA_ERROR_INVALID_PADDING,
    )
    assert ask(ours, ops.PsaDestroyKey("long"))[0] is OK
