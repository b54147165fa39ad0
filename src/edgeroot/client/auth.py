"""What a request says about who sends it (Parsec book, "Authenticators")."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from edgeroot.client.errors import ClientError, NoAuthenticatorError
from edgeroot.wire.operations import AuthenticatorInfo, AuthType


class Credentials(ABC):
    """One way of authenticating: its number in the header and the bytes of the authentication field."""

    auth_type: ClassVar[AuthType]

    @abstractmethod
    def field(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class NoAuth(Credentials):
    """Enough for Ping, the lists of providers, opcodes and authenticators, hashes and random bytes."""

    auth_type: ClassVar[AuthType] = AuthType.NO_AUTH

    def field(self) -> bytes:
        return b""


@dataclass(frozen=True, slots=True)
class DirectAuth(Credentials):
    """The application names itself and is believed: for trusted set-ups and tests."""

    app_name: str
    auth_type: ClassVar[AuthType] = AuthType.DIRECT

    def __post_init__(self) -> None:
        if not self.app_name:
            raise ClientError("the application's name is empty: pass a name to DirectAuth or app_name")

    def field(self) -> bytes:
        return self.app_name.encode()


@dataclass(frozen=True, slots=True)
class UnixPeerCredentials(Credentials):
    """The Unix user is the identity; the kernel tells the service whether it is true."""

    auth_type: ClassVar[AuthType] = AuthType.UNIX_PEER_CREDENTIALS

    def field(self) -> bytes:
        """Four bytes, little-endian: the *effective* user, for that is whom SO_PEERCRED reports to the service."""
        return os.geteuid().to_bytes(4, "little")


def choose(listed: Iterable[AuthenticatorInfo], app_name: str | None) -> Credentials:
    """The first of the service's authenticators that this client can serve; raises NoAuthenticatorError."""
    ids = [info.id for info in listed]
    for number in ids:
        if number == AuthType.UNIX_PEER_CREDENTIALS:
            return UnixPeerCredentials()
        if number == AuthType.DIRECT and app_name:
            return DirectAuth(app_name)
    if AuthType.DIRECT in ids:
        raise NoAuthenticatorError("the service wants applications to name themselves: pass app_name to the client")
    raise NoAuthenticatorError(
        f"the service offers the authenticators {ids}, of which this client supports none: "
        "configure Direct (1) or UnixPeerCredentials (3) there, or pass auth to the client"
    )
