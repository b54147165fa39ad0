from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.client import templates
from edgeroot.client.commands import sealed_file
from edgeroot.client.commands.sealed_file import Header, NotSealedError
from edgeroot.psa import Algorithm
from tests.unit.cli.command_line import AEAD_KEY, CommandLine, FullKeyService

KIB = 1024
SEALED_CHUNK = KIB + sealed_file.TAG_BYTES


@pytest.fixture(autouse=True)
def _key(keys: FullKeyService) -> None:
    keys.add_symmetric("files", templates.aes_gcm())


def _seal(edgeroot: CommandLine, plaintext: bytes, folder: Path) -> bytes:
    target = folder / f"sealed-{os.urandom(4).hex()}"
    args = ["encrypt-file", "-k", "files", "-", "-o", str(target), "--chunk-size", "1"]
    edgeroot.out(*args, stdin=plaintext)
    return target.read_bytes()


def _split(sealed: bytes) -> tuple[bytes, list[bytes]]:
    length = sealed_file.FIXED_BYTES + sealed_file.name_length(sealed[: sealed_file.FIXED_BYTES])
    body = sealed[length:]
    return sealed[:length], [body[at : at + SEALED_CHUNK] for at in range(0, len(body), SEALED_CHUNK)]


@pytest.mark.parametrize("size", [0, 1, KIB - 1, KIB, KIB + 1, 3 * KIB, 3 * KIB + 5])
def test_what_is_sealed_is_opened_again(edgeroot: CommandLine, tmp_path: Path, rng: random.Random, size: int) -> None:
    plaintext = rng.randbytes(size)
    sealed = _seal(edgeroot, plaintext, tmp_path)

    assert edgeroot.run("decrypt-file", "-", stdin=sealed).stdout_bytes == plaintext
    assert len(_split(sealed)[1]) == max(1, -(-size // KIB))


def test_the_format_is_as_described(edgeroot: CommandLine, tmp_path: Path) -> None:
    """Opened from the description alone."""
    plaintext = bytes(2 * KIB) + b"end"
    sealed = _seal(edgeroot, plaintext, tmp_path)

    assert sealed[:9] == b"EDGEROOT\x01"
    assert int.from_bytes(sealed[9:13]) == 0x05500200
    assert int.from_bytes(sealed[13:17]) == KIB
    prefix, header = sealed[17:26], sealed[: 28 + 5]
    assert sealed[26:33] == b"\x00\x05files"
    body, opened = sealed[33:], b""
    for number, at in enumerate(range(0, len(body), SEALED_CHUNK)):
        last = at + SEALED_CHUNK >= len(body)
        nonce = prefix + (number * 2 + last).to_bytes(3)
        opened += AESGCM(AEAD_KEY).decrypt(nonce, body[at : at + SEALED_CHUNK], header)
    assert opened == plaintext


def test_no_two_files_share_a_nonce_prefix(edgeroot: CommandLine, tmp_path: Path) -> None:
    assert _seal(edgeroot, b"same", tmp_path) != _seal(edgeroot, b"same", tmp_path)


def _refused(edgeroot: CommandLine, sealed: bytes, folder: Path) -> str:
    target = folder / "opened"
    message = edgeroot.error("decrypt-file", "-", "-o", str(target), stdin=sealed)
    assert not target.exists()
    assert not [name for name in os.listdir(folder) if name.startswith(".")]
    return message


def test_every_rearrangement_is_refused(edgeroot: CommandLine, tmp_path: Path, rng: random.Random) -> None:
    header, chunks = _split(_seal(edgeroot, rng.randbytes(4 * KIB), tmp_path))
    _, others = _split(_seal(edgeroot, rng.randbytes(4 * KIB), tmp_path))

    for rearranged in (
        chunks[:3],  # cut off between two chunks
        chunks[:2] + [chunks[2][:100]],
        chunks[:2] + [chunks[2][:10]],
        [],
        chunks[1:],
        [chunks[1], chunks[0], *chunks[2:]],
        [chunks[0], *chunks],
        [*chunks[:3], others[3]],
        [*chunks, chunks[3]],
        [*chunks, b"x"],
    ):
        assert "copy" in _refused(edgeroot, header + b"".join(rearranged), tmp_path)


def test_every_flipped_byte_is_refused(edgeroot: CommandLine, tmp_path: Path) -> None:
    sealed = _seal(edgeroot, b"hello", tmp_path)

    for at in range(len(sealed)):
        _refused(edgeroot, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], tmp_path)


def test_every_cut_is_refused(edgeroot: CommandLine, tmp_path: Path) -> None:
    sealed = _seal(edgeroot, b"hello", tmp_path)

    for length in range(len(sealed)):
        _refused(edgeroot, sealed[:length], tmp_path)


def test_other_versions_are_told_apart(edgeroot: CommandLine, tmp_path: Path) -> None:
    assert "version 2" in _refused(edgeroot, b"EDGEROOT\x02" + bytes(40), tmp_path)


def test_a_key_of_another_algorithm_is_told_apart(edgeroot: CommandLine, keys: FullKeyService, tmp_path: Path) -> None:
    keys.add_symmetric("other", templates.aes_ccm())
    sealed = _seal(edgeroot, b"hello", tmp_path)

    assert "is a key for ccm" in edgeroot.error("decrypt-file", "-", "-k", "other", stdin=sealed)


def test_keys_for_something_else_or_with_short_tags_are_refused(edgeroot: CommandLine, keys: FullKeyService) -> None:
    keys.add_symmetric("ctr", templates.aes_cipher(Algorithm.CTR))
    keys.add_symmetric(
        "short",
        templates.aes_gcm().__class__(
            templates.aes_gcm().key_type, 256, templates.aes_gcm().usage, Algorithm.GCM.with_tag_length(4)
        ),
    )

    assert "whole tag" in edgeroot.error("encrypt-file", "-k", "ctr", "-", stdin=b"x")
    assert "whole tag" in edgeroot.error("encrypt-file", "-k", "short", "-", stdin=b"x")


def test_a_file_has_only_so_many_chunks() -> None:
    header = Header(Algorithm.GCM, 1, bytes(9), "k")

    assert header.nonce(sealed_file.CHUNKS_MAX - 1, last=True) == bytes(9) + b"\xff\xff\xff"
    with pytest.raises(OverflowError):
        header.nonce(sealed_file.CHUNKS_MAX, last=True)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, sealed_file.CHUNK_MAX_BYTES),
    st.binary(min_size=9, max_size=9),
    st.text(max_size=300).filter(lambda text: text.isprintable()),
)
def test_headers_are_read_as_written(algorithm: int, chunk_bytes: int, prefix: bytes, key_name: str) -> None:
    header = Header(Algorithm(algorithm), chunk_bytes, prefix, key_name)

    assert sealed_file.parse_header(bytes(header)) == header


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_a_header_or_none(data: bytes, begin: bool) -> None:
    encoded = b"EDGEROOT\x01" + data if begin else data
    try:
        header = sealed_file.parse_header(encoded)
    except NotSealedError:
        return
    assert bytes(header) == encoded
