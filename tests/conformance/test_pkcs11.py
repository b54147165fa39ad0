"""The PKCS#11 provider keeps the contract of providers, over a real SoftHSM 2."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack

import pytest

from edgeroot.providers.api import Provider
from edgeroot.providers.pkcs11.provider import Pkcs11Provider
from edgeroot.providers.pkcs11.token import Token
from edgeroot.psa import KeyType
from edgeroot.testing.provider_kit import a_few_sizes, check_provider
from tests.support.softhsm import SoftHsm, softhsm


@pytest.fixture
def hsm() -> Iterator[SoftHsm]:
    with softhsm() as made:
        yield made


def sizes(key_type: KeyType, key_bits: Collection[int]) -> Iterable[int]:
    """Of RSA the smallest that the token makes."""
    if key_type.is_rsa:
        return a_few_sizes(key_type, [bits for bits in key_bits if bits % 256 == 0])
    return a_few_sizes(key_type, key_bits)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("software_public_operations", "by_copy"), [(False, True), (True, False)])
def test_pkcs11_provider(
    hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch, *, software_public_operations: bool, by_copy: bool
) -> None:
    monkeypatch.setattr(Token, "makes_by_copy", by_copy)
    settings = hsm.settings(software_public_operations=software_public_operations)

    def open_provider() -> Provider:
        provider = Pkcs11Provider(settings, isolate=False)
        provider.start(None)
        closing.callback(provider.close)
        return provider

    with ExitStack() as closing:
        check_provider(open_provider, sizes=sizes, algorithms_per_row=4, oaep_labels=())
    assert hsm.object_ids() == []
