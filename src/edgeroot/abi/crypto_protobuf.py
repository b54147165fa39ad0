"""The crypto service's protobuf interface: the same messages as packed-c, for the operations that it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError, Message

from edgeroot.abi import crypto_messages as m
from edgeroot.abi.contract.generated import crypto_pb2 as pb
from edgeroot.abi.crypto import CryptoOpcode
from edgeroot.abi.key_attributes import AbiKeyAttributes
from edgeroot.abi.layout import Layout, Operation
from edgeroot.abi.rpc_status import RpcError, RpcStatus

MessageT = TypeVar("MessageT", bound=Message)
T = TypeVar("T")


def _layout(
    value_type: type[T],
    message_type: type[MessageT],
    encode: Callable[[T], MessageT],
    decode: Callable[[MessageT], T],
    *,
    response: bool = False,
) -> Layout[T]:
    status = RpcStatus.INVALID_RESPONSE_BODY if response else RpcStatus.INVALID_REQUEST_BODY

    def encode_bytes(value: T) -> bytes:
        return encode(value).SerializeToString()

    def decode_bytes(data: bytes) -> T:
        message = message_type()
        try:
            message.ParseFromString(data)
        except DecodeError as error:
            raise RpcError(status, f"no {message_type.DESCRIPTOR.name}") from error
        return decode(message)

    return Layout(value_type, encode_bytes, decode_bytes)


def _to_attributes(value: AbiKeyAttributes) -> pb.KeyAttributes:
    return pb.KeyAttributes(
        type=value.key_type,
        key_bits=value.key_bits,
        lifetime=value.lifetime,
        id=value.key_id,
        policy=pb.KeyPolicy(usage=value.usage, alg=value.algorithm),
    )


def _from_attributes(message: pb.KeyAttributes) -> AbiKeyAttributes:
    return AbiKeyAttributes(
        key_type=message.type,
        key_bits=message.key_bits,
        lifetime=message.lifetime,
        key_id=message.id,
        usage=message.policy.usage,
        algorithm=message.policy.alg,
    )


# Of messages that differ in their name alone, one stands for all: on the wire they are the same.
_key_id = _layout(m.KeyIdRequest, pb.ExportKeyIn, lambda v: pb.ExportKeyIn(id=v.key_id), lambda p: m.KeyIdRequest(p.id))
_generate_key = _layout(
    m.GenerateKeyRequest,
    pb.GenerateKeyIn,
    lambda v: pb.GenerateKeyIn(attributes=_to_attributes(v.attributes)),
    lambda p: m.GenerateKeyRequest(_from_attributes(p.attributes)),
)
_import_key = _layout(
    m.ImportKeyRequest,
    pb.ImportKeyIn,
    lambda v: pb.ImportKeyIn(attributes=_to_attributes(v.attributes), data=v.data),
    lambda p: m.ImportKeyRequest(_from_attributes(p.attributes), p.data),
)
_sign = _layout(
    m.SignRequest,
    pb.SignHashIn,
    lambda v: pb.SignHashIn(id=v.key_id, alg=v.algorithm, hash=v.data),
    lambda p: m.SignRequest(p.id, p.alg, p.hash),
)
_verify = _layout(
    m.VerifyRequest,
    pb.VerifyHashIn,
    lambda v: pb.VerifyHashIn(id=v.key_id, alg=v.algorithm, hash=v.data, signature=v.signature),
    lambda p: m.VerifyRequest(p.id, p.alg, p.hash, p.signature),
)
_decrypt = _layout(
    m.AsymmetricDecryptRequest,
    pb.AsymmetricDecryptIn,
    lambda v: pb.AsymmetricDecryptIn(id=v.key_id, alg=v.algorithm, ciphertext=v.ciphertext, salt=v.salt),
    lambda p: m.AsymmetricDecryptRequest(p.id, p.alg, p.ciphertext, p.salt),
)
_encrypt = _layout(
    m.AsymmetricEncryptRequest,
    pb.AsymmetricEncryptIn,
    lambda v: pb.AsymmetricEncryptIn(id=v.key_id, alg=v.algorithm, plaintext=v.plaintext, salt=v.salt),
    lambda p: m.AsymmetricEncryptRequest(p.id, p.alg, p.plaintext, p.salt),
)
_random = _layout(
    m.GenerateRandomRequest,
    pb.GenerateRandomIn,
    lambda v: pb.GenerateRandomIn(size=v.size_bytes),
    lambda p: m.GenerateRandomRequest(p.size),
)
_nothing = _layout(
    m.EmptyResponse, pb.DestroyKeyOut, lambda _: pb.DestroyKeyOut(), lambda _: m.EmptyResponse(), response=True
)
_new_key = _layout(
    m.KeyIdResponse,
    pb.GenerateKeyOut,
    lambda v: pb.GenerateKeyOut(id=v.key_id),
    lambda p: m.KeyIdResponse(p.id),
    response=True,
)
_data = _layout(
    m.DataResponse,
    pb.ExportKeyOut,
    lambda v: pb.ExportKeyOut(data=v.data),
    lambda p: m.DataResponse(p.data),
    response=True,
)

_Op = CryptoOpcode
_ROWS: Final[tuple[tuple[CryptoOpcode, Any, Any], ...]] = (
    (_Op.GENERATE_KEY, _generate_key, _new_key),
    (_Op.DESTROY_KEY, _key_id, _nothing),
    (_Op.EXPORT_KEY, _key_id, _data),
    (_Op.EXPORT_PUBLIC_KEY, _key_id, _data),
    (_Op.IMPORT_KEY, _import_key, _new_key),
    (_Op.SIGN_HASH, _sign, _data),
    (_Op.VERIFY_HASH, _verify, _nothing),
    (_Op.ASYMMETRIC_DECRYPT, _decrypt, _data),
    (_Op.ASYMMETRIC_ENCRYPT, _encrypt, _data),
    (_Op.GENERATE_RANDOM, _random, _data),
    (_Op.SIGN_MESSAGE, _sign, _data),
    (_Op.VERIFY_MESSAGE, _verify, _nothing),
)
OPERATIONS: Final[Mapping[int, Operation]] = MappingProxyType({int(row[0]): Operation(*row) for row in _ROWS})
"""By opcode. Copying, purging and the attributes of keys, and everything of several parts, is in packed-c alone."""
