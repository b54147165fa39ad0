"""Tokens out of a file that somebody else renews: when they are read again, and when a refusal is not the last word."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from edgeroot.client import AsyncClient, Client, TokenFile, auth, errors
from edgeroot.client.transports.memory import AsyncMemoryTransport, MemoryTransport
from edgeroot.testing.wire_simulator import DIRECT, UNIX_PEER_CREDENTIALS, WireSimulator
from edgeroot.wire import operations as ops
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.operations import AuthenticatorInfo, AuthType
from edgeroot.wire.status import ResponseStatus, WireError

TOKENS = AuthenticatorInfo("", 0, 1, 0, AuthType.JWT_SVID)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_bytes(b"first\n")
    return path


class Service(WireSimulator):
    """Takes tokens; whoever shows another than ``valid`` is refused."""

    def __init__(self, *authenticators: AuthenticatorInfo) -> None:
        super().__init__({Opcode.LIST_KEYS: self._list}, authenticators=authenticators or (TOKENS,))
        self.valid = b"first"

    def _list(self, _operation: ops.Operation) -> ops.Result:
        if self.requests[-1].auth != self.valid:
            raise WireError(ResponseStatus.AUTHENTICATION_ERROR)
        return ops.ListKeysResult(())

    @property
    def shown(self) -> list[bytes]:
        """The tokens that came, in order."""
        return [request.auth for request in self.requests if request.auth_type == AuthType.JWT_SVID]


def client_of(service: Service, token: TokenFile | None = None) -> Client:
    return Client(auth=token, transport=MemoryTransport(service.answer))


def test_the_file_is_read_when_a_token_is_needed(path: Path) -> None:
    token = TokenFile(path)
    assert token.field() == b"first"
    path.write_bytes(b"second")
    assert token.field() == b"second"
    assert "second" not in repr(token)


def test_a_link_that_is_swapped_leads_to_the_next_token(tmp_path: Path) -> None:
    """As the kubelet renews a projected volume: a folder for each version, and a link to the latest."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(name)
        os.utime(tmp_path / name / "token", ns=(1, 1))  # the time alone does not tell them apart
    link = tmp_path / "..data"
    link.symlink_to("one")
    token = TokenFile(link / "token")
    assert token.field() == b"one"
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(link)
    assert token.field() == b"two"


def test_what_is_wrong_with_the_file_is_said(path: Path) -> None:
    path.write_bytes(b" \n")
    with pytest.raises(errors.ClientError, match="is empty"):
        TokenFile(path).field()
    path.unlink()
    with pytest.raises(errors.ClientError, match=r"cannot be read: No such file.*EDGEROOT_TOKEN_FILE"):
        TokenFile(path).field()


@pytest.mark.parametrize("front", ["blocking", "asyncio"])
def test_a_token_that_was_renewed_behind_our_back_is_shown_after_a_refusal(path: Path, front: str) -> None:
    service, token = Service(), TokenFile(path)
    assert token.field() == b"first"
    kind = path.stat()
    path.write_bytes(b"third\n")  # as long as the first, in place, and with its time: nothing but a refusal tells
    os.utime(path, ns=(kind.st_atime_ns, kind.st_mtime_ns))
    assert token.field() == b"first"
    service.valid = b"third"
    if front == "blocking":
        assert client_of(service, token).list_keys() == ()
    else:
        asynchronous = AsyncClient(auth=token, transport=AsyncMemoryTransport(service.answer))
        assert asyncio.run(asynchronous.list_keys()) == ()
    assert service.shown == [b"first", b"third"]


def test_a_refused_token_is_not_shown_twice(path: Path) -> None:
    service = Service()
    service.valid = b"another"
    with pytest.raises(errors.AuthenticationError, match="token"):
        client_of(service, TokenFile(path)).list_keys()
    assert service.shown == [b"first"]


def test_a_renewed_token_that_is_refused_as_well_is_the_last(path: Path) -> None:
    service, token = Service(), TokenFile(path)
    token.field()
    service.valid = b"another"
    kind = path.stat()
    path.write_bytes(b"third\n")
    os.utime(path, ns=(kind.st_atime_ns, kind.st_mtime_ns))
    with pytest.raises(errors.AuthenticationError):
        client_of(service, token).list_keys()
    assert service.shown == [b"first", b"third"]


def test_the_environment_names_the_token(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEROOT_TOKEN_FILE", str(path))
    service = Service(UNIX_PEER_CREDENTIALS, TOKENS)
    client_of(service).list_keys()
    assert service.shown == [b"first"]


def test_the_environment_says_nothing_to_a_service_that_takes_no_tokens(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEROOT_TOKEN_FILE", str(path))
    chosen = auth.choose((UNIX_PEER_CREDENTIALS,), None)
    assert chosen.auth_type == AuthType.UNIX_PEER_CREDENTIALS


def test_a_token_at_the_usual_place_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEROOT_TOKEN_FILE", raising=False)
    monkeypatch.setattr(auth, "DEFAULT_TOKEN_FILE", path)
    assert auth.choose((TOKENS,), None).field() == b"first"
    assert auth.choose((DIRECT, TOKENS), None).field() == b"first"
    assert auth.choose((UNIX_PEER_CREDENTIALS, TOKENS), None).auth_type == AuthType.UNIX_PEER_CREDENTIALS
    path.unlink()
    with pytest.raises(errors.NoAuthenticatorError, match="mount one"):
        auth.choose((TOKENS,), None)


def test_the_usual_place_is_where_kubernetes_projects_tokens_to() -> None:
    assert Path("/var/run/secrets/tokens/parsec") == auth.DEFAULT_TOKEN_FILE
