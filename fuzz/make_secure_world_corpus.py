"""Write the seeds of the secure world's fuzz target: calls and requests that reach every answer there is.

Run ``python fuzz/make_secure_world_corpus.py`` from the root with the root and ``src`` on the path; the files are the
same each time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgeroot.abi import attestation, crypto, crypto_protobuf, fwu, storage
from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.abi.emulation import CHANNEL_OPEN, FRAME, MANAGER_STATUS
from edgeroot.abi.ffa import FunctionId
from edgeroot.abi.key_attributes import LIFETIME_PERSISTENT, AbiKeyAttributes
from edgeroot.abi.layout import Operation
from edgeroot.abi.memory import MemoryRelinquish, RetrieveRequest, Transaction
from edgeroot.abi.ts_rpc import (
    Call,
    Words,
    call_request,
    memory_relinquish_request,
    memory_retrieve_request,
    service_info_request,
    version_request,
)
from fuzz.fuzz_secure_world import (
    ADMINISTRATOR,
    ATTESTATION,
    ATTESTATION_RFC9783,
    CALL,
    CRYPTO,
    CRYPTO_CONTEXT,
    CRYPTO_PROTOBUF,
    DATAGRAM,
    FIRMWARE,
    FIRST_HANDLE,
    NOTHING,
    ONE_PAGE,
    OTHER_USER,
    PROTECTED_STORAGE,
    REQUEST,
    STORAGE,
    STORAGE_CONTEXT,
    STRANGER,
    TWO_FILES,
    UNSEALED,
    USER,
    image_type,
)
from fuzz.make_abi_corpus import message

CORPUS: Final = Path(__file__).resolve().parent / "corpus/secure_world"
MONITOR, CHANNELS, SERVICES = b"\0", b"\1", b"\2"
STORAGE_ID, CRYPTO_ID, ATTESTATION_ID = 0x8001, 0x8002, 0x8003
SOURCE: Final = 7
OPERATIONS: Final[dict[int, dict[int, Operation]]] = {
    STORAGE: dict(storage.OPERATIONS),
    PROTECTED_STORAGE: dict(storage.OPERATIONS),
    CRYPTO: dict(crypto.OPERATIONS),
    CRYPTO_PROTOBUF: dict(crypto_protobuf.OPERATIONS),
    ATTESTATION: dict(attestation.OPERATIONS),
    ATTESTATION_RFC9783: dict(attestation.OPERATIONS),
}


# The manager


def call(who: int, *registers: int, payload: bytes = b"", what: int = NOTHING) -> bytes:
    return CALL.pack(who, what, len(payload), *registers, *(0,) * (8 - len(registers))) + payload


def share(who: int, sender: int, receiver: int, what: int = ONE_PAGE) -> bytes:
    transaction = Transaction.share(sender=sender, receiver=receiver, page_count=1).encode()
    return call(who, FunctionId.MEM_SHARE_32, *[len(transaction)] * 2, payload=transaction, what=what)


def retrieve(who: int, source_id: int, receiver: int, handle: int = FIRST_HANDLE) -> bytes:
    request = RetrieveRequest(sender=source_id, receiver=receiver, handle=handle).encode()
    return call(who, FunctionId.MEM_RETRIEVE_REQ_32, *[len(request)] * 2, payload=request)


def relinquish(who: int, endpoint_id: int) -> bytes:
    request = MemoryRelinquish(handle=FIRST_HANDLE, endpoints=(endpoint_id,)).encode()
    return call(who, FunctionId.MEM_RELINQUISH, payload=request)


def reclaim(who: int) -> bytes:
    return call(who, FunctionId.MEM_RECLAIM, FIRST_HANDLE & 0xFFFFFFFF, FIRST_HANDLE >> 32)


def monitor_seeds() -> dict[str, bytes]:
    shared = share(USER, 1, CRYPTO_ID)
    retrieved = shared + retrieve(CRYPTO_CONTEXT, 1, CRYPTO_ID)
    return {
        "monitor-version": call(USER, FunctionId.VERSION, 0x10001),
        "monitor-id": call(USER, FunctionId.ID_GET),
        "monitor-partitions": call(OTHER_USER, FunctionId.PARTITION_INFO_GET),
        "monitor-channel": call(USER, CHANNEL_OPEN, CRYPTO_ID),
        "monitor-channel-denied": call(STORAGE_CONTEXT, CHANNEL_OPEN, CRYPTO_ID),
        "monitor-stranger": call(STRANGER, FunctionId.ID_GET),
        "monitor-status": call(ADMINISTRATOR, MANAGER_STATUS, 1),
        "monitor-unknown": call(USER, FunctionId.MSG_WAIT),
        "monitor-share-unsealed": share(USER, 1, CRYPTO_ID, UNSEALED),
        "monitor-share-two": share(USER, 1, CRYPTO_ID, TWO_FILES),
        "monitor-share-too-many": shared * 17,
        "monitor-retrieve": retrieved,
        "monitor-reclaim-denied": retrieved + reclaim(USER),
        "monitor-reclaim": retrieved + relinquish(CRYPTO_CONTEXT, CRYPTO_ID) + reclaim(USER),
        "monitor-reclaim-of-another": retrieved + relinquish(CRYPTO_CONTEXT, CRYPTO_ID) + reclaim(OTHER_USER),
        "monitor-chain": share(CRYPTO_CONTEXT, CRYPTO_ID, STORAGE_ID)
        + retrieve(STORAGE_CONTEXT, CRYPTO_ID, STORAGE_ID),
    }


# A partition's channels


def datagram(data: bytes, channel: int = 0) -> bytes:
    return DATAGRAM.pack(channel, len(data)) + data


def ask(words: Words, channel: int = 0, *, function: int = FunctionId.MSG_SEND_DIRECT_REQ_32, w2: int = 0) -> bytes:
    source_id = SOURCE + (channel == 2)
    return datagram(FRAME.pack(function, source_id << 16 | CRYPTO_ID, w2, *words, 5), channel)


def channel_seeds() -> dict[str, bytes]:
    retrieved = ask(memory_retrieve_request(1))
    info = service_info_request(image_type())
    return {
        "channels-version": ask(version_request()),
        "channels-info": ask(info),
        "channels-echo": retrieved + ask(call_request(Call(0, 1, 1, 64))),
        "channels-slow": retrieved + ask(call_request(Call(1, 1, 1, 64))),
        "channels-fault": retrieved + ask(call_request(Call(2, 1, 1, 64))),
        "channels-too-long": retrieved + ask(call_request(Call(0, 1, 1, 4097))),
        "channels-not-retrieved": ask(call_request(Call(0, 1, 1))),
        "channels-twice": retrieved * 2,
        "channels-back": retrieved + ask(memory_relinquish_request(1)),
        "channels-of-another": ask(memory_retrieve_request(2), 2),
        "channels-other-source": ask(version_request(), 2)[:-1],
        "channels-64": ask(version_request(), function=FunctionId.MSG_SEND_DIRECT_REQ_64),
        "channels-unknown": ask(version_request(), function=FunctionId.VERSION),
        "channels-framework": ask(version_request(), w2=1),
        "channels-route": DATAGRAM.pack(1, FRAME.size) + ask(version_request(), 2)[DATAGRAM.size :],
        "channels-short": datagram(b"short"),
        "channels-end": retrieved + datagram(b"") + ask(version_request()),
    }


# The partitions' services


def request(service: int, opcode: int, content: bytes, *, capacity: int = 0, other: bool = False) -> bytes:
    return REQUEST.pack(service, opcode, capacity | other << 7, len(content)) + content


def typed(service: int, opcode: int, content: object, *, other: bool = False) -> bytes:
    return request(service, opcode, OPERATIONS[service][opcode].request.encode(content), other=other)


KEY: Final = 5  # its id, which the caller chooses


def kind(key_type: int, key_bits: int, usage: int, algorithm: int, *, key_id: int = KEY) -> AbiKeyAttributes:
    return AbiKeyAttributes(
        key_type=key_type,
        key_bits=key_bits,
        lifetime=LIFETIME_PERSISTENT if key_id else 0,
        key_id=key_id,
        usage=usage,
        algorithm=algorithm,
    )


ECDSA, ECDH, CTR, GCM, HMAC, HKDF = 0x06000609, 0x09020000, 0x04C01000, 0x05500200, 0x03800009, 0x08000109
SIGNING: Final = kind(0x7112, 256, 0x3000, ECDSA, key_id=0)
PERSISTENT: Final = kind(0x7112, 256, 0x3001, ECDSA)
BASE_POINT: Final = bytes.fromhex(  # of P-256: a public key as good as any
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
FIRST_VOLATILE: Final = 0x7FFFFFE0  # what the partition chooses first


def every_request() -> dict[str, bytes]:
    """One request for each operation, as good as it can be without what comes before it."""
    names = {
        STORAGE: "storage",
        PROTECTED_STORAGE: "protected",
        CRYPTO: "crypto",
        CRYPTO_PROTOBUF: "protobuf",
        ATTESTATION: "attestation",
        ATTESTATION_RFC9783: "rfc9783",
    }
    found = {
        f"{names[service]}-{opcode:04x}": request(service, opcode, message(operation.request))
        for service, operations in OPERATIONS.items()
        for opcode, operation in operations.items()
    }
    for function, operation in fwu.OPERATIONS.items():
        found[f"firmware-{function}"] = firmware(function, message(operation.request))
    return found


def firmware(function: int, payload: bytes = b"") -> bytes:
    return request(FIRMWARE, 0, function.to_bytes(4, "little") + payload)


def key_of(attributes: AbiKeyAttributes) -> bytes:
    return typed(CRYPTO, Op.GENERATE_KEY, m.GenerateKeyRequest(attributes))


def with_keys() -> dict[str, bytes]:
    """Operations with a key, to their end."""
    fed, ended = m.HandleDataRequest(1, b"sixteen bytes of"), m.HandleRequest(1)
    aes = kind(0x2400, 128, 0x300, CTR)
    aead = kind(0x2400, 128, 0x300, GCM)
    deriving = kind(0x1200, 256, 0x4000, HKDF)
    agreeing = kind(0x7112, 256, 0x4000, ECDH)
    exported = kind(0x2400, 128, 0x303, CTR)
    return {
        "crypto-cipher": key_of(aes)
        + typed(CRYPTO, Op.CIPHER_ENCRYPT_SETUP, m.KeyAlgorithmRequest(KEY, CTR))
        + typed(CRYPTO, Op.CIPHER_GENERATE_IV, ended)
        + typed(CRYPTO, Op.CIPHER_UPDATE, fed)
        + typed(CRYPTO, Op.CIPHER_FINISH, ended),
        "crypto-decipher": key_of(aes)
        + typed(CRYPTO, Op.CIPHER_DECRYPT_SETUP, m.KeyAlgorithmRequest(KEY, CTR))
        + typed(CRYPTO, Op.CIPHER_SET_IV, fed)
        + typed(CRYPTO, Op.CIPHER_UPDATE, fed),
        "crypto-aead": key_of(aead)
        + typed(CRYPTO, Op.AEAD_ENCRYPT_SETUP, m.KeyAlgorithmRequest(KEY, GCM))
        + typed(CRYPTO, Op.AEAD_GENERATE_NONCE, ended)
        + typed(CRYPTO, Op.AEAD_SET_LENGTHS, m.SetLengthsRequest(1, 16, 16))
        + typed(CRYPTO, Op.AEAD_UPDATE_AD, fed)
        + typed(CRYPTO, Op.AEAD_UPDATE, fed)
        + typed(CRYPTO, Op.AEAD_FINISH, ended),
        "crypto-aead-forged": key_of(aead)
        + typed(CRYPTO, Op.AEAD_DECRYPT_SETUP, m.KeyAlgorithmRequest(KEY, GCM))
        + typed(CRYPTO, Op.AEAD_SET_NONCE, m.HandleDataRequest(1, bytes(12)))
        + typed(CRYPTO, Op.AEAD_UPDATE, fed)
        + typed(CRYPTO, Op.AEAD_VERIFY, fed),
        "crypto-mac": key_of(kind(0x1100, 256, 0xC00, HMAC))
        + typed(CRYPTO, Op.MAC_SIGN_SETUP, m.KeyAlgorithmRequest(KEY, HMAC))
        + typed(CRYPTO, Op.MAC_UPDATE, fed)
        + typed(CRYPTO, Op.MAC_SIGN_FINISH, ended),
        "crypto-derive-key": key_of(deriving)
        + typed(CRYPTO, Op.KEY_DERIVATION_SETUP, m.AlgorithmRequest(HKDF))
        + typed(CRYPTO, Op.KEY_DERIVATION_INPUT_KEY, m.InputKeyRequest(1, 0x0101, KEY))
        + typed(CRYPTO, Op.KEY_DERIVATION_INPUT_BYTES, m.InputBytesRequest(1, 0x0203, b"info"))
        + typed(CRYPTO, Op.KEY_DERIVATION_SET_CAPACITY, m.SetCapacityRequest(1, 64))
        + typed(CRYPTO, Op.KEY_DERIVATION_OUTPUT_KEY, m.OutputKeyRequest(1, kind(0x2400, 128, 0x300, CTR, key_id=0)))
        + typed(CRYPTO, Op.KEY_DERIVATION_GET_CAPACITY, ended),
        "crypto-agree": key_of(agreeing)
        + typed(CRYPTO, Op.RAW_KEY_AGREEMENT, m.RawKeyAgreementRequest(ECDH, KEY, BASE_POINT)),
        "crypto-import": typed(CRYPTO, Op.IMPORT_KEY, m.ImportKeyRequest(exported, b"sixteen bytes of"))
        + typed(CRYPTO, Op.COPY_KEY, m.CopyKeyRequest(KEY, kind(0x2400, 128, 0x301, CTR, key_id=6)))
        + typed(CRYPTO, Op.PURGE_KEY, m.KeyIdRequest(6))
        + typed(CRYPTO, Op.EXPORT_KEY, m.KeyIdRequest(6)),
        "crypto-forged": key_of(PERSISTENT)
        + typed(CRYPTO, Op.VERIFY_HASH, m.VerifyRequest(KEY, ECDSA, bytes(32), b"\1" * 64)),
        "crypto-of-another": key_of(PERSISTENT) + typed(CRYPTO, Op.EXPORT_PUBLIC_KEY, m.KeyIdRequest(KEY), other=True),
    }


def scenarios() -> dict[str, bytes]:
    """Requests that need others before them."""
    make, persist = m.GenerateKeyRequest(SIGNING), m.GenerateKeyRequest(PERSISTENT)
    hashed = m.HandleDataRequest(1, b"data")
    uid = 5
    stored = typed(STORAGE, storage.StorageOpcode.SET, storage.SetRequest(uid, 0, b"content"))
    get = storage.GetRequest(uid, 0, 100)
    staged = firmware(fwu.FwuFunction.BEGIN_STAGING, bytes(12))
    opened = staged + firmware(fwu.FwuFunction.OPEN, image_type().bytes_le + b"\1")
    return {
        "storage-get-stored": stored + typed(STORAGE, storage.StorageOpcode.GET, get),
        "storage-get-of-another": stored + typed(STORAGE, storage.StorageOpcode.GET, get, other=True),
        "storage-no-memory": stored + request(STORAGE, storage.StorageOpcode.GET_SUPPORT, b"", capacity=3),
        "crypto-sign": typed(CRYPTO, Op.GENERATE_KEY, make)
        + typed(CRYPTO, Op.SIGN_HASH, m.SignRequest(FIRST_VOLATILE, SIGNING.algorithm, bytes(32))),
        "protobuf-sign": typed(CRYPTO_PROTOBUF, Op.GENERATE_KEY, persist)
        + typed(CRYPTO_PROTOBUF, Op.SIGN_HASH, m.SignRequest(KEY, SIGNING.algorithm, bytes(32))),
        "crypto-persistent-export": typed(CRYPTO, Op.GENERATE_KEY, persist)
        + typed(CRYPTO, Op.EXPORT_KEY, m.KeyIdRequest(KEY))
        + typed(CRYPTO, Op.DESTROY_KEY, m.KeyIdRequest(KEY))
        + typed(CRYPTO, Op.EXPORT_PUBLIC_KEY, m.KeyIdRequest(KEY)),
        "crypto-hash": typed(CRYPTO, Op.HASH_SETUP, m.AlgorithmRequest(0x02000009))
        + typed(CRYPTO, Op.HASH_UPDATE, hashed)
        + typed(CRYPTO, Op.HASH_FINISH, m.HandleRequest(1)),
        "crypto-derive": typed(CRYPTO, Op.KEY_DERIVATION_SETUP, m.AlgorithmRequest(HKDF))
        + typed(CRYPTO, Op.KEY_DERIVATION_INPUT_BYTES, m.InputBytesRequest(1, 0x0101, b"secret"))
        + typed(CRYPTO, Op.KEY_DERIVATION_INPUT_BYTES, m.InputBytesRequest(1, 0x0203, b"info"))
        + typed(CRYPTO, Op.KEY_DERIVATION_OUTPUT_BYTES, m.OutputBytesRequest(1, 16)),
        "attestation-token": typed(
            ATTESTATION, attestation.AttestationOpcode.GET_TOKEN, attestation.GetTokenRequest(bytes(32))
        ),
        "firmware-update": opened
        + firmware(fwu.FwuFunction.WRITE_STREAM, bytes((1, 0, 0, 0, 4, 0, 0, 0)) + b"code")
        + firmware(fwu.FwuFunction.COMMIT, bytes((1, 0, 0, 0)) + bytes(8))
        + firmware(fwu.FwuFunction.END_STAGING),
        "no-such-operation": request(CRYPTO, 0xFFFF, b""),
        "malformed": request(CRYPTO, Op.SIGN_HASH, b"\1"),
    }


def seeds() -> dict[str, bytes]:
    """Every seed by its file name."""
    return (
        {name: MONITOR + steps for name, steps in monitor_seeds().items()}
        | {name: CHANNELS + steps for name, steps in channel_seeds().items()}
        | {name: SERVICES + steps for name, steps in (every_request() | with_keys() | scenarios()).items()}
    )


if __name__ == "__main__":
    CORPUS.mkdir(parents=True, exist_ok=True)
    for file_name, content in seeds().items():
        (CORPUS / file_name).write_bytes(content)
