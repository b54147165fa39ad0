"""HMAC and AES with keys in the TPM: inputs in parts that it takes, and PSA's padding and IVs."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.padding import PKCS7

from edgeroot.evidence.tpm_structures import Alg
from edgeroot.providers.tpm.device import Opened
from edgeroot.providers.tpm.errors import TpmError
from edgeroot.providers.tpm.templates import HASHES, MODES
from edgeroot.psa import Algorithm, PsaError, PsaStatus, Secret

_BLOCK_BYTES: Final = 16
_WHOLE_BLOCKS: Final = (Algorithm.CBC_NO_PADDING, Algorithm.ECB_NO_PADDING)


def mac(tpm: Opened, handle: int, alg: Algorithm, data: bytes) -> bytes:
    assert alg.hash is not None, "the capabilities have no HMAC without a hash"
    hash_algorithm, part_bytes = HASHES[alg.hash], tpm.inventory.input_buffer_bytes
    if len(data) <= part_bytes:
        return tpm.connection.hmac(handle, data, hash_algorithm)
    return _long_mac(tpm, handle, hash_algorithm, [data[at : at + part_bytes] for at in _steps(data, part_bytes)])


def _long_mac(tpm: Opened, handle: int, hash_algorithm: Alg, parts: list[bytes]) -> bytes:
    sequence = tpm.connection.hmac_start(handle, hash_algorithm)
    try:
        for part in parts[:-1]:
            tpm.connection.sequence_update(sequence, part)
        return tpm.connection.sequence_complete(sequence, parts[-1])
    except TpmError as error:
        if not (error.is_lost_connection or error.is_lost_state):
            tpm.connection.flush(sequence)
        raise


def encrypt(tpm: Opened, handle: int, alg: Algorithm, plaintext: bytes) -> bytes:
    """The IV, where the mode has one, and the ciphertext."""
    if alg == Algorithm.CBC_PKCS7:
        padder = PKCS7(8 * _BLOCK_BYTES).padder()
        plaintext = padder.update(plaintext) + padder.finalize()
    _check_blocks(alg, plaintext)
    iv = b"" if alg == Algorithm.ECB_NO_PADDING else _random_iv(tpm)
    return iv + _crypt(tpm, handle, MODES[alg], plaintext, decrypt=False, iv=iv)


def decrypt(tpm: Opened, handle: int, alg: Algorithm, ciphertext: bytes) -> Secret:
    """The plaintext; INVALID_PADDING if it has a padding that is none."""
    iv_bytes = 0 if alg == Algorithm.ECB_NO_PADDING else _BLOCK_BYTES
    if len(ciphertext) < iv_bytes:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, "the ciphertext is shorter than an IV")
    iv, rest = ciphertext[:iv_bytes], ciphertext[iv_bytes:]
    _check_blocks(alg, rest)
    plaintext = _crypt(tpm, handle, MODES[alg], rest, decrypt=True, iv=iv)
    if alg != Algorithm.CBC_PKCS7:
        return plaintext
    unpadder = PKCS7(8 * _BLOCK_BYTES).unpadder()
    try:
        return Secret(unpadder.update(plaintext) + unpadder.finalize())
    except ValueError as error:
        raise PsaError(PsaStatus.INVALID_PADDING, "the padding is wrong") from error


def _check_blocks(alg: Algorithm, data: bytes) -> None:
    if (alg in _WHOLE_BLOCKS or alg == Algorithm.CBC_PKCS7) and len(data) % _BLOCK_BYTES:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, f"{alg!r} works on whole blocks of {_BLOCK_BYTES} bytes")


def _random_iv(tpm: Opened) -> bytes:
    iv = b""
    while len(iv) < _BLOCK_BYTES:
        iv += tpm.connection.random(_BLOCK_BYTES - len(iv))
    return iv


def _crypt(tpm: Opened, handle: int, mode: Alg, data: bytes, *, decrypt: bool, iv: bytes) -> Secret:
    part_bytes = tpm.inventory.input_buffer_bytes // _BLOCK_BYTES * _BLOCK_BYTES
    out = bytearray()
    for at in _steps(data, part_bytes):
        part, iv = tpm.connection.crypt(handle, data[at : at + part_bytes], decrypt=decrypt, mode=mode, iv=iv)
        out += part
    return Secret(out)


def _steps(data: bytes, part_bytes: int) -> range:
    return range(0, len(data), part_bytes)
