"""Upstream's records and key files, byte by byte."""

from __future__ import annotations

import sqlite3
import struct
from base64 import urlsafe_b64encode
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.migration.attributes import decode_attributes
from edgeroot.migration.errors import MigrationError
from edgeroot.migration.key_file import decode_key_file, file_name
from edgeroot.migration.records import read_records
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags

# The record that upstream keeps for its own end-to-end tests, of an RSA key pair of 2048 bits.
FAKE_MAPPING = bytes.fromhex(
    "0400000000000000 04000000 01000000 09000000 0008000000000000 00000001010000000000 06000000 00000000"
)
ENCRYPTS = KeyAttributes(
    KeyType.RSA_KEY_PAIR, 2048, UsageFlags.ENCRYPT | UsageFlags.DECRYPT, Algorithm.RSA_PKCS1V15_CRYPT
)
PERSISTENT = "01000000"
NO_USE = "00" * 10


def attributes(key_type: str, algorithm: str) -> KeyAttributes:
    return decode_attributes(bytes.fromhex(f"{PERSISTENT} {key_type} 0001000000000000 {NO_USE} {algorithm}"))


def test_upstreams_own_record_is_read(tmp_path: Path) -> None:
    place = tmp_path / urlsafe_b64encode(b"parsec-tool").decode() / "1"
    place.mkdir(parents=True)
    (place / urlsafe_b64encode(b"toto").decode()).write_bytes(FAKE_MAPPING)
    [record] = read_records(tmp_path)
    assert (record.application, record.provider, record.key_name) == ("parsec-tool", 1, "toto")
    assert record.authenticator is None
    assert record.key_id == (4).to_bytes(4, "little")
    assert decode_attributes(record.attributes) == ENCRYPTS


@pytest.mark.parametrize(
    ("key_type", "algorithm", "expected_type", "expected_algorithm"),
    [
        (
            "0a000000 01000000",
            "05000000 03000000 00000000 06000000",
            KeyType.ecc_key_pair(EccFamily.SECP_R1),
            Algorithm.ecdsa(Hash.SHA_256),
        ),
        (
            "0b000000 06000000",
            "05000000 05000000 01000000",
            KeyType.ecc_public_key(EccFamily.BRAINPOOL_P_R1),
            Algorithm.deterministic_ecdsa(Hash.ANY),
        ),
        ("03000000", "04000000 00000000 01000000", KeyType.AES, Algorithm.GCM),
        (
            "03000000",
            "04000000 01000000 00000000 0800000000000000",
            KeyType.AES,
            Algorithm.CCM.with_tag_length(8),
        ),
        ("01000000", "02000000 00000000 00000000 08000000", KeyType.HMAC, Algorithm.hmac(Hash.SHA_512)),
        (
            "03000000",
            "02000000 01000000 02000000 0400000000000000",
            KeyType.AES,
            Algorithm.CMAC.truncated_mac(4),
        ),
        ("09000000", "06000000 01000000 06000000", KeyType.RSA_KEY_PAIR, Algorithm.rsa_oaep(Hash.SHA_256)),
        ("03000000", "03000000 07000000", KeyType.AES, Algorithm.CBC_PKCS7),
        ("0a000000 08000000", "07000000 00000000 01000000", KeyType.ecc_key_pair(EccFamily.MONTGOMERY), Algorithm.ECDH),
        (
            "02000000",
            "07000000 01000000 01000000 00000000 06000000",
            KeyType.DERIVE,
            Algorithm.key_agreement(Algorithm.ECDH, Algorithm.hkdf(Hash.SHA_256)),
        ),
        ("00000000", "00000000", KeyType.RAW_DATA, Algorithm.NONE),
    ],
)
def test_types_and_algorithms(
    key_type: str, algorithm: str, expected_type: KeyType, expected_algorithm: Algorithm
) -> None:
    found = attributes(key_type, algorithm)
    assert found == KeyAttributes(expected_type, 256, UsageFlags.NONE, expected_algorithm)


@pytest.mark.parametrize(
    ("key_type", "algorithm"),
    [
        ("0e000000", "00000000"),
        ("0a000000 09000000", "00000000"),
        ("03000000", "09000000"),
        ("03000000", "04000000 01000000 01000000 ffffffffffffffff"),
    ],
)
def test_what_upstream_never_writes_is_no_record(key_type: str, algorithm: str) -> None:
    with pytest.raises(MigrationError):
        attributes(key_type, algorithm)


@given(st.binary(max_size=80))
def test_bytes_are_attributes_or_refused(data: bytes) -> None:
    try:
        decode_attributes(data)
    except MigrationError:
        pass


@pytest.mark.parametrize("length", range(len(FAKE_MAPPING) - 12))
def test_a_record_that_was_cut_is_refused(length: int) -> None:
    with pytest.raises(MigrationError):
        decode_attributes(FAKE_MAPPING[12 : 12 + length])


def key_file(material: bytes = b"0123456789abcdef", **changed: int | bytes) -> bytes:
    parts = {
        "key_magic": b"PSA\0KEY\0",
        "version": 0,
        "lifetime": 1,
        "type": 0x2400,
        "bits": 128,
        "usage": 0x300,
        "alg": 0x05500200,
        "alg2": 0,
        "length": len(material),
        **changed,
    }
    magic, size_change = parts.pop("magic", b"PSA\0ITS\0"), parts.pop("size_change", 0)
    data = struct.pack("<8sIIHHIIII", *parts.values()) + material
    assert isinstance(size_change, int)
    return struct.pack("<8sII", magic, len(data) + size_change, 0) + data


def test_a_key_file_is_read() -> None:
    found = decode_key_file(key_file())
    assert (found.key_type, found.key_bits, bytes(found.material)) == (KeyType.AES, 128, b"0123456789abcdef")
    assert "0123456789" not in repr(found)
    assert file_name(0x1A) == "000000000000001a.psa_its"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        key_file()[:50],
        key_file()[:-1],
        key_file(magic=b"PSA\0ITS\1"),
        key_file(key_magic=b"PSA\0KEY\1"),
        key_file(version=1),
        key_file(length=15),
        key_file(size_change=1),
    ],
)
def test_a_damaged_key_file_is_refused(data: bytes) -> None:
    with pytest.raises(MigrationError):
        decode_key_file(data)


def test_a_record_on_disk_that_was_cut_is_that_keys_trouble(tmp_path: Path) -> None:
    place = tmp_path / urlsafe_b64encode(b"app").decode() / "1"
    place.mkdir(parents=True)
    for name, size in (("cut", 7), ("whole", len(FAKE_MAPPING))):
        (place / urlsafe_b64encode(name.encode()).decode()).write_bytes(FAKE_MAPPING[:size])
    cut, whole = read_records(tmp_path)
    assert decode_attributes(whole.attributes) == ENCRYPTS
    with pytest.raises(MigrationError, match="too early"):
        decode_attributes(cut.attributes)


@pytest.mark.parametrize("schema", ["", "CREATE TABLE key_mapping (a)", "no database at all"])
def test_what_is_no_store_of_upstreams_is_said(tmp_path: Path, schema: str) -> None:
    path = tmp_path / "store"
    if schema.startswith("no"):
        path.write_text(schema * 50)
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(schema or "CREATE TABLE other (a)")
    with pytest.raises(MigrationError, match="store"):
        read_records(path)


def test_no_store_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="no store"):
        read_records(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["_w==", "YQ", "Y$Q==", "a b="])
def test_a_name_that_is_no_base64_of_a_text_is_said(tmp_path: Path, name: str) -> None:
    place = tmp_path / "YQ==" / "1"
    place.mkdir(parents=True)
    (place / name).write_bytes(FAKE_MAPPING)
    with pytest.raises(MigrationError, match="base64"):
        read_records(tmp_path)
