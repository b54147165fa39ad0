from __future__ import annotations

from pathlib import Path

import pytest

from edgeroot import engine
from edgeroot.providers.api import Function
from edgeroot.providers.software import SoftwareProviderType, SoftwareSettings
from edgeroot.providers.trusted_services.capabilities import capabilities
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags

P256 = KeyType.ecc_key_pair(EccFamily.SECP_R1)
BEYOND_CRYPTO = {
    Function.PS_SET,
    Function.PS_GET,
    Function.PS_GET_INFO,
    Function.PS_REMOVE,
    Function.INITIAL_ATTEST_GET_TOKEN,
    Function.KEY_STATEMENT,
}


def test_every_function_of_the_engine_is_offered_and_storage_and_attestation() -> None:
    of_engine = {Function[name.upper()] for row in engine.rows() for name in row.functions}
    assert capabilities().offered == of_engine | BEYOND_CRYPTO
    assert not capabilities().offered & {Function.PREPARE_KEY_ATTESTATION, Function.ATTEST_KEY}


def test_a_device_states_nothing_about_keys() -> None:
    assert capabilities().offered - capabilities(states_keys=False).offered == {Function.KEY_STATEMENT}


def test_every_key_of_the_engine_can_be_held() -> None:
    for row in engine.rows():
        if "generate_key" in row.functions:
            assert all(capabilities().can_hold(Function.GENERATE_KEY, row.key_type, bits) for bits in row.key_bits)
    assert not capabilities().can_hold(Function.GENERATE_KEY, P256, 255)
    assert not capabilities().can_hold(Function.GENERATE_KEY, KeyType.ecc_public_key(EccFamily.SECP_R1), 256)


@pytest.mark.parametrize(("hash_alg", "works"), [(Hash.SHA_256, True), (Hash.ANY, True), (Hash.MD2, False)])
def test_keys_can_be_used_under_the_engines_algorithms(hash_alg: Hash, works: bool) -> None:
    attributes = KeyAttributes(P256, 256, UsageFlags.SIGN_HASH, Algorithm.ecdsa(hash_alg))
    assert capabilities().can_use(Function.SIGN_HASH, attributes) is works
    assert not capabilities().can_use(Function.AEAD_ENCRYPT, attributes)


def test_keys_are_those_of_the_software_provider(tmp_path: Path) -> None:
    """Clients see no difference between keys here and there."""
    software = SoftwareProviderType().open(SoftwareSettings(None), store_path=tmp_path / "keys").capabilities()
    ours = [row for row in capabilities().rows if not row.functions & Function.PS_SET]
    assert ours == list(software.rows)


def test_they_are_made_once() -> None:
    assert capabilities() is capabilities()
