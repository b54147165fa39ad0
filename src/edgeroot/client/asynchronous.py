"""The asynchronous client, for asyncio: the core's calls, awaited."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from types import TracebackType
from typing import Concatenate, ParamSpec, TypeVar

from edgeroot.client.auth import Credentials
from edgeroot.client.core import Core, Flow
from edgeroot.client.endpoint import socket_path
from edgeroot.client.transport import AsyncTransport, Deadline, TransmissionFailedError
from edgeroot.client.transports.unix_async import AsyncUnixTransport

P = ParamSpec("P")
T = TypeVar("T")


def _awaited(
    call: Callable[Concatenate[Core, P], Flow[T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[object, object, T]]:
    @wraps(call)
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(call(self._core, *args, **kwargs))

    return method


class AsyncClient:
    """A client of a Parsec service. Tasks may share it: their calls run at once over a few connections.

    Arguments, methods and errors are those of :class:`edgeroot.client.Client`; the methods are awaited.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        app_name: str | None = None,
        provider: int | str | None = None,
        auth: Credentials | None = None,
        timeout_s: float | None = 60.0,
        keep_connection: bool = True,
        transport: AsyncTransport | None = None,
    ) -> None:
        self._core = Core(app_name=app_name, provider=provider, auth=auth, keep_connection=keep_connection)
        self._timeout_s = timeout_s
        self._transport = transport or AsyncUnixTransport(socket_path(endpoint))

    def with_provider(self, provider: int | str) -> AsyncClient:
        """A view of the same client, connections included, that uses another provider (id, UUID or name)."""
        view = object.__new__(type(self))
        view._core = self._core.view(provider)
        view._timeout_s, view._transport = self._timeout_s, self._transport
        return view

    async def close(self) -> None:
        """Close kept connections. A later call opens a new one."""
        await self._transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        await self.close()

    ping = _awaited(Core.ping)
    list_providers = _awaited(Core.list_providers)
    list_opcodes = _awaited(Core.list_opcodes)
    list_authenticators = _awaited(Core.list_authenticators)
    list_keys = _awaited(Core.list_keys)
    list_clients = _awaited(Core.list_clients)
    delete_client = _awaited(Core.delete_client)
    provider_id = _awaited(Core.provider_id)
    generate_key = _awaited(Core.generate_key)
    import_key = _awaited(Core.import_key)
    destroy_key = _awaited(Core.destroy_key)
    export_key = _awaited(Core.export_key)
    export_public_key = _awaited(Core.export_public_key)
    key_attributes = _awaited(Core.key_attributes)
    public_key = _awaited(Core.public_key)
    sign_hash = _awaited(Core.sign_hash)
    verify_hash = _awaited(Core.verify_hash)
    sign_message = _awaited(Core.sign_message)
    verify_message = _awaited(Core.verify_message)
    asymmetric_encrypt = _awaited(Core.asymmetric_encrypt)
    asymmetric_decrypt = _awaited(Core.asymmetric_decrypt)
    aead_encrypt = _awaited(Core.aead_encrypt)
    aead_decrypt = _awaited(Core.aead_decrypt)
    cipher_encrypt = _awaited(Core.cipher_encrypt)
    cipher_decrypt = _awaited(Core.cipher_decrypt)
    mac_compute = _awaited(Core.mac_compute)
    mac_verify = _awaited(Core.mac_verify)
    hash_compute = _awaited(Core.hash_compute)
    hash_compare = _awaited(Core.hash_compare)
    raw_key_agreement = _awaited(Core.raw_key_agreement)
    generate_random = _awaited(Core.generate_random)
    can_do_crypto = _awaited(Core.can_do_crypto)
    prepare_key_attestation = _awaited(Core.prepare_key_attestation)
    attest_key = _awaited(Core.attest_key)
    storage_set = _awaited(Core.storage_set)
    storage_get = _awaited(Core.storage_get)
    storage_info = _awaited(Core.storage_info)
    storage_remove = _awaited(Core.storage_remove)
    storage_list = _awaited(Core.storage_list)
    attestation_token = _awaited(Core.attestation_token)
    key_statement = _awaited(Core.key_statement)

    async def _run(self, flow: Flow[T]) -> T:
        deadline = Deadline(self._timeout_s)
        try:
            transmission = next(flow)
            while True:
                try:
                    response = await self._transport.transmit(transmission, deadline)
                except TransmissionFailedError as failure:
                    transmission = flow.throw(failure)
                else:
                    transmission = flow.send(response)
        except StopIteration as finished:
            value: T = finished.value
            return value
