"""Direct authentication: the client names itself (Parsec book, "Authenticators")."""

from __future__ import annotations

from typing import ClassVar, Final

from edgeroot.auth.identity import AuthenticationError, Identity, PeerCredentials

_DIRECT: Final = 1


class DirectAuthenticator:
    """Takes the auth field, UTF-8 and not empty, as the application's name. Anybody can claim any name."""

    auth_type: ClassVar[int] = _DIRECT
    description: ClassVar[str] = (
        "Directly parses the authentication field as a UTF-8 string and uses that as the application identity. "
        "Should be used for testing only."
    )
    version: ClassVar[tuple[int, int, int]] = (0, 1, 0)
    is_timeless: ClassVar[bool] = True

    def authenticate(self, auth: bytes, peer: PeerCredentials) -> Identity:
        if not auth:
            raise AuthenticationError("the auth field is empty")
        try:
            return Identity(_DIRECT, str(auth, "utf-8"))
        except UnicodeDecodeError as error:
            # Not INVALID_ENCODING: upstream answers AuthenticationError here, and InvalidEncoding for JWT-SVID only.
            raise AuthenticationError("the auth field is not UTF-8") from error
