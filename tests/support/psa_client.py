"""A PSA client before a crypto partition without processes."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from edgeroot.abi.crypto import CryptoOpcode
from edgeroot.abi.services import CRYPTO
from edgeroot.tee.api import DEFAULT_BUFFER_BYTES, NoSuchServiceError, Session, Transport
from edgeroot.tee.psa import PsaClient
from tests.support.crypto_partition import CAPACITY_BYTES, Context, World


class ContextSession(Session):
    """``before`` is called with each opcode; what it raises is the call's outcome."""

    def __init__(self, context: Context) -> None:
        self.capacity_bytes = CAPACITY_BYTES
        self.opcodes: list[int] = []
        self.before: Callable[[int], None] = lambda _opcode: None
        self.is_closed = False
        self._context = context

    def call(self, opcode: int, request: bytes) -> tuple[int, bytes]:
        if len(request) > self.capacity_bytes:
            raise ValueError("the request is too long")
        self.opcodes.append(CryptoOpcode(opcode))
        self.before(opcode)
        return self._context.call(opcode, request)

    def close(self) -> None:
        self.is_closed = True


class ContextTransport(Transport):
    """Offers the crypto service, through one session, and what ``others`` has."""

    def __init__(self, world: World | None = None) -> None:
        self.session = ContextSession((world or World()).context())
        self.others: dict[UUID, Session] = {}

    def open_session(self, service: UUID, *, buffer_bytes: int = DEFAULT_BUFFER_BYTES) -> Session:
        del buffer_bytes
        if service in self.others:
            return self.others[service]
        if service != CRYPTO:
            raise NoSuchServiceError(f"no partition offers {service}")
        return self.session

    def close(self) -> None:
        self.session.close()


def psa_client(transport: Transport | None = None) -> PsaClient:
    client = PsaClient(transport or ContextTransport())
    client.psa_crypto_init()
    return client
