"""Where the service listens: an argument, the environment, or the well-known path."""

from __future__ import annotations

import os
from typing import Final

from edgeroot.client.errors import EndpointError

ENDPOINT_VARIABLE: Final = "PARSEC_SERVICE_ENDPOINT"
DEFAULT_ENDPOINT: Final = "unix:/run/parsec/parsec.sock"


def socket_path(endpoint: str | None = None) -> str:
    """The socket's path of ``endpoint``, else of ``PARSEC_SERVICE_ENDPOINT``, else the well-known one.

    An endpoint is a URI of the scheme ``unix`` with an absolute path, ``unix:/path`` or ``unix:///path``. Whether
    anybody listens there shows when the first request is sent. Raises EndpointError.
    """
    source = "endpoint"
    if endpoint is None:
        endpoint, source = os.environ.get(ENDPOINT_VARIABLE) or DEFAULT_ENDPOINT, ENDPOINT_VARIABLE
    scheme, _, path = endpoint.partition(":")
    if scheme != "unix":
        raise EndpointError(
            f"{source} is {endpoint!r}, but only Unix sockets are supported: write unix:/path/to/socket"
        )
    path = path.removeprefix("//")
    if not path.startswith("/"):
        raise EndpointError(f"{source} is {endpoint!r}, but the path must be absolute: write unix:/path/to/socket")
    if "%" in path:
        from urllib.parse import unquote

        return unquote(path)
    return path
