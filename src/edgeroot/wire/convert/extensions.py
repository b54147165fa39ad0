"""Bodies of the operations beyond Parsec's contract."""

from __future__ import annotations

from typing import Final

from edgeroot.wire import operations as ops
from edgeroot.wire.contract.generated import extensions_pb2 as pb
from edgeroot.wire.convert.body import AnyBody, Body, without_fields

EXTENSION_BODIES: Final[tuple[AnyBody, ...]] = (
    Body(
        pb.StorageSetOperation,
        ops.StorageSet,
        decode=lambda m: ops.StorageSet(m.object_name, m.data, m.create_flags),
        encode=lambda v: pb.StorageSetOperation(object_name=v.object_name, data=v.data, create_flags=v.create_flags),
    ),
    Body(
        pb.StorageGetOperation,
        ops.StorageGet,
        decode=lambda m: ops.StorageGet(m.object_name, m.data_offset, m.data_size),
        encode=lambda v: pb.StorageGetOperation(
            object_name=v.object_name, data_offset=v.data_offset, data_size=v.data_size
        ),
    ),
    Body(
        pb.StorageGetResult,
        ops.StorageGetResult,
        decode=lambda m: ops.StorageGetResult(m.data),
        encode=lambda v: pb.StorageGetResult(data=v.data),
    ),
    Body(
        pb.StorageInfoOperation,
        ops.StorageInfo,
        decode=lambda m: ops.StorageInfo(m.object_name),
        encode=lambda v: pb.StorageInfoOperation(object_name=v.object_name),
    ),
    Body(
        pb.StorageInfoResult,
        ops.StorageInfoResult,
        decode=lambda m: ops.StorageInfoResult(m.capacity, m.size, m.flags),
        encode=lambda v: pb.StorageInfoResult(capacity=v.capacity, size=v.size, flags=v.flags),
    ),
    Body(
        pb.StorageRemoveOperation,
        ops.StorageRemove,
        decode=lambda m: ops.StorageRemove(m.object_name),
        encode=lambda v: pb.StorageRemoveOperation(object_name=v.object_name),
    ),
    without_fields(ops.StorageList),
    Body(
        pb.StorageListResult,
        ops.StorageListResult,
        decode=lambda m: ops.StorageListResult(tuple(ops.StoredObject(one.provider_id, one.name) for one in m.objects)),
        encode=lambda v: pb.StorageListResult(
            objects=(pb.StoredObject(provider_id=one.provider_id, name=one.name) for one in v.objects)
        ),
    ),
    Body(
        pb.AttestationTokenOperation,
        ops.AttestationToken,
        decode=lambda m: ops.AttestationToken(m.challenge),
        encode=lambda v: pb.AttestationTokenOperation(challenge=v.challenge),
    ),
    Body(
        pb.AttestationTokenResult,
        ops.AttestationTokenResult,
        decode=lambda m: ops.AttestationTokenResult(m.token),
        encode=lambda v: pb.AttestationTokenResult(token=v.token),
    ),
    Body(
        pb.KeyStatementOperation,
        ops.KeyStatement,
        decode=lambda m: ops.KeyStatement(m.key_name, m.challenge),
        encode=lambda v: pb.KeyStatementOperation(key_name=v.key_name, challenge=v.challenge),
    ),
    Body(
        pb.KeyStatementResult,
        ops.KeyStatementResult,
        decode=lambda m: ops.KeyStatementResult(m.statement),
        encode=lambda v: pb.KeyStatementResult(statement=v.statement),
    ),
)
