"""The core provider (id 0): what the service says of itself, and administration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from edgeroot._version import __version__
from edgeroot.auth import Authenticator, Identity
from edgeroot.keystore.reader import Reader
from edgeroot.keystore.records import KeyIdentity
from edgeroot.psa import KeyAttributes
from edgeroot.service.call import Call
from edgeroot.service.creation import KeyFactory
from edgeroot.service.effects import PAUSE, BodySteps
from edgeroot.service.mounted import MountedProvider
from edgeroot.service.tokens import TokenAuthenticator
from edgeroot.wire import operations as ops
from edgeroot.wire.codec import encode_result
from edgeroot.wire.header import FLAG_EXTENDED
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.status import ResponseStatus, WireError

# Upstream's numbers and strings, which its clients and tools compare and print.
_UUID: Final = "47049873-2a43-4845-9d72-831eab668784"
_DESCRIPTION: Final = "Software provider that implements only administrative (i.e. no cryptographic) operations"
_VERSION: Final = (1, 5, 0)
_OPCODES_FOR_ALL: Final = (
    Opcode.PING,
    Opcode.LIST_PROVIDERS,
    Opcode.LIST_OPCODES,
    Opcode.LIST_AUTHENTICATORS,
    Opcode.LIST_KEYS,
)
_OPCODES_EXTENDED: Final = (*_OPCODES_FOR_ALL, Opcode.LIST_CLIENTS, Opcode.DELETE_CLIENT, Opcode.STORAGE_LIST)
_PONG: Final = encode_result(ops.PingResult(1, 0))
_KEYS_PER_SLICE: Final = 100  # about a millisecond of reading and encoding


class CoreProvider:
    """Answers core operations. Only what it lists in an extended answer goes beyond upstream's set."""

    def __init__(
        self,
        providers: Sequence[MountedProvider],
        readers: Sequence[Reader],
        factory: KeyFactory,
    ) -> None:
        self._providers = providers
        self._readers = readers
        self._factory = factory
        self._by_wire_id = {provider.wire_id: provider for provider in providers}

    def handle(self, call: Call, operation: ops.Operation) -> bytes | BodySteps:
        """The response's body, or the steps to it. The caller has checked identity and admin rights."""
        extended = bool(call.request.flags & FLAG_EXTENDED)
        match operation:
            case ops.Ping():
                return _PONG
            case ops.ListProviders():
                return self._list_providers(extended=extended)
            case ops.ListOpcodes(provider_id=provider_id):
                return self._list_opcodes(provider_id, extended=extended)
            case ops.ListAuthenticators():
                return _list_authenticators(call.door.authenticators.values())
            case ops.ListKeys():
                return self._list_keys(call.require_identity(), extended=extended)
            case ops.StorageList():
                return self._list_objects(call.require_identity())
            case ops.ListClients():
                return self._list_clients(call.require_identity())
            case ops.DeleteClient(client=client):
                call.key_name = client  # the audit log has to say whose keys were destroyed
                return self._delete_client(Identity(call.require_identity().authenticator, client))
        raise WireError(ResponseStatus.PSA_ERROR_NOT_SUPPORTED)

    def _list_providers(self, *, extended: bool) -> bytes:
        listed = [
            ops.ProviderInfo(
                uuid=mounted.identity.uuid,
                description=mounted.identity.description,
                vendor=mounted.identity.vendor,
                version_maj=mounted.identity.version[0],
                version_min=mounted.identity.version[1],
                version_rev=mounted.identity.version[2],
                id=mounted.wire_id,
                name=mounted.name if extended else "",
            )
            for mounted in self._providers
            if extended or mounted.listed_to_all
        ]
        core = ops.ProviderInfo(
            uuid=_UUID,
            description=_DESCRIPTION,
            vendor="",
            version_maj=_VERSION[0],
            version_min=_VERSION[1],
            version_rev=_VERSION[2],
            id=ops.ProviderId.CORE,
            name="core-provider" if extended else "",
            edgeroot_version=__version__ if extended else "",
        )
        # Clients take the first entry as their default provider, so the core provider comes last.
        return encode_result(ops.ListProvidersResult((*listed, core)))

    def _list_opcodes(self, provider_id: int, *, extended: bool) -> bytes:
        if provider_id == ops.ProviderId.CORE:
            return encode_result(ops.ListOpcodesResult(_OPCODES_EXTENDED if extended else _OPCODES_FOR_ALL))
        if provider_id > max(ops.ProviderId) and not extended:
            raise WireError(ResponseStatus.PROVIDER_DOES_NOT_EXIST)
        mounted = self._by_wire_id.get(provider_id)
        if mounted is None:
            raise WireError(ResponseStatus.PROVIDER_NOT_REGISTERED)
        return encode_result(ops.ListOpcodesResult(mounted.opcodes(extended=extended)))

    def _list_keys(self, identity: Identity, *, extended: bool) -> BodySteps:
        pieces: list[bytes] = []
        for mounted in self._providers:
            if extended or mounted.listed_to_all:
                for page in self._pages(identity, mounted, mounted.name):
                    keys = tuple(ops.KeyInfo(mounted.wire_id, key_name, attributes) for key_name, attributes in page)
                    pieces.append(encode_result(ops.ListKeysResult(keys)))
                    if len(page) == _KEYS_PER_SLICE:
                        yield PAUSE
        return b"".join(pieces)

    def _list_objects(self, identity: Identity) -> BodySteps:
        pieces: list[bytes] = []
        for mounted in self._providers:
            for page in self._pages(identity, mounted, mounted.objects_name):
                objects = tuple(ops.StoredObject(mounted.wire_id, name) for name, _ in page)
                pieces.append(encode_result(ops.StorageListResult(objects)))
                if len(page) == _KEYS_PER_SLICE:
                    yield PAUSE
        return b"".join(pieces)

    def _pages(
        self, owner: Identity, mounted: MountedProvider, provider: str
    ) -> Iterator[list[tuple[str, KeyAttributes]]]:
        # A repeated field of one message may be encoded in pieces and joined (Protocol Buffers, "Message Structure"),
        # so a long list is made in slices and other users' requests go in between.
        after: str | None = None
        while True:
            page = self._readers[mounted.store].list_page(*owner, provider, after=after, limit=_KEYS_PER_SLICE)
            yield page
            if len(page) < _KEYS_PER_SLICE:
                break
            after = page[-1][0]

    def _list_clients(self, admin: Identity) -> bytes:
        # DeleteClient reaches the keys under the admin's own authenticator only, so only those are shown.
        clients = {name for reader in self._readers for name in reader.list_applications(admin.authenticator)}
        return encode_result(ops.ListClientsResult(tuple(sorted(clients))))

    def _delete_client(self, client: Identity) -> BodySteps:
        for mounted in self._providers:
            kept = [mounted.objects_name]
            if mounted.provider.keeps_keys:
                kept.append(mounted.name)
            else:
                yield from self._factory.remove_all(mounted, *client)
            for owner in kept:
                page = self._readers[mounted.store].list_page(*client, owner, after=None, limit=-1)
                yield from self._factory.destroy_each(mounted, [KeyIdentity(*client, owner, name) for name, _ in page])
        return b""


def _list_authenticators(authenticators: Iterable[Authenticator | TokenAuthenticator]) -> bytes:
    # Clients take the first that they can serve, so each listener names those that it accepts and no other.
    listed = tuple(
        ops.AuthenticatorInfo(
            description=authenticator.description,
            version_maj=authenticator.version[0],
            version_min=authenticator.version[1],
            version_rev=authenticator.version[2],
            id=authenticator.auth_type,
        )
        for authenticator in authenticators
    )
    return encode_result(ops.ListAuthenticatorsResult(listed))
