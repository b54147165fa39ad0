"""Unix peer credentials: the client states its user id and the kernel confirms it (Parsec book, "Authenticators")."""

from __future__ import annotations

from typing import ClassVar, Final

from edgeroot.auth.identity import AuthenticationError, Identity, PeerCredentials

_UNIX_PEER_CREDENTIALS: Final = 3
_UID_BYTES: Final = 4
_MAX_KNOWN_USERS: Final = 4096


class UnixPeerCredentialsAuthenticator:
    """The auth field is the user id, four bytes little-endian; the application's name is that id in decimal.

    It is compared with the *effective* user id of the peer, so a set-uid client that sends its real one is refused.
    """

    auth_type: ClassVar[int] = _UNIX_PEER_CREDENTIALS
    description: ClassVar[str] = (
        "Uses Unix peer credentials to authenticate the client. Verifies that the self-declared Unix user identifier "
        "(UID) in the request's authentication header matches that which is found from the peer credentials."
    )
    version: ClassVar[tuple[int, int, int]] = (0, 1, 0)
    is_timeless: ClassVar[bool] = True

    def __init__(self) -> None:
        # By user id: the auth field that is right for it, and its identity. Every request comes through here.
        self._known: dict[int, tuple[bytes, Identity]] = {}

    def authenticate(self, auth: bytes, peer: PeerCredentials) -> Identity:
        expected, identity = self._known.get(peer.uid) or self._learn(peer.uid)
        if auth == expected:
            return identity
        if len(auth) != _UID_BYTES:
            raise AuthenticationError(f"the auth field has {len(auth)} bytes instead of {_UID_BYTES}")
        raise AuthenticationError(f"user {peer.uid} claims to be user {int.from_bytes(auth, 'little')}")

    def _learn(self, uid: int) -> tuple[bytes, Identity]:
        if len(self._known) >= _MAX_KNOWN_USERS:
            self._known.clear()
        user = (uid.to_bytes(_UID_BYTES, "little"), Identity(_UNIX_PEER_CREDENTIALS, str(uid)))
        self._known[uid] = user
        return user
