"""TLS whose private key stays in the service: ``client_context`` and ``server_context`` give an ``ssl.SSLContext``.

It is Python's own ``ssl``, on the system's OpenSSL: OpenSSL asks its provider for PKCS#11, that asks edgeroot's PKCS#11
module, and that the service, which is found as every Parsec client finds it (PARSEC_SERVICE_ENDPOINT).
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TypeAlias

from edgeroot.client.tls import openssl
from edgeroot.client.tls.errors import TlsError as TlsError
from edgeroot.client.tls.key_uri import key_uri as key_uri
from edgeroot.client.tls.key_uri import uri_pem as uri_pem

Source: TypeAlias = "str | os.PathLike[str] | bytes"
"""A file's path, or its PEM text as bytes."""


def client_context(
    key_name: str, chain: Source, cafile: Source | None = None, *, provider: str | None = None
) -> ssl.SSLContext:
    """For a client that proves itself with a key of the service.

    ``chain`` holds the key's certificate and those that lead from it to the server's roots; ``cafile`` whom the client
    believes (default: the system's roots); ``provider`` is the name of the service's provider that has the key, for a
    name that several have. Raises TlsError, and OSError for files that cannot be read.
    """
    return _context(ssl.Purpose.SERVER_AUTH, key_name, chain, cafile, provider)


def server_context(
    key_name: str, chain: Source, cafile: Source | None = None, *, provider: str | None = None
) -> ssl.SSLContext:
    """For a server that proves itself with a key of the service; with ``cafile``, clients have to do so, too.

    Arguments and errors are those of :func:`client_context`.
    """
    return _context(ssl.Purpose.CLIENT_AUTH, key_name, chain, cafile, provider)


def _context(
    purpose: ssl.Purpose, key_name: str, chain: Source, cafile: Source | None, provider: str | None
) -> ssl.SSLContext:
    openssl.use_service()
    if cafile is None:
        context = ssl.create_default_context(purpose)
    else:
        with openssl.as_file(cafile) as path:
            context = ssl.create_default_context(purpose, cafile=path)
        context.verify_mode = ssl.CERT_REQUIRED
    uri = key_uri(key_name, provider)
    with openssl.as_file(chain) as chain_path, openssl.as_file(uri_pem(uri)) as key_path:
        Path(chain_path).open("rb").close()  # whose error says which file; that of ssl does not
        try:
            context.load_cert_chain(chain_path, key_path)
        # Which ssl.SSLError or, by whatever `errno` was last, which OSError it is does not tell the cases apart.
        except OSError as error:
            raise TlsError(
                f"OpenSSL finds no key for {uri}, or the first certificate is that of another key: "
                "see `edgeroot list-keys` for the names of this user's keys, and PARSEC_SERVICE_ENDPOINT for the "
                "service that is asked"
            ) from error
    return context
