"""The synchronous client: the core's calls, driven to their end one after another."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from edgeroot.client.auth import Credentials
from edgeroot.client.core import Core, Flow
from edgeroot.client.endpoint import socket_path
from edgeroot.client.transport import Deadline, TransmissionFailedError, Transport
from edgeroot.client.transports.unix import UnixTransport

if TYPE_CHECKING:
    from edgeroot.client.keys import PrivateKey

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(call: Callable[Concatenate[Core, P], Flow[T]]) -> Callable[Concatenate[Client, P], T]:
    @wraps(call)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(call(self._core, *args, **kwargs))

    return method


class Client:
    """A client of a Parsec service. Threads may share it.

    ``endpoint``: ``unix:/path`` (default: ``PARSEC_SERVICE_ENDPOINT``, then ``unix:/run/parsec/parsec.sock``).
    ``app_name``: this application's name, where the service lets applications name themselves.
    ``provider``: id, UUID or name (default: the service's first).
    ``auth``: how to authenticate (default: the first way the service offers that this client can go).
    ``timeout_s``: bound of a whole call, None for no bound.
    ``keep_connection``: ask the service to keep connections open for further requests.
    ``transport``: another way to reach a service than a Unix socket; ``endpoint`` is not looked at then.

    Nothing is sent before the first call. Methods raise the errors of :mod:`edgeroot.client.errors`.
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
        transport: Transport | None = None,
    ) -> None:
        self._core = Core(app_name=app_name, provider=provider, auth=auth, keep_connection=keep_connection)
        self._timeout_s = timeout_s
        self._transport = transport or UnixTransport(socket_path(endpoint))

    def with_provider(self, provider: int | str) -> Client:
        """A view of the same client, connections included, that uses another provider (id, UUID or name)."""
        view = object.__new__(type(self))
        view._core = self._core.view(provider)
        view._timeout_s, view._transport = self._timeout_s, self._transport
        return view

    def close(self) -> None:
        """Close kept connections. A later call opens a new one."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def private_key(self, key_name: str) -> PrivateKey:
        """The key as a private key of the package ``cryptography``, which never leaves the service."""
        from edgeroot.client.keys import private_key

        return private_key(self, key_name, self.key_attributes(key_name))

    ping = _blocking(Core.ping)
    list_providers = _blocking(Core.list_providers)
    list_opcodes = _blocking(Core.list_opcodes)
    list_authenticators = _blocking(Core.list_authenticators)
    list_keys = _blocking(Core.list_keys)
    list_clients = _blocking(Core.list_clients)
    delete_client = _blocking(Core.delete_client)
    provider_id = _blocking(Core.provider_id)
    generate_key = _blocking(Core.generate_key)
    import_key = _blocking(Core.import_key)
    destroy_key = _blocking(Core.destroy_key)
    export_key = _blocking(Core.export_key)
    export_public_key = _blocking(Core.export_public_key)
    key_attributes = _blocking(Core.key_attributes)
    public_key = _blocking(Core.public_key)
    sign_hash = _blocking(Core.sign_hash)
    verify_hash = _blocking(Core.verify_hash)
    sign_message = _blocking(Core.sign_message)
    verify_message = _blocking(Core.verify_message)
    asymmetric_encrypt = _blocking(Core.asymmetric_encrypt)
    asymmetric_decrypt = _blocking(Core.asymmetric_decrypt)
    aead_encrypt = _blocking(Core.aead_encrypt)
    aead_decrypt = _blocking(Core.aead_decrypt)
    cipher_encrypt = _blocking(Core.cipher_encrypt)
    cipher_decrypt = _blocking(Core.cipher_decrypt)
    mac_compute = _blocking(Core.mac_compute)
    mac_verify = _blocking(Core.mac_verify)
    hash_compute = _blocking(Core.hash_compute)
    hash_compare = _blocking(Core.hash_compare)
    raw_key_agreement = _blocking(Core.raw_key_agreement)
    generate_random = _blocking(Core.generate_random)
    can_do_crypto = _blocking(Core.can_do_crypto)
    prepare_key_attestation = _blocking(Core.prepare_key_attestation)
    attest_key = _blocking(Core.attest_key)
    storage_set = _blocking(Core.storage_set)
    storage_get = _blocking(Core.storage_get)
    storage_info = _blocking(Core.storage_info)
    storage_remove = _blocking(Core.storage_remove)
    storage_list = _blocking(Core.storage_list)
    attestation_token = _blocking(Core.attestation_token)
    key_statement = _blocking(Core.key_statement)

    def _run(self, flow: Flow[T]) -> T:
        deadline = Deadline(self._timeout_s)
        try:
            transmission = next(flow)
            while True:
                try:
                    response = self._transport.transmit(transmission, deadline)
                except TransmissionFailedError as failure:
                    transmission = flow.throw(failure)
                else:
                    transmission = flow.send(response)
        except StopIteration as finished:
            value: T = finished.value
            return value
