from __future__ import annotations

import pytest

from edgeroot import engine
from edgeroot.psa import Algorithm, Hash, KeyType, PsaError, PsaStatus
from tests.vectors.keys import imported
from tests.vectors.records import own, packaged

HASH_FILES = {
    Hash.MD5: "MD5/rfc-1321.txt",
    Hash.RIPEMD160: "ripemd160/ripevectors.txt",
    Hash.SHA_1: "SHA1/SHA1ShortMsg.rsp",
    Hash.SHA_224: "SHA2/SHA224ShortMsg.rsp",
    Hash.SHA_256: "SHA2/SHA256ShortMsg.rsp",
    Hash.SHA_384: "SHA2/SHA384ShortMsg.rsp",
    Hash.SHA_512: "SHA2/SHA512ShortMsg.rsp",
    Hash.SHA_512_224: "SHA2/SHA512_224ShortMsg.rsp",
    Hash.SHA_512_256: "SHA2/SHA512_256ShortMsg.rsp",
    Hash.SHA3_224: "SHA3/SHA3_224ShortMsg.rsp",
    Hash.SHA3_256: "SHA3/SHA3_256ShortMsg.rsp",
    Hash.SHA3_384: "SHA3/SHA3_384ShortMsg.rsp",
    Hash.SHA3_512: "SHA3/SHA3_512ShortMsg.rsp",
}
HMAC_FILES = {
    Hash.MD5: "rfc-2202-md5.txt",
    Hash.RIPEMD160: "rfc-2286-ripemd160.txt",
    Hash.SHA_1: "rfc-2202-sha1.txt",
    Hash.SHA_224: "rfc-4231-sha224.txt",
    Hash.SHA_256: "rfc-4231-sha256.txt",
    Hash.SHA_384: "rfc-4231-sha384.txt",
    Hash.SHA_512: "rfc-4231-sha512.txt",
}


def test_every_hash_has_vectors() -> None:
    offered = {row_alg for row in engine.rows() if "hash_compute" in row.functions for row_alg in row.algorithms}
    assert offered == {Algorithm.from_hash(alg) for alg in HASH_FILES}


@pytest.mark.parametrize("alg", HASH_FILES)
def test_hash(alg: Hash) -> None:
    vectors = packaged(f"hashes/{HASH_FILES[alg]}", "MD")
    assert vectors
    for vector in vectors:
        message = bytes.fromhex(vector["msg"])[: int(vector["len"]) // 8]
        expected = bytes.fromhex(vector["md"])
        assert engine.hash_compute(alg, message) == expected
        engine.hash_compare(alg, message, expected)
    assert alg.length_bytes == len(engine.hash_compute(alg, b""))


@pytest.mark.parametrize(("alg", "status"), [(Hash.MD2, "NOT_SUPPORTED"), (Hash.ANY, "INVALID_ARGUMENT")])
def test_hash_that_is_not_there(alg: Hash, status: str) -> None:
    with pytest.raises(PsaError) as caught:
        engine.hash_compute(alg, b"")
    assert caught.value.status is PsaStatus[status]


@pytest.mark.parametrize("wrong", [b"", bytes(32), bytes(31)])
def test_hash_that_does_not_match(wrong: bytes) -> None:
    with pytest.raises(PsaError) as caught:
        engine.hash_compare(Hash.SHA_256, b"", wrong)
    assert caught.value.status is PsaStatus.INVALID_SIGNATURE


def hmac_vectors() -> list[tuple[Hash, dict[str, str]]]:
    found = [(alg, vector) for alg, name in HMAC_FILES.items() for vector in packaged(f"HMAC/{name}", "MD")]
    return found + [(Hash[vector["hash"]], vector) for vector in own("hmac.txt", "MD")]


def test_hmac() -> None:
    vectors = hmac_vectors()
    assert {alg for alg, _ in vectors} == set(HASH_FILES)
    for alg, vector in vectors:
        key = imported(KeyType.HMAC, bytes.fromhex(vector["key"]))
        message, expected = bytes.fromhex(vector["msg"]), bytes.fromhex(vector["md"])
        hmac = Algorithm.hmac(alg)
        assert key.mac_compute(hmac, message) == expected
        assert key.mac_compute(hmac.truncated_mac(10), message) == expected[:10]
        key.mac_verify(hmac.truncated_mac(4), message, expected[:4])
