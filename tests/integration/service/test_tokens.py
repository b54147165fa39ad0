"""A service that takes tokens, as pods meet it: who is who, which slot is whose, and what ends a verdict."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgeroot.client import templates
from tests.support.clients import DIGEST, ECDSA
from tests.support.token_service import TokenService, running_token_service


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenService]:
    with running_token_service() as service:
        yield service


def test_a_pod_makes_a_key_by_its_token_and_signs_with_it(tokens: TokenService) -> None:
    with tokens.client(tokens.till_token(), 0) as client:
        client.generate_key("receipts", templates.ecdsa_p256())
        signature = client.sign_hash("receipts", ECDSA, DIGEST)
        client.verify_hash("receipts", ECDSA, DIGEST, signature)
        assert [key.name for key in client.list_keys()] == ["receipts"]
        client.destroy_key("receipts")
