"""Binary values as text on the command line: base64, hexadecimal digits, and ECDSA signatures in DER."""

from __future__ import annotations

import base64
import binascii

import click

from edgeroot.cli.errors import CommandError
from edgeroot.psa import KeyAttributes


def to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str, what: str) -> bytes:
    """UsageError that names ``what`` if the text is not base64; white space does not matter."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise click.UsageError(f"{what} is not base64: {error}") from error


def from_hex(text: str, what: str) -> bytes:
    """UsageError that names ``what`` if the text is not hexadecimal; white space and colons do not matter."""
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError as error:
        raise click.UsageError(f"{what} is not hexadecimal: {error}") from error


def signature_to_der(attributes: KeyAttributes, signature: bytes) -> bytes:
    """An ECDSA signature r || s as Ecdsa-Sig-Value (RFC 3279 section 2.2.3); any other as it is."""
    if not attributes.key_type.is_ecc:
        return signature
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    half = len(signature) // 2
    return encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))


def signature_from_der(attributes: KeyAttributes, signature: bytes) -> bytes:
    """The reverse; CommandError for what no signature of this curve looks like."""
    if not attributes.key_type.is_ecc:
        return signature
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    length = (attributes.key_bits + 7) // 8
    try:
        r, s = decode_dss_signature(signature)
        return r.to_bytes(length) + s.to_bytes(length)
    except (ValueError, OverflowError) as error:
        raise CommandError(
            "the signature is not an ECDSA signature in DER for this curve: see whether file and key are right, or "
            "pass --raw-signature if it is r || s"
        ) from error
