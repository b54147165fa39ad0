from __future__ import annotations

import pytest

from edgeroot import engine
from edgeroot.engine.dh import group
from edgeroot.psa import Algorithm, DhFamily, KeyType, PsaStatus
from tests.vectors.keys import attributes, generated, imported, refused
from tests.vectors.records import own

PAIR = KeyType.dh_key_pair(DhFamily.RFC7919)
PUBLIC = KeyType.dh_public_key(DhFamily.RFC7919)


def test_primes_of_rfc_7919() -> None:
    groups = own("ffdhe.txt", "P")
    assert [int(vector["bits"]) for vector in groups] == [2048, 3072, 4096, 6144, 8192]
    for vector in groups:
        numbers = group(int(vector["bits"]))
        assert (numbers.p, numbers.g) == (int(vector["p"], 16), 2)


def test_shared_secret_with_leading_zeros() -> None:
    (vector,) = own("ffdhe.txt", "Z")
    keys = {name: imported(PAIR, bytes.fromhex(vector[f"x{name}"]).rjust(256, b"\0")) for name in "ab"}
    for name, peer in (("a", "b"), ("b", "a")):
        assert keys[name].export_public().hex() == vector[f"y{name}"]
        secret = keys[name].raw_key_agreement(Algorithm.FFDH, bytes.fromhex(vector[f"y{peer}"]))
        assert secret.hex() == vector["z"]
        assert secret.startswith(bytes(2))


@pytest.mark.parametrize("key_bits", [2048, 3072, 4096, 6144, 8192])
def test_every_group(key_bits: int) -> None:
    one, other = generated(PAIR, key_bits), generated(PAIR, key_bits)
    public = one.export_public()
    assert len(public) == key_bits // 8
    assert imported(PUBLIC, public, key_bits).export_public() == public
    secret = other.raw_key_agreement(Algorithm.FFDH, public)
    assert secret == one.raw_key_agreement(Algorithm.FFDH, other.export_public())


def test_private_key_as_long_as_the_prime() -> None:
    prime = group(2048).p
    for x in (2, prime - 2):
        material = x.to_bytes(256, "big")
        assert int.from_bytes(imported(PAIR, material).export_public(), "big") == pow(2, x, prime)


@pytest.mark.parametrize("key_type", [PAIR, PUBLIC])
@pytest.mark.parametrize("number", [0, 1, group(2048).p - 1, group(2048).p])
def test_number_outside_the_group(key_type: KeyType, number: int) -> None:
    with refused(PsaStatus.INVALID_ARGUMENT):
        engine.import_material(attributes(key_type), number.to_bytes(256, "big"))
    with refused(PsaStatus.INVALID_ARGUMENT):
        generated(PAIR, 2048).raw_key_agreement(Algorithm.FFDH, number.to_bytes(256, "big"))


@pytest.mark.parametrize("key_bits", [0, 1024, 2047])
def test_size_without_a_group(key_bits: int) -> None:
    with refused(PsaStatus.INVALID_ARGUMENT):
        engine.generate(attributes(PAIR, key_bits))


def test_peer_of_another_group() -> None:
    with refused(PsaStatus.INVALID_ARGUMENT):
        generated(PAIR, 2048).raw_key_agreement(Algorithm.FFDH, generated(PAIR, 3072).export_public())
