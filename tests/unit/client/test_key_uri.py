"""How OpenSSL is told of a key."""

from __future__ import annotations

import pytest

from edgeroot.client.tls.key_uri import key_uri


@pytest.mark.parametrize(
    ("name", "provider", "uri"),
    [
        ("till", None, "pkcs11:object=till;type=private"),
        ("a b;c/ü", None, "pkcs11:object=a%20b%3Bc%2F%C3%BC;type=private"),
        ("pkcs11:id=%01;object=till", None, "pkcs11:id=%01;object=till;type=private"),
        ("till", "tpm-provider", "pkcs11:token=tpm-provider;object=till;type=private"),
        ("till", "x" * 40, f"pkcs11:token={'x' * 32};object=till;type=private"),
        ("till", "x" * 31 + "ü", f"pkcs11:token={'x' * 31};object=till;type=private"),
    ],
)
def test_a_key_is_named_by_a_uri(name: str, provider: str | None, uri: str) -> None:
    assert key_uri(name, provider) == uri
