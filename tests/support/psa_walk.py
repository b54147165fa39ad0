"""A walk through the PSA functional API, one step of each family, that says what it has seen."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator

from edgeroot.psa import Algorithm, DerivationStep, EccFamily, Hash, KeyType, PsaError, UsageFlags
from edgeroot.tee.psa import HashOperation, KeyDerivationOperation, PsaClient, PsaKeyAttributes
from edgeroot.tee.transports.tstee import TsteeTransport

SHA_256 = Algorithm.from_hash(Hash.SHA_256)
HMAC = Algorithm.hmac(Hash.SHA_256)
ECDSA = Algorithm.ecdsa(Hash.SHA_256)
AGREED = Algorithm.key_agreement(Algorithm.ECDH, Algorithm.hkdf(Hash.SHA_256))
CBC, GCM = Algorithm.CBC_PKCS7, Algorithm.GCM
P256 = KeyType.ecc_key_pair(EccFamily.SECP_R1)
CRYPT = UsageFlags.ENCRYPT | UsageFlags.DECRYPT
LONG = bytes(range(256)) * 400  # longer than what is shared with a service

EXPECTED = [
    "99000 random bytes",
    "hash True, clone True",
    "mac INVALID_SIGNATURE",
    "cipher True",
    "aead True",
    "signature INVALID_SIGNATURE",
    "derived alike True",
    "its True, ps True, again DOES_NOT_EXIST",
    "token fits True",
    "export NOT_PERMITTED",
]


def walk(client: PsaClient) -> Iterator[str]:
    client.psa_crypto_init()
    yield f"{len(client.psa_generate_random(99000))} random bytes"
    operation, clone = HashOperation(), HashOperation()
    client.psa_hash_setup(operation, SHA_256)
    client.psa_hash_update(operation, LONG)
    client.psa_hash_clone(operation, clone)
    client.psa_hash_update(clone, b"more")
    whole = client.psa_hash_finish(operation) == hashlib.sha256(LONG).digest()
    yield f"hash {whole}, clone {client.psa_hash_finish(clone) == hashlib.sha256(LONG + b'more').digest()}"
    usage = UsageFlags.SIGN_MESSAGE | UsageFlags.VERIFY_MESSAGE
    key = client.psa_generate_key(PsaKeyAttributes(KeyType.HMAC, 256, usage, HMAC))
    mac = client.psa_mac_compute(key, HMAC, LONG)
    client.psa_mac_verify(key, HMAC, LONG, mac)
    yield f"mac {_status(lambda: client.psa_mac_verify(key, HMAC, LONG + b'1', mac))}"
    cipher = client.psa_generate_key(PsaKeyAttributes(KeyType.AES, 256, CRYPT, CBC))
    yield f"cipher {client.psa_cipher_decrypt(cipher, CBC, client.psa_cipher_encrypt(cipher, CBC, LONG)) == LONG}"
    aead = client.psa_generate_key(PsaKeyAttributes(KeyType.AES, 256, CRYPT, GCM))
    sealed = client.psa_aead_encrypt(aead, GCM, bytes(12), LONG, LONG[::-1])
    yield f"aead {client.psa_aead_decrypt(aead, GCM, bytes(12), LONG, sealed) == LONG[::-1]}"
    usage |= UsageFlags.SIGN_HASH | UsageFlags.VERIFY_HASH
    pair = client.psa_generate_key(PsaKeyAttributes(P256, 256, usage, ECDSA))
    signature = client.psa_sign_message(pair, ECDSA, b"message")
    client.psa_verify_hash(pair, ECDSA, hashlib.sha256(b"message").digest(), signature)
    yield f"signature {_status(lambda: client.psa_verify_message(pair, ECDSA, b'other', signature))}"
    ours, theirs = (client.psa_generate_key(PsaKeyAttributes(P256, 256, UsageFlags.DERIVE, AGREED)) for _ in range(2))
    yield f"derived alike {_agreed(client, ours, theirs) == _agreed(client, theirs, ours)}"
    client.psa_its_set(77, LONG[:3000])
    client.psa_ps_create(77, len(LONG))
    client.psa_ps_set_extended(77, 0, LONG)
    its = client.psa_its_get(77, 1000, 9999) == LONG[1000:3000]
    ps = client.psa_ps_get(77, 0, len(LONG)) == LONG
    client.psa_its_remove(77)
    client.psa_ps_remove(77)
    yield f"its {its}, ps {ps}, again {_status(lambda: client.psa_ps_remove(77))}"
    token = client.psa_initial_attest_get_token(bytes(32))
    yield f"token fits {0 < len(token) <= client.psa_initial_attest_get_token_size(32)}"
    yield f"export {_status(lambda: client.psa_export_key(pair))}"
    for one in (key, cipher, aead, pair, ours, theirs):
        client.psa_destroy_key(one)


def _agreed(client: PsaClient, ours: int, theirs: int) -> bytes:
    operation = KeyDerivationOperation()
    client.psa_key_derivation_setup(operation, AGREED)
    peer = client.psa_export_public_key(theirs)
    client.psa_key_derivation_key_agreement(operation, DerivationStep.SECRET, ours, peer)
    client.psa_key_derivation_input_bytes(operation, DerivationStep.INFO, b"info")
    derived = client.psa_key_derivation_output_bytes(operation, 5000)  # longer than a page
    client.psa_key_derivation_abort(operation)
    return derived


def _status(call: Callable[[], object]) -> str:
    try:
        call()
    except PsaError as error:
        return error.status.name
    return "SUCCESS"


if __name__ == "__main__":
    with TsteeTransport() as transport, PsaClient(transport, buffer_bytes=int(sys.argv[1])) as one:
        for line in walk(one):
            print(line)
