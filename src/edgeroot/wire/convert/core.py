"""Bodies of the core provider's operations."""

from __future__ import annotations

from typing import Final

from edgeroot.wire import operations as ops
from edgeroot.wire.contract.generated import core_pb2 as pb
from edgeroot.wire.convert.attributes import decode_attributes, encode_attributes
from edgeroot.wire.convert.body import AnyBody, Body, without_fields


def _decode_provider(message: pb.ProviderInfo) -> ops.ProviderInfo:
    return ops.ProviderInfo(
        uuid=message.uuid,
        description=message.description,
        vendor=message.vendor,
        version_maj=message.version_maj,
        version_min=message.version_min,
        version_rev=message.version_rev,
        id=message.id,
        name=message.name,
        edgeroot_version=message.edgeroot_version,
    )


def _encode_provider(provider: ops.ProviderInfo) -> pb.ProviderInfo:
    return pb.ProviderInfo(
        uuid=provider.uuid,
        description=provider.description,
        vendor=provider.vendor,
        version_maj=provider.version_maj,
        version_min=provider.version_min,
        version_rev=provider.version_rev,
        id=provider.id,
        name=provider.name,
        edgeroot_version=provider.edgeroot_version,
    )


def _decode_authenticator(message: pb.AuthenticatorInfo) -> ops.AuthenticatorInfo:
    return ops.AuthenticatorInfo(
        description=message.description,
        version_maj=message.version_maj,
        version_min=message.version_min,
        version_rev=message.version_rev,
        id=message.id,
    )


def _encode_authenticator(authenticator: ops.AuthenticatorInfo) -> pb.AuthenticatorInfo:
    return pb.AuthenticatorInfo(
        description=authenticator.description,
        version_maj=authenticator.version_maj,
        version_min=authenticator.version_min,
        version_rev=authenticator.version_rev,
        id=authenticator.id,
    )


def _decode_key(message: pb.KeyInfo) -> ops.KeyInfo:
    return ops.KeyInfo(
        provider_id=message.provider_id, name=message.name, attributes=decode_attributes(message.attributes)
    )


def _encode_key(key: ops.KeyInfo) -> pb.KeyInfo:
    return pb.KeyInfo(provider_id=key.provider_id, name=key.name, attributes=encode_attributes(key.attributes))


CORE_BODIES: Final[tuple[AnyBody, ...]] = (
    without_fields(ops.Empty),
    without_fields(ops.Ping),
    Body(
        pb.PingResult,
        ops.PingResult,
        decode=lambda m: ops.PingResult(m.wire_protocol_version_maj, m.wire_protocol_version_min),
        encode=lambda v: pb.PingResult(
            wire_protocol_version_maj=v.wire_protocol_version_maj,
            wire_protocol_version_min=v.wire_protocol_version_min,
        ),
    ),
    without_fields(ops.ListProviders),
    Body(
        pb.ListProvidersResult,
        ops.ListProvidersResult,
        decode=lambda m: ops.ListProvidersResult(tuple(map(_decode_provider, m.providers))),
        encode=lambda v: pb.ListProvidersResult(providers=map(_encode_provider, v.providers)),
    ),
    Body(
        pb.ListOpcodesOperation,
        ops.ListOpcodes,
        decode=lambda m: ops.ListOpcodes(m.provider_id),
        encode=lambda v: pb.ListOpcodesOperation(provider_id=v.provider_id),
    ),
    Body(
        pb.ListOpcodesResult,
        ops.ListOpcodesResult,
        decode=lambda m: ops.ListOpcodesResult(tuple(m.opcodes)),
        encode=lambda v: pb.ListOpcodesResult(opcodes=v.opcodes),
    ),
    without_fields(ops.ListAuthenticators),
    Body(
        pb.ListAuthenticatorsResult,
        ops.ListAuthenticatorsResult,
        decode=lambda m: ops.ListAuthenticatorsResult(tuple(map(_decode_authenticator, m.authenticators))),
        encode=lambda v: pb.ListAuthenticatorsResult(authenticators=map(_encode_authenticator, v.authenticators)),
    ),
    without_fields(ops.ListKeys),
    Body(
        pb.ListKeysResult,
        ops.ListKeysResult,
        decode=lambda m: ops.ListKeysResult(tuple(map(_decode_key, m.keys))),
        encode=lambda v: pb.ListKeysResult(keys=map(_encode_key, v.keys)),
    ),
    without_fields(ops.ListClients),
    Body(
        pb.ListClientsResult,
        ops.ListClientsResult,
        decode=lambda m: ops.ListClientsResult(tuple(m.clients)),
        encode=lambda v: pb.ListClientsResult(clients=v.clients),
    ),
    Body(
        pb.DeleteClientOperation,
        ops.DeleteClient,
        decode=lambda m: ops.DeleteClient(m.client),
        encode=lambda v: pb.DeleteClientOperation(client=v.client),
    ),
)
