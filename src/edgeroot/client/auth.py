"""What a request says about who sends it (Parsec book, "Authenticators")."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from edgeroot.client.errors import ClientError, NoAuthenticatorError
from edgeroot.wire.operations import AuthenticatorInfo, AuthType

TOKEN_FILE_VARIABLE: Final = "EDGEROOT_TOKEN_FILE"
DEFAULT_TOKEN_FILE: Final = Path("/var/run/secrets/tokens/parsec")


class Credentials(ABC):
    """One way of authenticating: its number in the header and the bytes of the authentication field."""

    auth_type: ClassVar[AuthType]

    @abstractmethod
    def field(self) -> bytes: ...

    def renewed(self, refused: bytes) -> bool:
        """Whether :meth:`field` is another one now than what was refused, so that it is worth another try."""
        return False


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


class Token(Credentials):
    """A JWT-SVID, or a token of a Kubernetes service account, that this program has: nobody renews it."""

    auth_type: ClassVar[AuthType] = AuthType.JWT_SVID

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def __repr__(self) -> str:
        return "Token(...)"

    def field(self) -> bytes:
        return self._token


class TokenFile(Credentials):
    """A JWT-SVID, or a token of a Kubernetes service account, in a file that somebody else renews.

    The file is read again as soon as another one is in its place (the kubelet swaps a symbolic link), and when the
    service refuses what was read last. Threads may share one.
    """

    auth_type: ClassVar[AuthType] = AuthType.JWT_SVID

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Nothing is read yet."""
        self._path = Path(path)
        self._read: tuple[tuple[int, ...], bytes] = (), b""  # what the file was like, and what was in it

    def __repr__(self) -> str:
        return f"TokenFile({str(self._path)!r})"

    def field(self) -> bytes:
        """The token as it is in the file now; ClientError if there is none."""
        try:
            found = self._path.stat()
            kind = found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
            read, token = self._read
            if read != kind:
                token = self._path.read_bytes().strip()
                self._read = kind, token
        except OSError as error:
            raise ClientError(
                f"the token file {self._path} cannot be read: {error.strerror}; mount a projected token there, "
                f"or say with {TOKEN_FILE_VARIABLE} where it is"
            ) from error
        if not token:
            raise ClientError(f"the token file {self._path} is empty: see what is to write it")
        return token

    def renewed(self, refused: bytes) -> bool:
        """Whatever the file looks like, it is read again: it may have been written over in place."""
        self._read = (), b""
        return self.field() != refused


def _token_file(environment: Mapping[str, str]) -> TokenFile | None:
    """Where the environment says, else where it usually is, if it is there."""
    named = environment.get(TOKEN_FILE_VARIABLE)
    if named:
        return TokenFile(named)
    return TokenFile(DEFAULT_TOKEN_FILE) if DEFAULT_TOKEN_FILE.exists() else None


def choose(
    listed: Iterable[AuthenticatorInfo], app_name: str | None, *, environment: Mapping[str, str] = os.environ
) -> Credentials:
    """The first of the service's authenticators that this client can serve; raises NoAuthenticatorError.

    Where the environment names a token, and the service takes tokens, the token comes first.
    """
    ids = [info.id for info in listed]
    token = _token_file(environment) if AuthType.JWT_SVID in ids else None
    if token is not None and environment.get(TOKEN_FILE_VARIABLE):
        return token
    for number in ids:
        if number == AuthType.JWT_SVID and token is not None:
            return token
        if number == AuthType.UNIX_PEER_CREDENTIALS:
            return UnixPeerCredentials()
        if number == AuthType.DIRECT and app_name:
            return DirectAuth(app_name)
    if AuthType.DIRECT in ids:
        raise NoAuthenticatorError("the service wants applications to name themselves: pass app_name to the client")
    if AuthType.JWT_SVID in ids:
        raise NoAuthenticatorError(
            f"the service wants a token: mount one at {DEFAULT_TOKEN_FILE}, set {TOKEN_FILE_VARIABLE} to where one is, "
            "or pass auth=TokenFile(path) to the client"
        )
    raise NoAuthenticatorError(
        f"the service offers the authenticators {ids}, of which this client supports none: "
        "configure Direct (1) or UnixPeerCredentials (3) there, or pass auth to the client"
    )
