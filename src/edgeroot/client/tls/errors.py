"""What can go wrong before a context is there."""

from __future__ import annotations

from edgeroot.client.errors import ClientError


class TlsError(ClientError):
    """OpenSSL cannot be brought to use the service's key; the message says what is missing."""
