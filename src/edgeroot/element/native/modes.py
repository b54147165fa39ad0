"""AES's modes by the functions of Microchip's library that chain an element's blocks.

The package's Python binding has them for the one device of a process only, and describes their contexts as they were
in an earlier release. So they are called here as the headers declare them (atca_crypto_hw_aes.h, calib_aes_gcm.h).

Each method of :class:`Modes` is one operation from its beginning to its end: a fault in the middle leaves nothing
behind, and the whole can be done again.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from edgeroot.psa import PsaError, PsaStatus, Secret

Native: TypeAlias = Any
"""The library, or an object of ctypes', which has no types for them."""
Do: TypeAlias = Callable[[str, Callable[[ctypes.c_void_p], int]], None]
"""Carries out a call on the open device, the name of a command before it; AtcaError unless it returns 0."""
_COMMAND: Final = "AES"
_BLOCK_BYTES: Final = 16
_KEY_BLOCK: Final = 0  # a slot's first 16 bytes
_COUNTER_BYTES: Final = 16  # CTR counts in the whole block
_GEN_FAIL: Final = -31  # what is no padding
# A context belongs to the library, and how large it is depends on how that was compiled: 168 bytes at most on x86-64.
_CONTEXT_WORDS: Final = 128


class Modes:
    """Encryption under the AES key in a slot. IVs have 16 bytes; data of ECB, and of CBC unless it pads, whole blocks.

    Every method raises AtcaError.
    """

    def __init__(self, library: Native, do: Do) -> None:
        self._library = library
        self._do = do

    def ecb(self, slot: int, data: bytes, *, encrypts: bool) -> bytes:
        call = self._library.calib_aes_encrypt if encrypts else self._library.calib_aes_decrypt
        out = _buffer(len(data))

        def run(device: ctypes.c_void_p) -> int:
            for at in range(0, len(data), _BLOCK_BYTES):
                block = data[at : at + _BLOCK_BYTES]
                if code := call(device, slot, _KEY_BLOCK, block, ctypes.byref(out, at)):
                    return int(code)
            return 0

        self._do(_COMMAND, run)
        return bytes(out)

    def ctr(self, slot: int, iv: bytes, data: bytes) -> bytes:
        """Both directions."""
        init, crypt = self._library.atcab_aes_ctr_init_ext, self._library.atcab_aes_ctr_block
        whole = data + bytes(-len(data) % _BLOCK_BYTES)
        out = _buffer(len(whole))

        def run(device: ctypes.c_void_p) -> int:
            context = _context()
            code = init(device, context, slot, _KEY_BLOCK, _COUNTER_BYTES, iv)
            for at in range(0, len(whole), _BLOCK_BYTES):
                code = code or crypt(context, whole[at : at + _BLOCK_BYTES], ctypes.byref(out, at))
            return int(code)

        self._do(_COMMAND, run)
        return bytes(out)[: len(data)]

    def cbc_encrypt(self, slot: int, iv: bytes, plaintext: bytes, *, pads: bool) -> bytes:
        library = self._library
        out, last = _buffer(len(plaintext)), _buffer(_BLOCK_BYTES)
        size, last_size = ctypes.c_size_t(), ctypes.c_size_t()

        def run(device: ctypes.c_void_p) -> int:
            context = _context()
            size.value, last_size.value = len(out), len(last)
            return int(
                library.atcab_aes_cbc_init_ext(device, context, slot, _KEY_BLOCK, iv, pads)
                or library.atcab_aes_cbc_encrypt_update(
                    context, plaintext, ctypes.c_size_t(len(plaintext)), out, ctypes.byref(size)
                )
                or library.atcab_aes_cbc_encrypt_finish(context, last, ctypes.byref(last_size))
            )

        self._do(_COMMAND, run)
        return bytes(out)[: size.value] + bytes(last)[: last_size.value]

    def cbc_decrypt(self, slot: int, iv: bytes, ciphertext: bytes, *, pads: bool) -> Secret:
        """INVALID_PADDING if it pads and there is none."""
        if not ciphertext:
            return Secret()
        library = self._library
        out, last = _buffer(len(ciphertext)), _buffer(_BLOCK_BYTES)
        size, last_size = ctypes.c_size_t(), ctypes.c_size_t()
        is_padded = True

        def run(device: ctypes.c_void_p) -> int:
            nonlocal is_padded
            context = _context()
            size.value, last_size.value = len(out), len(last)
            code = library.atcab_aes_cbc_init_ext(
                device, context, slot, _KEY_BLOCK, iv, pads
            ) or library.atcab_aes_cbc_decrypt_update(
                context, ciphertext, ctypes.c_size_t(len(ciphertext)), out, ctypes.byref(size)
            )
            if code:
                return int(code)
            code = library.atcab_aes_cbc_decrypt_finish(context, last, ctypes.byref(last_size))
            is_padded = code != _GEN_FAIL
            return int(code) if is_padded else 0

        self._do(_COMMAND, run)
        if not is_padded:
            raise PsaError(PsaStatus.INVALID_PADDING, "the padding is wrong")
        return Secret(bytes(out)[: size.value] + bytes(last)[: last_size.value])

    def cmac(self, slot: int, data: bytes) -> bytes:
        library = self._library
        mac = _buffer(_BLOCK_BYTES)

        def run(device: ctypes.c_void_p) -> int:
            context = _context()
            return int(
                library.atcab_aes_cmac_init_ext(device, context, slot, _KEY_BLOCK)
                or library.atcab_aes_cmac_update(context, data, ctypes.c_uint32(len(data)))
                or library.atcab_aes_cmac_finish(context, mac, ctypes.c_uint32(_BLOCK_BYTES))
            )

        self._do(_COMMAND, run)
        return bytes(mac)

    def gcm_encrypt(self, slot: int, nonce: bytes, additional_data: bytes, plaintext: bytes, tag_bytes: int) -> bytes:
        """The ciphertext and behind it the tag."""
        library = self._library
        out, tag = _buffer(len(plaintext)), _buffer(tag_bytes)

        def run(device: ctypes.c_void_p) -> int:
            context = _context()
            return int(
                self._begin_gcm(device, context, slot, nonce, additional_data)
                or library.calib_aes_gcm_encrypt_update(
                    device, context, plaintext, ctypes.c_uint32(len(plaintext)), out
                )
                or library.calib_aes_gcm_encrypt_finish(device, context, tag, ctypes.c_size_t(tag_bytes))
            )

        self._do(_COMMAND, run)
        return bytes(out) + bytes(tag)

    def gcm_decrypt(
        self, slot: int, nonce: bytes, additional_data: bytes, ciphertext: bytes, tag: bytes
    ) -> Secret | None:
        """The plaintext; None if the tag does not match."""
        library = self._library
        out, is_right = _buffer(len(ciphertext)), ctypes.c_bool()

        def run(device: ctypes.c_void_p) -> int:
            context = _context()
            is_right.value = False
            return int(
                self._begin_gcm(device, context, slot, nonce, additional_data)
                or library.calib_aes_gcm_decrypt_update(
                    device, context, ciphertext, ctypes.c_uint32(len(ciphertext)), out
                )
                or library.calib_aes_gcm_decrypt_finish(
                    device, context, tag, ctypes.c_size_t(len(tag)), ctypes.byref(is_right)
                )
            )

        self._do(_COMMAND, run)
        return Secret(out) if is_right.value else None

    def _begin_gcm(
        self, device: ctypes.c_void_p, context: Native, slot: int, nonce: bytes, additional_data: bytes
    ) -> int:
        library = self._library
        return int(
            library.calib_aes_gcm_init(device, context, slot, _KEY_BLOCK, nonce, ctypes.c_size_t(len(nonce)))
            or library.calib_aes_gcm_aad_update(device, context, additional_data, ctypes.c_uint32(len(additional_data)))
        )


def _buffer(size: int) -> Native:
    return (ctypes.c_uint8 * size)()


def _context() -> Native:
    return (ctypes.c_uint64 * _CONTEXT_WORDS)()
