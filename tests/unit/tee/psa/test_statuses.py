"""Which status a wrong call of the PSA Crypto API is refused with (PSA Crypto API 1.2), through a crypto partition."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest

from edgeroot.psa import Algorithm, DerivationStep, EccFamily, Hash, KeyType, PsaStatus, UsageFlags
from edgeroot.tee.psa import (
    AeadOperation,
    CipherOperation,
    KeyDerivationOperation,
    MacOperation,
    PsaClient,
    PsaKeyAttributes,
)
from edgeroot.tee.psa.attestation import Attestation
from edgeroot.tee.psa.firmware_update import FirmwareUpdate
from edgeroot.tee.psa.operation import Operation
from edgeroot.tee.psa.storage import Storage
from tests.support.psa_client import ContextTransport, psa_client
from tests.unit.tee.psa.test_operations import assert_status

BAD_STATE = PsaStatus.BAD_STATE
INVALID = PsaStatus.INVALID_ARGUMENT
NOT_PERMITTED = PsaStatus.NOT_PERMITTED
NOT_SUPPORTED = PsaStatus.NOT_SUPPORTED
NO_KEY = PsaStatus.INVALID_HANDLE
WRONG = PsaStatus.INVALID_SIGNATURE
UNKNOWN = 0x1234

SHA_256 = Algorithm.from_hash(Hash.SHA_256)
HMAC = Algorithm.hmac(Hash.SHA_256)
HKDF = Algorithm.hkdf(Hash.SHA_256)
ECDSA = Algorithm.ecdsa(Hash.SHA_256)
OAEP = Algorithm.rsa_oaep(Hash.SHA_256)
P256 = KeyType.ecc_key_pair(EccFamily.SECP_R1)
P256_PUBLIC = KeyType.ecc_public_key(EccFamily.SECP_R1)
AES, RSA = KeyType.AES, KeyType.RSA_KEY_PAIR
CTR, CBC, ECB = Algorithm.CTR, Algorithm.CBC_PKCS7, Algorithm.ECB_NO_PADDING
CCM, GCM = Algorithm.CCM, Algorithm.GCM
ECDH, FFDH, PKCS1 = Algorithm.ECDH, Algorithm.FFDH, Algorithm.RSA_PKCS1V15_CRYPT
HMAC_384 = Algorithm.hmac(Hash.SHA_384)
HKDF_384 = Algorithm.hkdf(Hash.SHA_384)
ECDSA_384 = Algorithm.ecdsa(Hash.SHA_384)
ANY_HASH = Algorithm.ecdsa(Hash.ANY)
ECDH_HKDF = Algorithm.key_agreement(ECDH, HKDF)
CUT_33 = HMAC.truncated_mac(33)
TAG_5 = CCM.with_tag_length(5)
CCM_STAR = Algorithm(0x04C01300)
CRYPT = UsageFlags.ENCRYPT | UsageFlags.DECRYPT
SIGN, VERIFY, DERIVE = UsageFlags.SIGN_MESSAGE, UsageFlags.VERIFY_MESSAGE, UsageFlags.DERIVE
EVERYTHING = int(sum(UsageFlags))
SYMMETRIC = bytes(range(32))
BITS: dict[int, int] = {P256: 256, RSA: 1024}
Step = DerivationStep

FUNCTIONS = """
    crypto_init generate_random import_key generate_key copy_key destroy_key purge_key export_key export_public_key
    get_key_attributes
    hash_compute hash_compare hash_setup hash_update hash_finish hash_verify hash_abort hash_suspend hash_resume
    hash_clone
    mac_compute mac_verify mac_sign_setup mac_verify_setup mac_update mac_sign_finish mac_verify_finish mac_abort
    cipher_encrypt cipher_decrypt cipher_encrypt_setup cipher_decrypt_setup cipher_generate_iv cipher_set_iv
    cipher_update cipher_finish cipher_abort
    aead_encrypt aead_decrypt aead_encrypt_setup aead_decrypt_setup aead_set_lengths aead_generate_nonce aead_set_nonce
    aead_update_ad aead_update aead_finish aead_verify aead_abort
    key_derivation_setup key_derivation_get_capacity key_derivation_set_capacity key_derivation_input_bytes
    key_derivation_input_integer key_derivation_input_key key_derivation_key_agreement key_derivation_output_bytes
    key_derivation_output_key key_derivation_verify_bytes key_derivation_verify_key key_derivation_abort
    sign_message verify_message sign_hash verify_hash asymmetric_encrypt asymmetric_decrypt
    raw_key_agreement key_agreement
""".split()
NAMES = [f"psa_{name}" for name in FUNCTIONS]
ABORTS = [name for name in NAMES if name.endswith("_abort")]


@pytest.fixture
def client() -> PsaClient:
    return psa_client()


def plausible(name: str) -> tuple[Callable[..., object], list[object]]:
    """A function of the API, and arguments that are right in kind."""
    function = getattr(PsaClient, name)
    hints = get_type_hints(function)
    arguments: list[object] = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        kind: Any = hints[parameter.name]
        if parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            continue
        if kind is PsaKeyAttributes:
            arguments.append(PsaKeyAttributes(KeyType.DERIVE, 256, UsageFlags.DERIVE, HKDF))
        elif issubclass(kind, Operation):
            arguments.append(kind())
        else:
            arguments.append(bytes(32) if kind is bytes else int(SHA_256))
    return function, arguments


def takes_an_active_operation(name: str) -> bool:
    sets_one_up = name.endswith(("_setup", "_resume"))
    return not sets_one_up and any(isinstance(one, Operation) for one in plausible(name)[1])


def test_all_functions_are_there_under_their_names() -> None:
    others = {name for room in (Storage, Attestation, FirmwareUpdate) for name in vars(room)}
    assert {name for name in dir(PsaClient) if name.startswith("psa_")} - others == set(NAMES)
    fields = ("id", "lifetime", "type", "bits", "usage_flags", "algorithm")
    accessors = {f"psa_{verb}_key_{field}" for verb in ("set", "get") for field in fields}
    assert {name for name in dir(PsaKeyAttributes) if name.startswith("psa_")} == {
        "psa_reset_key_attributes",
        *accessors,
    }


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(ABORTS) - {"psa_crypto_init"}))
def test_nothing_is_done_before_psa_crypto_init(name: str) -> None:
    transport = ContextTransport()
    function, arguments = plausible(name)
    assert_status(BAD_STATE, function, PsaClient(transport), *arguments)
    assert transport.session.opcodes == []


@pytest.mark.parametrize("name", [name for name in NAMES if takes_an_active_operation(name)])
def test_what_an_operation_that_is_not_set_up_is_good_for(name: str) -> None:
    """To be aborted, and for nothing else; the service is not asked."""
    function, arguments = plausible(name)
    transport = ContextTransport()
    client = psa_client(transport)
    if name in ABORTS:
        function(client, *arguments)
        function(client, *arguments)
    else:
        assert_status(BAD_STATE, function, client, *arguments)
    assert transport.session.opcodes == []


class Keys:
    """Keys that are made when they are needed, each once."""

    def __init__(self, client: PsaClient) -> None:
        self._client = client
        self._made: dict[tuple[int, int, int], int] = {}

    def key(self, key_type: int, alg: int, usage: int = EVERYTHING) -> int:
        what = (key_type, alg, usage)
        if what not in self._made:
            attributes = PsaKeyAttributes(key_type, 0, usage, alg, 1, len(self._made) + 1)
            if key_type in BITS:
                attributes.bits = BITS[key_type]
                self._made[what] = self._client.psa_generate_key(attributes)
            else:
                self._made[what] = self._client.psa_import_key(attributes, SYMMETRIC)
        return self._made[what]


@pytest.fixture
def keys(client: PsaClient) -> Keys:
    return Keys(client)


@pytest.mark.parametrize(
    ("attributes", "status"),
    [
        (PsaKeyAttributes(P256_PUBLIC, 256), INVALID),
        (PsaKeyAttributes(KeyType.AES, 0), INVALID),
        (PsaKeyAttributes(KeyType.AES, 129), INVALID),
        (PsaKeyAttributes(KeyType.AES, 64), INVALID),
        (PsaKeyAttributes(KeyType.HMAC, 0), INVALID),
        (PsaKeyAttributes(KeyType.RAW_DATA, 12), INVALID),
        (PsaKeyAttributes(KeyType.RAW_DATA, 2**33), INVALID),
        (PsaKeyAttributes(KeyType.RAW_DATA, 0x10000), NOT_SUPPORTED),
        (PsaKeyAttributes(KeyType.RSA_KEY_PAIR, 1023), INVALID),
        (PsaKeyAttributes(P256, 100), INVALID),
        (PsaKeyAttributes(0x2FFF, 128), NOT_SUPPORTED),
        (PsaKeyAttributes(0x12FFF, 128), INVALID),
        (PsaKeyAttributes(KeyType.AES, 128, 0x40000000), INVALID),
        (PsaKeyAttributes(KeyType.AES, 128, lifetime=1, id=0), INVALID),
        (PsaKeyAttributes(KeyType.AES, 128, lifetime=1, id=0x40000000), INVALID),
        (PsaKeyAttributes(KeyType.AES, 128, lifetime=0x101, id=5), INVALID),
        (PsaKeyAttributes(KeyType.AES, 128, lifetime=0xFF, id=5), INVALID),
    ],
)
def test_keys_that_are_not_generated(client: PsaClient, attributes: PsaKeyAttributes, status: PsaStatus) -> None:
    assert_status(status, client.psa_generate_key, attributes)


@pytest.mark.parametrize(
    ("key_type", "bits", "data"),
    [
        (KeyType.RAW_DATA, 0, b""),
        (KeyType.AES, 0, bytes(15)),
        (KeyType.AES, 256, bytes(16)),
        (P256, 256, bytes(32)),
        (P256, 256, bytes(31)),
        (P256_PUBLIC, 256, b"\x04" + bytes(64)),
        (KeyType.RSA_KEY_PAIR, 0, bytes(64)),
    ],
)
def test_keys_that_are_not_imported(client: PsaClient, key_type: KeyType, bits: int, data: bytes) -> None:
    assert_status(INVALID, client.psa_import_key, PsaKeyAttributes(key_type, bits), data)


Case = tuple[PsaStatus, Callable[[PsaClient, Keys], object]]
# What a key may not be used for, and arguments of the wrong shape, by what is wrong.
CASES: dict[str, Case] = {
    "copy: unknown": (NO_KEY, lambda c, _: c.psa_copy_key(UNKNOWN, PsaKeyAttributes())),
    "copy: null": (NO_KEY, lambda c, _: c.psa_copy_key(0, PsaKeyAttributes())),
    "copy: usage": (NOT_PERMITTED, lambda c, k: c.psa_copy_key(k.key(AES, CTR, CRYPT), PsaKeyAttributes(AES, 0))),
    "copy: type": (INVALID, lambda c, k: c.psa_copy_key(k.key(AES, CTR), PsaKeyAttributes(KeyType.DES, 0))),
    "copy: size": (INVALID, lambda c, k: c.psa_copy_key(k.key(AES, CTR), PsaKeyAttributes(AES, 128))),
    "copy: algorithm": (INVALID, lambda c, k: c.psa_copy_key(k.key(AES, CTR), PsaKeyAttributes(AES, 0, 0, GCM))),
    "export: usage": (NOT_PERMITTED, lambda c, k: c.psa_export_key(k.key(AES, CTR, CRYPT))),
    "export public: symmetric": (INVALID, lambda c, k: c.psa_export_public_key(k.key(AES, CTR))),
    "hash: a MAC": (INVALID, lambda c, _: c.psa_hash_compute(HMAC, b"")),
    "hash: none": (INVALID, lambda c, _: c.psa_hash_compute(0, b"")),
    "hash: unknown": (NOT_SUPPORTED, lambda c, _: c.psa_hash_compute(0x020000FE, b"")),
    "hash: shorter": (WRONG, lambda c, _: c.psa_hash_compare(SHA_256, b"", bytes(31))),
    "hash: longer": (WRONG, lambda c, _: c.psa_hash_compare(SHA_256, b"", bytes(33))),
    "mac: unknown": (NO_KEY, lambda c, _: c.psa_mac_compute(UNKNOWN, HMAC, b"")),
    "mac: algorithm": (NOT_PERMITTED, lambda c, k: c.psa_mac_compute(k.key(KeyType.HMAC, HMAC), HMAC_384, b"")),
    "mac: a hash": (INVALID, lambda c, k: c.psa_mac_compute(k.key(KeyType.HMAC, SHA_256), SHA_256, b"")),
    "mac: key type": (INVALID, lambda c, k: c.psa_mac_compute(k.key(AES, HMAC), HMAC, b"")),
    "mac: verify only": (NOT_PERMITTED, lambda c, k: c.psa_mac_compute(k.key(KeyType.HMAC, HMAC, VERIFY), HMAC, b"")),
    "mac: sign only": (NOT_PERMITTED, lambda c, k: c.psa_mac_verify(k.key(KeyType.HMAC, HMAC, SIGN), HMAC, b"", b"")),
    "mac: shorter": (WRONG, lambda c, k: c.psa_mac_verify(k.key(KeyType.HMAC, HMAC), HMAC, b"", bytes(31))),
    "mac: cut too long": (INVALID, lambda c, k: c.psa_mac_compute(k.key(KeyType.HMAC, CUT_33), CUT_33, b"")),
    "cipher: unknown": (NO_KEY, lambda c, _: c.psa_cipher_encrypt(UNKNOWN, CTR, b"")),
    "cipher: algorithm": (NOT_PERMITTED, lambda c, k: c.psa_cipher_encrypt(k.key(AES, CTR), Algorithm.CFB, b"")),
    "cipher: a MAC": (INVALID, lambda c, k: c.psa_cipher_decrypt(k.key(AES, HMAC), HMAC, b"")),
    "cipher: key type": (INVALID, lambda c, k: c.psa_cipher_encrypt(k.key(KeyType.HMAC, CTR), CTR, b"")),
    "cipher: nobody's": (NOT_SUPPORTED, lambda c, k: c.psa_cipher_encrypt(k.key(AES, CCM_STAR), CCM_STAR, b"")),
    "cipher: encrypt only": (
        NOT_PERMITTED,
        lambda c, k: c.psa_cipher_decrypt(k.key(AES, CTR, UsageFlags.ENCRYPT), CTR, bytes(16)),
    ),
    "cipher: decrypt only": (
        NOT_PERMITTED,
        lambda c, k: c.psa_cipher_encrypt(k.key(AES, CTR, UsageFlags.DECRYPT), CTR, b""),
    ),
    "cipher: part of a block": (INVALID, lambda c, k: c.psa_cipher_decrypt(k.key(AES, CBC), CBC, bytes(31))),
    "cipher: no padding at all": (INVALID, lambda c, k: c.psa_cipher_decrypt(k.key(AES, CBC), CBC, bytes(16))),
    "cipher: padding": (
        PsaStatus.INVALID_PADDING,
        lambda c, k: c.psa_cipher_decrypt(k.key(AES, CBC), CBC, bytes(32)),
    ),
    "aead: unknown": (NO_KEY, lambda c, _: c.psa_aead_encrypt(UNKNOWN, GCM, bytes(12), b"", b"")),
    "aead: a cipher": (INVALID, lambda c, k: c.psa_aead_encrypt(k.key(AES, CTR), CTR, bytes(12), b"", b"")),
    "aead: algorithm": (NOT_PERMITTED, lambda c, k: c.psa_aead_encrypt(k.key(AES, GCM), CCM, bytes(12), b"", b"")),
    "aead: key type": (INVALID, lambda c, k: c.psa_aead_encrypt(k.key(KeyType.HMAC, GCM), GCM, bytes(12), b"", b"")),
    "aead: no nonce": (INVALID, lambda c, k: c.psa_aead_encrypt(k.key(AES, GCM), GCM, b"", b"", b"")),
    "aead: nonce": (INVALID, lambda c, k: c.psa_aead_encrypt(k.key(AES, CCM), CCM, bytes(14), b"", b"")),
    "aead: tag": (INVALID, lambda c, k: c.psa_aead_encrypt(k.key(AES, TAG_5), TAG_5, bytes(12), b"", b"")),
    "aead: too long": (INVALID, lambda c, k: c.psa_aead_encrypt(k.key(AES, CCM), CCM, bytes(13), b"", bytes(65536))),
    "derivation: agreement": (
        INVALID,
        lambda c, _: c.psa_key_derivation_setup(KeyDerivationOperation(), Algorithm.ECDH),
    ),
    "derivation: a hash": (INVALID, lambda c, _: c.psa_key_derivation_setup(KeyDerivationOperation(), SHA_256)),
    "derivation: nobody's": (
        NOT_SUPPORTED,
        lambda c, _: c.psa_key_derivation_setup(KeyDerivationOperation(), 0x08800109),
    ),
    "agreement: unknown": (NO_KEY, lambda c, _: c.psa_raw_key_agreement(ECDH, UNKNOWN, bytes(65))),
    "agreement: combined": (INVALID, lambda c, k: c.psa_raw_key_agreement(ECDH_HKDF, k.key(P256, ECDH), bytes(65))),
    "agreement: algorithm": (NOT_PERMITTED, lambda c, k: c.psa_raw_key_agreement(FFDH, k.key(P256, ECDH), bytes(65))),
    "agreement: peer": (INVALID, lambda c, k: c.psa_raw_key_agreement(ECDH, k.key(P256, ECDH), bytes(65))),
    "sign: unknown": (NO_KEY, lambda c, _: c.psa_sign_hash(UNKNOWN, ECDSA, bytes(32))),
    "sign: a hash": (INVALID, lambda c, k: c.psa_sign_hash(k.key(P256, ECDSA), SHA_256, bytes(32))),
    "sign: hash's length": (INVALID, lambda c, k: c.psa_sign_hash(k.key(P256, ECDSA), ECDSA, bytes(31))),
    "sign: wildcard": (INVALID, lambda c, k: c.psa_sign_hash(k.key(P256, ANY_HASH), ANY_HASH, bytes(32))),
    "sign: algorithm": (NOT_PERMITTED, lambda c, k: c.psa_sign_hash(k.key(P256, ECDSA), ECDSA_384, bytes(48))),
    "sign: verify only": (
        NOT_PERMITTED,
        lambda c, k: c.psa_sign_hash(k.key(P256, ECDSA, UsageFlags.VERIFY_HASH), ECDSA, bytes(32)),
    ),
    "verify: sign only": (
        NOT_PERMITTED,
        lambda c, k: c.psa_verify_hash(k.key(P256, ECDSA, UsageFlags.SIGN_HASH), ECDSA, bytes(32), bytes(64)),
    ),
    "verify: nothing": (WRONG, lambda c, k: c.psa_verify_hash(k.key(P256, ECDSA), ECDSA, bytes(32), b"")),
    "verify: another": (WRONG, lambda c, k: c.psa_verify_hash(k.key(P256, ECDSA), ECDSA, bytes(32), bytes(64))),
    "sign: key type": (INVALID, lambda c, k: c.psa_sign_hash(k.key(AES, ECDSA), ECDSA, bytes(32))),
    "encrypt: too long": (INVALID, lambda c, k: c.psa_asymmetric_encrypt(k.key(RSA, OAEP), OAEP, bytes(63))),
    "encrypt: a label": (INVALID, lambda c, k: c.psa_asymmetric_encrypt(k.key(RSA, PKCS1), PKCS1, b"", b"label")),
    "decrypt: length": (INVALID, lambda c, k: c.psa_asymmetric_decrypt(k.key(RSA, OAEP), OAEP, bytes(127))),
    "decrypt: padding": (
        PsaStatus.INVALID_PADDING,
        lambda c, k: c.psa_asymmetric_decrypt(k.key(RSA, OAEP), OAEP, bytes(127) + b"\1"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_refused(client: PsaClient, keys: Keys, case: str) -> None:
    status, call = CASES[case]
    assert_status(status, call, client, keys)


Operating = Callable[[PsaClient, Any], object]


@pytest.mark.parametrize(
    ("signs", "finish"),
    [
        (True, lambda c, o: c.psa_mac_verify_finish(o, bytes(32))),
        (False, lambda c, o: c.psa_mac_sign_finish(o)),
    ],
)
def test_a_mac_ends_as_it_began(client: PsaClient, keys: Keys, signs: bool, finish: Operating) -> None:
    operation = MacOperation()
    set_up = client.psa_mac_sign_setup if signs else client.psa_mac_verify_setup
    set_up(operation, keys.key(KeyType.HMAC, HMAC), HMAC)
    assert_status(BAD_STATE, finish, client, operation)
    assert not operation.is_active


@pytest.mark.parametrize(
    ("encrypts", "alg", "status", "step"),
    [
        (True, CTR, BAD_STATE, lambda c, o: c.psa_cipher_update(o, b"before the IV")),
        (True, CTR, BAD_STATE, lambda c, o: c.psa_cipher_finish(o)),
        (True, CTR, INVALID, lambda c, o: c.psa_cipher_set_iv(o, bytes(15))),
        (True, CTR, INVALID, lambda c, o: c.psa_cipher_set_iv(o, b"")),
        (False, CTR, BAD_STATE, lambda c, o: c.psa_cipher_generate_iv(o)),
        (True, ECB, BAD_STATE, lambda c, o: c.psa_cipher_generate_iv(o)),
        (True, ECB, BAD_STATE, lambda c, o: c.psa_cipher_set_iv(o, bytes(16))),
        (True, ECB, PsaStatus.BUFFER_TOO_SMALL, lambda c, o: c.psa_cipher_update(o, bytes(32), output_size=31)),
    ],
)
def test_a_step_of_a_cipher_that_is_refused(
    client: PsaClient, keys: Keys, encrypts: bool, alg: Algorithm, status: PsaStatus, step: Operating
) -> None:
    operation = CipherOperation()
    set_up = client.psa_cipher_encrypt_setup if encrypts else client.psa_cipher_decrypt_setup
    set_up(operation, keys.key(AES, alg), alg)
    assert_status(status, step, client, operation)
    assert not operation.is_active


def set_nonce(client: PsaClient, operation: AeadOperation) -> None:
    client.psa_aead_set_nonce(operation, bytes(12))


def set_lengths(client: PsaClient, operation: AeadOperation) -> None:
    client.psa_aead_set_lengths(operation, 1, 1)


def update_ad(client: PsaClient, operation: AeadOperation) -> None:
    client.psa_aead_update_ad(operation, b"1")


def update(client: PsaClient, operation: AeadOperation) -> None:
    client.psa_aead_update(operation, b"1")


def finish(client: PsaClient, operation: AeadOperation) -> None:
    client.psa_aead_finish(operation)


def verify(client: PsaClient, operation: AeadOperation) -> None:
    client.psa_aead_verify(operation, bytes(16))


# Whether it encrypts, with what, and steps of which the last is refused.
AEAD_STEPS: dict[str, tuple[PsaStatus, Algorithm, bool, tuple[Operating, ...]]] = {
    "additional data before the nonce": (BAD_STATE, GCM, True, (update_ad,)),
    "text before the nonce": (BAD_STATE, GCM, True, (update,)),
    "end before the nonce": (BAD_STATE, GCM, True, (finish,)),
    "verification before the nonce": (BAD_STATE, GCM, False, (verify,)),
    "a nonce for decryption": (BAD_STATE, GCM, False, (lambda c, o: c.psa_aead_generate_nonce(o),)),
    "a nonce before CCM's lengths": (BAD_STATE, CCM, True, (lambda c, o: c.psa_aead_generate_nonce(o),)),
    "the nonce before CCM's lengths": (BAD_STATE, CCM, False, (set_nonce,)),
    "verification of an encryption": (BAD_STATE, GCM, True, (set_nonce, update, verify)),
    "a decryption's tag": (BAD_STATE, GCM, False, (set_nonce, update, finish)),
    "additional data after the text": (BAD_STATE, GCM, True, (set_nonce, update, update_ad)),
    "lengths twice": (BAD_STATE, GCM, True, (set_lengths, set_lengths)),
    "too much additional data": (INVALID, GCM, True, (set_lengths, set_nonce, update_ad, update_ad)),
    "too little additional data": (INVALID, GCM, True, (set_lengths, set_nonce, update)),
    "too much text": (INVALID, CCM, True, (set_lengths, set_nonce, update_ad, update, update)),
    "too little text": (INVALID, CCM, True, (set_lengths, set_nonce, update_ad, finish)),
    "another tag": (WRONG, CCM, False, (set_lengths, set_nonce, update_ad, update, verify)),
    "a negative length": (INVALID, GCM, True, (lambda c, o: c.psa_aead_set_lengths(o, 0, -1),)),
}


@pytest.mark.parametrize("case", AEAD_STEPS)
def test_a_step_of_an_aead_that_is_refused(client: PsaClient, keys: Keys, case: str) -> None:
    status, alg, encrypts, (*before, step) = AEAD_STEPS[case]
    operation = AeadOperation()
    set_up = client.psa_aead_encrypt_setup if encrypts else client.psa_aead_decrypt_setup
    set_up(operation, keys.key(AES, alg), alg)
    for one in before:
        one(client, operation)
    assert_status(status, step, client, operation)
    assert not operation.is_active


def ready(client: PsaClient, keys: Keys, operation: KeyDerivationOperation) -> KeyDerivationOperation:
    client.psa_key_derivation_input_key(operation, Step.SECRET, keys.key(KeyType.DERIVE, HKDF, UsageFlags.DERIVE))
    client.psa_key_derivation_input_bytes(operation, Step.INFO, b"")
    return operation


def of_plain_bytes(client: PsaClient, operation: KeyDerivationOperation) -> KeyDerivationOperation:
    client.psa_key_derivation_input_bytes(operation, Step.SECRET, b"plain")
    client.psa_key_derivation_input_bytes(operation, Step.INFO, b"")
    return operation


def output_key(
    client: PsaClient, keys: Keys, operation: KeyDerivationOperation, attributes: PsaKeyAttributes
) -> object:
    return client.psa_key_derivation_output_key(attributes, ready(client, keys, operation))


DerivationStepCase = tuple[PsaStatus, Callable[[PsaClient, Keys, KeyDerivationOperation], object]]
DERIVATION_STEPS: dict[str, DerivationStepCase] = {
    "input of an unknown key": (NO_KEY, lambda c, _, o: c.psa_key_derivation_input_key(o, Step.SECRET, UNKNOWN)),
    "a secret of another type": (
        INVALID,
        lambda c, k, o: c.psa_key_derivation_input_key(o, Step.SECRET, k.key(KeyType.RAW_DATA, HKDF, DERIVE)),
    ),
    "a key that may not": (
        NOT_PERMITTED,
        lambda c, k, o: c.psa_key_derivation_input_key(o, Step.SECRET, k.key(KeyType.DERIVE, HKDF, 0)),
    ),
    "a key for another algorithm": (
        NOT_PERMITTED,
        lambda c, k, o: c.psa_key_derivation_input_key(o, Step.SECRET, k.key(KeyType.DERIVE, HKDF_384, DERIVE)),
    ),
    "another algorithm's step": (INVALID, lambda c, _, o: c.psa_key_derivation_input_bytes(o, Step.SEED, b"")),
    "no step": (INVALID, lambda c, _, o: c.psa_key_derivation_input_bytes(o, 0, b"")),
    "the salt after the secret": (
        BAD_STATE,
        lambda c, k, o: c.psa_key_derivation_input_bytes(ready(c, k, o), Step.SALT, b""),
    ),
    "the info twice": (BAD_STATE, lambda c, k, o: c.psa_key_derivation_input_bytes(ready(c, k, o), Step.INFO, b"")),
    "an agreement without one": (
        INVALID,
        lambda c, k, o: c.psa_key_derivation_key_agreement(o, Step.SECRET, k.key(P256, ECDH), bytes(65)),
    ),
    "output before the inputs": (BAD_STATE, lambda c, _, o: c.psa_key_derivation_output_bytes(o, 1)),
    "a key before the inputs": (
        BAD_STATE,
        lambda c, _, o: c.psa_key_derivation_output_key(PsaKeyAttributes(AES, 128), o),
    ),
    "a key without a size": (INVALID, lambda c, k, o: output_key(c, k, o, PsaKeyAttributes(AES, 0))),
    "a key of no size": (INVALID, lambda c, k, o: output_key(c, k, o, PsaKeyAttributes(AES, 129))),
    "a public key": (INVALID, lambda c, k, o: output_key(c, k, o, PsaKeyAttributes(P256_PUBLIC, 256))),
    "a key of RSA": (NOT_SUPPORTED, lambda c, k, o: output_key(c, k, o, PsaKeyAttributes(RSA, 1024))),
    "a key with another's id": (
        PsaStatus.ALREADY_EXISTS,
        lambda c, k, o: output_key(c, k, o, PsaKeyAttributes(AES, 128, lifetime=1, id=k.key(AES, CTR))),
    ),
    "a key of plain bytes": (
        NOT_PERMITTED,
        lambda c, _, o: c.psa_key_derivation_output_key(PsaKeyAttributes(AES, 128), of_plain_bytes(c, o)),
    ),
}


@pytest.mark.parametrize("case", DERIVATION_STEPS)
def test_a_step_of_a_key_derivation_that_is_refused(client: PsaClient, keys: Keys, case: str) -> None:
    status, step = DERIVATION_STEPS[case]
    operation = KeyDerivationOperation()
    client.psa_key_derivation_setup(operation, HKDF)
    assert_status(status, step, client, keys, operation)
    assert not operation.is_active


def test_a_key_for_which_too_little_is_left_is_not_made(client: PsaClient, keys: Keys) -> None:
    operation = KeyDerivationOperation()
    client.psa_key_derivation_setup(operation, HKDF)
    ready(client, keys, operation)
    client.psa_key_derivation_set_capacity(operation, 15)
    attributes = PsaKeyAttributes(AES, 128)
    assert_status(PsaStatus.INSUFFICIENT_DATA, client.psa_key_derivation_output_key, attributes, operation)
    assert client.psa_key_derivation_get_capacity(operation) == 0
