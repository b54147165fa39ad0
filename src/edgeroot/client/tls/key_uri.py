"""A key of the service as OpenSSL is told of it. Pure."""

from __future__ import annotations

from base64 import encodebytes
from typing import Final
from urllib.parse import quote

# What pkcs11-provider reads where a program wants a PEM file (its manual, "URIs in PEM files").
_LABEL: Final = "PKCS#11 PROVIDER URI"
_VERSION: Final = b"PKCS#11 Provider URI v1.0"
_SEQUENCE: Final = 0x30
_VISIBLE_STRING: Final = 0x1A
_UTF8_STRING: Final = 0x0C


def key_uri(key_name: str, provider: str | None = None) -> str:
    """The PKCS#11 URI (RFC 7512) of a private key: its name is the label, its provider's name the token."""
    if key_name.startswith("pkcs11:"):  # a name that a PKCS#11 program has chosen: label and id are in it
        attributes = key_name.removeprefix("pkcs11:")
    else:
        attributes = f"object={quote(key_name, safe='')}"
    # A token's label has 32 bytes, and ends where a character does.
    label = (provider or "").encode()[:32].decode(errors="ignore")
    token = "" if provider is None else f"token={quote(label, safe='')};"
    return f"pkcs11:{token}{attributes};type=private"


def uri_pem(uri: str) -> bytes:
    """The PEM text that stands for a key: a sequence of a version and the URI."""
    contents = _tagged(_VISIBLE_STRING, _VERSION) + _tagged(_UTF8_STRING, uri.encode())
    text = encodebytes(_tagged(_SEQUENCE, contents)).decode()
    return f"-----BEGIN {_LABEL}-----\n{text}-----END {_LABEL}-----\n".encode()


def _tagged(tag: int, contents: bytes) -> bytes:
    length = len(contents)
    if length < 0x80:
        return bytes([tag, length]) + contents
    digits = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(digits)]) + digits + contents
