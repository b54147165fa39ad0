"""The life of operations in several parts: inactive, active, in an error state (PSA Crypto API 1.2, clause 3.3.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from edgeroot.abi.crypto import CryptoOpcode
from edgeroot.abi.services import INTERNAL_TRUSTED_STORAGE
from edgeroot.psa import Algorithm, DerivationStep, Hash, KeyType, PsaError, PsaStatus, UsageFlags
from edgeroot.tee.api import TeeError
from edgeroot.tee.psa import (
    AeadOperation,
    CipherOperation,
    HashOperation,
    KeyDerivationOperation,
    MacOperation,
    PsaClient,
    PsaKeyAttributes,
)
from edgeroot.tee.psa.operation import Operation
from tests.support.crypto_partition import CAPACITY_BYTES, World
from tests.support.psa_client import ContextSession, ContextTransport, psa_client

SHA_256 = Algorithm.from_hash(Hash.SHA_256)
HMAC = Algorithm.hmac(Hash.SHA_256)
HKDF = Algorithm.hkdf(Hash.SHA_256)
KEY = bytes(range(16))


@pytest.fixture
def client() -> PsaClient:
    return psa_client()


def is_active(operation: Operation) -> bool:
    return operation.is_active


def key(client: PsaClient, key_type: KeyType, usage: UsageFlags, alg: int) -> int:
    """The one key of this algorithm."""
    key_id = 1 + alg % 0x3FFFFFFE
    with suppress(PsaError):  # it is there already
        client.psa_import_key(PsaKeyAttributes(key_type, 128, usage, alg, lifetime=1, id=key_id), KEY)
    return key_id


def aes(client: PsaClient, alg: int) -> int:
    return key(client, KeyType.AES, UsageFlags.ENCRYPT | UsageFlags.DECRYPT, alg)


def mac_key(client: PsaClient) -> int:
    return key(client, KeyType.HMAC, UsageFlags.SIGN_MESSAGE | UsageFlags.VERIFY_MESSAGE, HMAC)


def secret(client: PsaClient) -> int:
    return key(client, KeyType.DERIVE, UsageFlags.DERIVE, HKDF)


def begun_derivation(client: PsaClient) -> KeyDerivationOperation:
    operation = KeyDerivationOperation()
    client.psa_key_derivation_setup(operation, HKDF)
    client.psa_key_derivation_input_key(operation, DerivationStep.SECRET, secret(client))
    client.psa_key_derivation_input_bytes(operation, DerivationStep.INFO, b"")
    return operation


def assert_status(status: PsaStatus, call: Callable[..., object], *arguments: object, **sizes: int) -> None:
    with pytest.raises(PsaError) as caught:
        call(*arguments, **sizes)
    assert caught.value.status is status


Step = Callable[[PsaClient, Any], None]
# What sets it up, a step that succeeds, one that fails, and what aborts it.
FAMILIES: dict[str, tuple[type[Operation], Step, Step, Step, Step]] = {
    "hash": (
        HashOperation,
        lambda c, o: c.psa_hash_setup(o, SHA_256),
        lambda c, o: c.psa_hash_update(o, b"data"),
        lambda c, o: c.psa_hash_verify(o, bytes(32)),
        lambda c, o: c.psa_hash_abort(o),
    ),
    "mac": (
        MacOperation,
        lambda c, o: c.psa_mac_verify_setup(o, mac_key(c), HMAC),
        lambda c, o: c.psa_mac_update(o, b"data"),
        lambda c, o: c.psa_mac_verify_finish(o, bytes(32)),
        lambda c, o: c.psa_mac_abort(o),
    ),
    "cipher": (
        CipherOperation,
        lambda c, o: c.psa_cipher_encrypt_setup(o, aes(c, Algorithm.CTR), Algorithm.CTR),
        lambda c, o: c.psa_cipher_set_iv(o, bytes(16)),
        lambda c, o: c.psa_cipher_set_iv(o, bytes(16)),
        lambda c, o: c.psa_cipher_abort(o),
    ),
    "aead": (
        AeadOperation,
        lambda c, o: c.psa_aead_encrypt_setup(o, aes(c, Algorithm.GCM), Algorithm.GCM),
        lambda c, o: c.psa_aead_set_nonce(o, bytes(12)),
        lambda c, o: c.psa_aead_set_nonce(o, bytes(12)),
        lambda c, o: c.psa_aead_abort(o),
    ),
    "key derivation": (
        KeyDerivationOperation,
        lambda c, o: c.psa_key_derivation_setup(o, HKDF),
        lambda c, o: c.psa_key_derivation_input_key(o, DerivationStep.SECRET, secret(c)),
        lambda c, o: c.psa_key_derivation_input_bytes(o, DerivationStep.SECRET, b"again"),
        lambda c, o: c.psa_key_derivation_abort(o),
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_operation_is_set_up_once_and_ends_with_an_error_until_it_is_aborted(client: PsaClient, family: str) -> None:
    kind, set_up, step, failing_step, abort = FAMILIES[family]
    operation = kind()

    abort(client, operation)  # of what is inactive: no error
    assert_status(PsaStatus.BAD_STATE, step, client, operation)
    set_up(client, operation)
    assert is_active(operation)
    assert_status(PsaStatus.BAD_STATE, set_up, client, operation)
    assert is_active(operation)
    step(client, operation)
    with pytest.raises(PsaError):
        failing_step(client, operation)
    assert not is_active(operation)
    assert_status(PsaStatus.BAD_STATE, step, client, operation)
    assert_status(PsaStatus.BAD_STATE, set_up, client, operation)
    abort(client, operation)
    set_up(client, operation)
    step(client, operation)
    abort(client, operation)
    assert not is_active(operation)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_set_up_that_fails_leaves_it_inactive(family: str) -> None:
    transport = ContextTransport()
    client = psa_client(transport)
    kind, set_up, step, _, abort = FAMILIES[family]
    operation = kind()

    def refuse(opcode: int) -> None:
        if opcode != CryptoOpcode.IMPORT_KEY:
            raise PsaError(PsaStatus.INSUFFICIENT_MEMORY, "no more")

    transport.session.before = refuse
    assert_status(PsaStatus.INSUFFICIENT_MEMORY, set_up, client, operation)
    transport.session.before = lambda _opcode: None
    assert not is_active(operation)
    set_up(client, operation)
    step(client, operation)
    abort(client, operation)


def test_a_buffer_that_is_too_small_ends_an_operation_in_an_error(client: PsaClient) -> None:
    operation = HashOperation()
    client.psa_hash_setup(operation, SHA_256)
    assert_status(PsaStatus.BUFFER_TOO_SMALL, client.psa_hash_finish, operation, hash_size=31)
    assert not is_active(operation)
    assert_status(PsaStatus.BAD_STATE, client.psa_hash_setup, operation, SHA_256)
    client.psa_hash_abort(operation)
    client.psa_hash_setup(operation, SHA_256)
    assert len(client.psa_hash_finish(operation, hash_size=32)) == 32
    client.psa_hash_setup(operation, SHA_256)  # a finished one is inactive again
    client.psa_hash_abort(operation)


def test_an_iv_that_does_not_fit_ends_the_operation(client: PsaClient) -> None:
    operation = CipherOperation()
    client.psa_cipher_encrypt_setup(operation, aes(client, Algorithm.CTR), Algorithm.CTR)
    assert_status(PsaStatus.BUFFER_TOO_SMALL, client.psa_cipher_generate_iv, operation, iv_size=15)
    assert_status(PsaStatus.BAD_STATE, client.psa_cipher_update, operation, b"data")
    client.psa_cipher_abort(operation)


def test_both_outputs_of_an_aead_are_bounded(client: PsaClient) -> None:
    key = aes(client, Algorithm.GCM)

    def begun() -> AeadOperation:
        operation = AeadOperation()
        client.psa_aead_encrypt_setup(operation, key, Algorithm.GCM)
        client.psa_aead_set_nonce(operation, bytes(12))
        return operation

    operation = begun()
    assert_status(PsaStatus.BUFFER_TOO_SMALL, client.psa_aead_finish, operation, tag_size=15)
    assert_status(PsaStatus.BAD_STATE, client.psa_aead_encrypt_setup, operation, key, Algorithm.GCM)
    client.psa_aead_abort(operation)
    client.psa_aead_encrypt_setup(operation, key, Algorithm.GCM)
    client.psa_aead_abort(operation)
    assert client.psa_aead_finish(begun(), ciphertext_size=0, tag_size=16)[0] == b""


def test_a_derivation_that_is_exhausted_is_still_active(client: PsaClient) -> None:
    operation = begun_derivation(client)
    client.psa_key_derivation_set_capacity(operation, 40)
    client.psa_key_derivation_output_bytes(operation, 30)
    assert_status(PsaStatus.INSUFFICIENT_DATA, client.psa_key_derivation_output_bytes, operation, 11)
    assert is_active(operation)
    assert_status(PsaStatus.INSUFFICIENT_DATA, client.psa_key_derivation_output_bytes, operation, 1)
    client.psa_key_derivation_abort(operation)


def test_a_capacity_that_is_refused_leaves_the_old_one(client: PsaClient) -> None:
    operation = begun_derivation(client)
    client.psa_key_derivation_set_capacity(operation, 40)
    for capacity in (41, 2**32, -1):
        assert_status(PsaStatus.INVALID_ARGUMENT, client.psa_key_derivation_set_capacity, operation, capacity)
        assert client.psa_key_derivation_get_capacity(operation) == 40
    assert len(client.psa_key_derivation_output_bytes(operation, 40)) == 40
    client.psa_key_derivation_abort(operation)


def test_output_longer_than_a_call_comes_whole_or_not_at_all(client: PsaClient) -> None:
    alg = Algorithm.tls12_prf(Hash.SHA_256)
    key_id = client.psa_import_key(PsaKeyAttributes(KeyType.DERIVE, 0, UsageFlags.DERIVE, alg), KEY)

    def begun() -> KeyDerivationOperation:
        operation = KeyDerivationOperation()
        client.psa_key_derivation_setup(operation, alg)
        client.psa_key_derivation_input_bytes(operation, DerivationStep.SEED, b"seed")
        client.psa_key_derivation_input_key(operation, DerivationStep.SECRET, key_id)
        client.psa_key_derivation_input_bytes(operation, DerivationStep.LABEL, b"label")
        client.psa_key_derivation_set_capacity(operation, 3 * CAPACITY_BYTES)
        return operation

    operation = begun()
    whole = client.psa_key_derivation_output_bytes(operation, 3 * CAPACITY_BYTES)
    assert client.psa_key_derivation_get_capacity(operation) == 0
    assert_status(PsaStatus.INSUFFICIENT_DATA, client.psa_key_derivation_output_bytes, operation, 1)
    operation = begun()
    parts = [client.psa_key_derivation_output_bytes(operation, CAPACITY_BYTES // 2) for _ in range(6)]
    assert b"".join(parts) == whole
    operation = begun()
    assert_status(PsaStatus.INSUFFICIENT_DATA, client.psa_key_derivation_output_bytes, operation, len(whole) + 1)
    assert is_active(operation)
    assert client.psa_key_derivation_get_capacity(operation) == 0
    assert_status(PsaStatus.BAD_STATE, client.psa_key_derivation_output_bytes, KeyDerivationOperation(), len(whole))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_operation_belongs_to_the_session_it_was_set_up_in(family: str) -> None:
    """In another one its handle is another operation's: neither continued nor aborted there."""
    world = World()
    client, stranger = (psa_client(ContextTransport(world)) for _ in range(2))
    kind, set_up, step, _, abort = FAMILIES[family]
    mine, theirs, other = kind(), kind(), kind()
    set_up(client, mine)
    set_up(client, other)
    set_up(stranger, theirs)
    assert_status(PsaStatus.BAD_STATE, step, stranger, mine)
    abort(stranger, other)
    step(stranger, theirs)


def test_what_is_lost_with_another_service_leaves_operations_alone() -> None:
    transport = ContextTransport()
    storage = ContextSession(World().context())
    client = psa_client(transport)
    operation = HashOperation()
    client.psa_hash_setup(operation, SHA_256)

    def gone(_opcode: int) -> None:
        raise TeeError("the partition has ended")

    storage.before = gone
    transport.others[INTERNAL_TRUSTED_STORAGE] = storage
    assert_status(PsaStatus.COMMUNICATION_FAILURE, client.psa_its_get_info, 1)
    assert storage.is_closed
    assert client.psa_hash_finish(operation) == hashlib.sha256().digest()


def test_a_session_that_is_lost_takes_its_operations_along() -> None:
    transport = ContextTransport()
    client = psa_client(transport)
    operation, other = HashOperation(), HashOperation()
    client.psa_hash_setup(operation, SHA_256)
    client.psa_hash_setup(other, SHA_256)

    def gone(_opcode: int) -> None:
        raise TeeError("the partition has ended")

    transport.session.before = gone
    assert_status(PsaStatus.COMMUNICATION_FAILURE, client.psa_hash_update, operation, b"data")
    transport.session = ContextSession(World().context())
    fresh = HashOperation()
    client.psa_hash_setup(fresh, SHA_256)
    assert_status(PsaStatus.BAD_STATE, client.psa_hash_update, other, b"into another's hash")
    assert_status(PsaStatus.BAD_STATE, client.psa_hash_setup, other, SHA_256)
    client.psa_hash_abort(operation)
    client.psa_hash_abort(other)
    client.psa_hash_setup(other, SHA_256)
    assert client.psa_hash_finish(fresh) == hashlib.sha256().digest()


def test_the_lengths_of_an_aead_come_before_its_nonce(client: PsaClient) -> None:
    key_id = aes(client, Algorithm.GCM)
    operation = AeadOperation()
    for set_nonce in (
        lambda: client.psa_aead_set_nonce(operation, bytes(12)),
        lambda: client.psa_aead_generate_nonce(operation),
    ):
        client.psa_aead_encrypt_setup(operation, key_id, Algorithm.GCM)
        set_nonce()
        assert_status(PsaStatus.BAD_STATE, client.psa_aead_set_lengths, operation, 0, 0)
        assert not is_active(operation)
        client.psa_aead_abort(operation)
        for set_up in (client.psa_aead_encrypt_setup, client.psa_aead_decrypt_setup):
            set_up(operation, key_id, Algorithm.GCM)
            client.psa_aead_set_lengths(operation, 0, 0)
            client.psa_aead_set_nonce(operation, bytes(12))
            client.psa_aead_abort(operation)


def test_a_hash_is_cloned_into_an_inactive_operation_only(client: PsaClient) -> None:
    source, target = HashOperation(), HashOperation()
    assert_status(PsaStatus.BAD_STATE, client.psa_hash_clone, source, target)
    client.psa_hash_setup(source, SHA_256)
    client.psa_hash_update(source, b"both ")
    client.psa_hash_clone(source, target)
    assert_status(PsaStatus.BAD_STATE, client.psa_hash_clone, source, target)
    client.psa_hash_update(target, b"of us")

    assert client.psa_hash_finish(source) == client.psa_hash_compute(SHA_256, b"both ")
    assert client.psa_hash_finish(target) == client.psa_hash_compute(SHA_256, b"both of us")


def test_what_the_services_protocol_lacks_is_not_supported(client: PsaClient) -> None:
    operation = HashOperation()
    assert_status(PsaStatus.BAD_STATE, client.psa_hash_suspend, operation)
    assert_status(PsaStatus.NOT_SUPPORTED, client.psa_hash_resume, operation, b"")
    client.psa_hash_setup(operation, SHA_256)
    assert_status(PsaStatus.BAD_STATE, client.psa_hash_resume, operation, b"")
    assert_status(PsaStatus.NOT_SUPPORTED, client.psa_hash_suspend, operation)
    assert not is_active(operation)
    derivation = KeyDerivationOperation()
    assert_status(PsaStatus.BAD_STATE, client.psa_key_derivation_input_integer, derivation, 0x0205, 1)
    for missing, argument in (
        (client.psa_key_derivation_input_integer, (0x0205, 1)),
        (client.psa_key_derivation_verify_key, (1,)),
    ):
        client.psa_key_derivation_setup(derivation, HKDF)
        assert_status(PsaStatus.NOT_SUPPORTED, missing, derivation, *argument)
        assert not is_active(derivation)
        client.psa_key_derivation_abort(derivation)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_partition_is_left_without_operations(family: str) -> None:
    """As many as the partition can hold, several times over: what was aborted or has failed takes no room."""
    client = psa_client()
    kind, set_up, _, failing_step, abort = FAMILIES[family]
    for _ in range(50):
        operation = kind()
        set_up(client, operation)
        with suppress(PsaError):
            failing_step(client, operation)
        abort(client, operation)
