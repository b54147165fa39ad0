from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.abi.key_attributes import AbiKeyAttributes
from edgeroot.providers.trusted_services.reference import KeyReference
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaStatus, UsageFlags
from tests.vectors.keys import refused

P256 = KeyType.ecc_key_pair(EccFamily.SECP_R1)
ES256 = Algorithm.ecdsa(Hash.SHA_256)
SIGNS = KeyAttributes(P256, 256, UsageFlags.SIGN_HASH, ES256)
REFERENCE = KeyReference(0x01020304, SIGNS)
FOUND = AbiKeyAttributes(key_type=0x7112, key_bits=256, usage=0x1400, algorithm=0x06000609, lifetime=1, key_id=7)


def test_the_layout_stays_as_it_is() -> None:
    """Stores hold references of version 1."""
    assert bytes(REFERENCE).hex() == "01" + "04030201" + bytes(SIGNS).hex()
    assert len(bytes(REFERENCE)) == 19


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1))
def test_a_reference_survives_the_store(key_id: int, bits: int) -> None:
    reference = KeyReference(key_id, KeyAttributes(P256, bits, UsageFlags.SIGN_HASH, ES256))
    assert KeyReference.from_bytes(bytes(reference)) == reference


@pytest.mark.parametrize("size_bytes", [0, 1, 4, 5, 18, 20])
def test_a_reference_of_another_size_is_not_this_providers(size_bytes: int) -> None:
    with refused(PsaStatus.DATA_INVALID):
        KeyReference.from_bytes((bytes(REFERENCE) + b"\0")[:size_bytes])


@pytest.mark.parametrize("version", [0, 2, 0x81, 0xFF])
def test_another_version_is_not_read(version: int) -> None:
    with refused(PsaStatus.DATA_INVALID):
        KeyReference.from_bytes(bytes((version,)) + bytes(REFERENCE)[1:])


def test_a_key_is_recognised_with_the_usage_that_its_own_implies() -> None:
    assert REFERENCE.matches(FOUND)


@pytest.mark.parametrize(
    "change",
    [
        {"key_type": 0x4112},
        {"key_bits": 384},
        {"usage": 0x1000},
        {"usage": 0x3C00},
        {"algorithm": 0x060006FF},
    ],
)
def test_any_difference_makes_it_another_key(change: dict[str, int]) -> None:
    assert not REFERENCE.matches(replace(FOUND, **change))


def test_a_size_that_was_to_be_inferred_matches_any() -> None:
    planned = KeyReference(1, KeyAttributes(P256, 0, UsageFlags.SIGN_HASH, ES256))
    assert planned.matches(FOUND)
    assert planned.matches(replace(FOUND, key_bits=384))
    assert not planned.matches(replace(FOUND, algorithm=0))
