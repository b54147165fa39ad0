"""AES as PSA asks for it, over an element whose library chains the blocks: what can be asked, and what comes back.

Not here are CFB and OFB, which the library does not have, and CCM, of which it has one that ignores what the element
answers: a single refusal on the bus, and the ciphertext that it calls good is the plaintext. Tags of GCM of less than
12 bytes it does not make.
"""

from __future__ import annotations

from typing import Final

from edgeroot.element.element import Element
from edgeroot.psa import Algorithm, PsaError, PsaStatus, Secret

BLOCK_BYTES: Final = 16
GCM_TAG_BYTES: Final = range(12, 16 + 1)
CIPHERS: Final = frozenset({Algorithm.ECB_NO_PADDING, Algorithm.CBC_NO_PADDING, Algorithm.CBC_PKCS7, Algorithm.CTR})
_UNPADDED: Final = frozenset({Algorithm.ECB_NO_PADDING, Algorithm.CBC_NO_PADDING})
_GCM_NONCE_BYTES: Final = range(8, 128 + 1)


def encrypt(element: Element, slot: int, alg: Algorithm, plaintext: bytes) -> bytes:
    """The IV, where the mode has one, and the ciphertext (PSA Crypto API 1.2, clause 10.4). INVALID_ARGUMENT."""
    if alg in _UNPADDED:
        _check_blocks(alg, plaintext)
    if alg == Algorithm.ECB_NO_PADDING:
        return element.ecb_encrypt(slot, plaintext)
    iv = element.random()[:BLOCK_BYTES]
    if alg == Algorithm.CTR:
        return iv + element.ctr(slot, iv, plaintext)
    return iv + element.cbc_encrypt(slot, iv, plaintext, pads=alg == Algorithm.CBC_PKCS7)


def decrypt(element: Element, slot: int, alg: Algorithm, ciphertext: bytes) -> Secret:
    """The plaintext. INVALID_PADDING if it has a padding that is none; INVALID_ARGUMENT."""
    if alg == Algorithm.ECB_NO_PADDING:
        _check_blocks(alg, ciphertext)
        return Secret(element.ecb_decrypt(slot, ciphertext))
    if len(ciphertext) < BLOCK_BYTES:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, "the ciphertext is shorter than an IV")
    iv, rest = ciphertext[:BLOCK_BYTES], ciphertext[BLOCK_BYTES:]
    if alg == Algorithm.CTR:
        return Secret(element.ctr(slot, iv, rest))
    _check_blocks(alg, rest)
    if alg == Algorithm.CBC_PKCS7 and not rest:
        raise PsaError(PsaStatus.INVALID_PADDING, "there is no padding")
    return Secret(element.cbc_decrypt(slot, iv, rest, pads=alg == Algorithm.CBC_PKCS7))


def seal(
    element: Element, slot: int, alg: Algorithm, *, nonce: bytes, additional_data: bytes, plaintext: bytes
) -> bytes:
    """The ciphertext and behind it the tag of GCM (clause 10.5). INVALID_ARGUMENT."""
    _check_nonce(nonce)
    return element.gcm_encrypt(slot, nonce, additional_data, plaintext, alg.tag_length_bytes)


def unseal(
    element: Element, slot: int, alg: Algorithm, *, nonce: bytes, additional_data: bytes, sealed: bytes
) -> Secret:
    """The plaintext. INVALID_SIGNATURE if the tag does not match; INVALID_ARGUMENT."""
    _check_nonce(nonce)
    size = len(sealed) - alg.tag_length_bytes
    if size < 0:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, "the ciphertext is shorter than its tag")
    plaintext = element.gcm_decrypt(slot, nonce, additional_data, sealed[:size], sealed[size:])
    if plaintext is None:
        raise PsaError(PsaStatus.INVALID_SIGNATURE)
    return plaintext


def _check_blocks(alg: Algorithm, data: bytes) -> None:
    if len(data) % BLOCK_BYTES:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, f"{alg!r} works on whole blocks of {BLOCK_BYTES} bytes")


def _check_nonce(nonce: bytes) -> None:
    if len(nonce) not in _GCM_NONCE_BYTES:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, f"GCM takes no nonce of {len(nonce)} bytes here")
