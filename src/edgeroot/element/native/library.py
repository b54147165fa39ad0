"""The one place where Microchip's CryptoAuthLib is used: the package ``cryptoauthlib``, its ``calib_`` functions.

Those take the device that they act on, so that a process can have several. A call that a fault on the line ended is
repeated a few times; each is a whole sequence of commands, so nothing depends on what an earlier attempt left.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from edgeroot.element.element import Element, Key
from edgeroot.element.errors import AtcaError
from edgeroot.element.native.modes import Modes
from edgeroot.element.settings import DeviceType, ElementSettings
from edgeroot.psa import PsaError, PsaStatus, Secret

Native: TypeAlias = Any
"""An object of the package's or of ctypes', which have no types."""
_ATTEMPTS: Final = 3
_DEVICE_TYPES: Final = {DeviceType.ATECC508A: 2, DeviceType.ATECC608A: 3}  # ATCADeviceType (atca_devtypes.h)
_I2C: Final = 0  # ATCA_I2C_IFACE
_WAKING_BAUD: Final = 100_000
_ZONE_DATA: Final = 2
_BLOCK_BYTES: Final = 32
_HMAC_TO_TEMP_KEY: Final = 0  # the only place for a digest that both parts know
_NONCE_BYTES: Final = 20
_CONFIG_BYTES: Final = 128


def i2c(settings: ElementSettings) -> Native:
    """The library's description of the way to the element (ATCAIfaceCfg)."""
    binding = load_binding()
    config = binding.ATCAIfaceCfg()
    config.iface_type = _I2C
    config.devtype = _DEVICE_TYPES[settings.device]
    config.wake_delay = settings.wake_delay
    config.rx_retries = settings.rx_retries
    config.cfg.atcai2c.address = settings.slave_address
    config.cfg.atcai2c.bus = settings.bus
    # Linux has set the rate. Above this one the library would lower it for waking, which its HAL for Linux cannot.
    config.cfg.atcai2c.baud = min(settings.baud, _WAKING_BAUD)
    return config


def load_binding() -> Native:
    """PsaError NOT_SUPPORTED if the package is missing."""
    try:
        import cryptoauthlib
    except Exception as error:
        message = f"the package cryptoauthlib cannot be used: pip install 'edgeroot[secure-element]' ({error})"
        raise PsaError(PsaStatus.NOT_SUPPORTED, message) from error
    return cryptoauthlib


def load_library() -> Native:
    load_binding()
    from cryptoauthlib.library import get_cryptoauthlib

    return get_cryptoauthlib()


class LibraryElement(Element):
    """An element by the library. Every method raises AtcaError."""

    def __init__(self, config: Native) -> None:
        """``config`` says the way; the element itself is spoken to by the first call, and by each process anew."""
        self._library = load_library()
        self._config = config  # the library keeps a pointer to it
        self._device = ctypes.c_void_p()
        self._process = 0
        self._modes = Modes(self._library, self._do)

    def close(self) -> None:
        if self._process == os.getpid():
            self._library.atcab_release_ext(ctypes.byref(self._device))
        self._process = 0

    def revision(self) -> bytes:
        return self._read("Info", self._library.calib_info, 4)

    def config(self) -> bytes:
        return self._read("Read", self._library.calib_read_config_zone, _CONFIG_BYTES)

    def random(self) -> Secret:
        return self._read("Random", self._library.calib_random, _BLOCK_BYTES)

    def generate(self, slot: int) -> bytes:
        point = (ctypes.c_uint8 * 64)()
        self._do("GenKey", lambda device: self._library.calib_genkey(device, slot, point))
        return bytes(point)

    def public_key(self, slot: int) -> bytes:
        point = (ctypes.c_uint8 * 64)()
        self._do("GenKey", lambda device: self._library.calib_get_pubkey(device, slot, point))
        return bytes(point)

    def sign(self, slot: int, digest: bytes) -> bytes:
        signature = (ctypes.c_uint8 * 64)()
        self._do("Sign", lambda device: self._library.calib_sign(device, slot, digest, signature))
        return bytes(signature)

    def verify(self, point: bytes, digest: bytes, signature: bytes) -> bool:
        is_right = ctypes.c_bool()
        verify = self._library.calib_verify_extern
        self._do("Verify", lambda device: verify(device, digest, signature, point, ctypes.byref(is_right)))
        return is_right.value

    def agree(self, slot: int, point: bytes) -> Secret:
        shared = (ctypes.c_uint8 * _BLOCK_BYTES)()
        self._do("ECDH", lambda device: self._library.calib_ecdh(device, slot, point, shared))
        return Secret(shared)

    def hmac(self, slot: int, data: bytes) -> bytes:
        mac = (ctypes.c_uint8 * _BLOCK_BYTES)()
        call = self._library.calib_sha_hmac
        size = ctypes.c_size_t(len(data))
        self._do("SHA", lambda device: call(device, data, size, slot, mac, _HMAC_TO_TEMP_KEY))
        return bytes(mac)

    def ecb_encrypt(self, slot: int, plaintext: bytes) -> bytes:
        return self._modes.ecb(slot, plaintext, encrypts=True)

    def ecb_decrypt(self, slot: int, ciphertext: bytes) -> bytes:
        return self._modes.ecb(slot, ciphertext, encrypts=False)

    def cbc_encrypt(self, slot: int, iv: bytes, plaintext: bytes, *, pads: bool) -> bytes:
        return self._modes.cbc_encrypt(slot, iv, plaintext, pads=pads)

    def cbc_decrypt(self, slot: int, iv: bytes, ciphertext: bytes, *, pads: bool) -> bytes:
        return self._modes.cbc_decrypt(slot, iv, ciphertext, pads=pads)

    def ctr(self, slot: int, iv: bytes, data: bytes) -> bytes:
        return self._modes.ctr(slot, iv, data)

    def gcm_encrypt(self, slot: int, nonce: bytes, additional_data: bytes, plaintext: bytes, tag_bytes: int) -> bytes:
        return self._modes.gcm_encrypt(slot, nonce, additional_data, plaintext, tag_bytes)

    def gcm_decrypt(
        self, slot: int, nonce: bytes, additional_data: bytes, ciphertext: bytes, tag: bytes
    ) -> Secret | None:
        return self._modes.gcm_decrypt(slot, nonce, additional_data, ciphertext, tag)

    def cmac(self, slot: int, data: bytes) -> bytes:
        return self._modes.cmac(slot, data)

    def write(self, slot: int, data: bytes, key: Key | None) -> None:
        for at in range(0, len(data), _BLOCK_BYTES):
            self._write_block(slot, at // _BLOCK_BYTES, data[at : at + _BLOCK_BYTES], key)

    def _write_block(self, slot: int, block: int, data: bytes, key: Key | None) -> None:
        write, write_encrypted = self._library.calib_write_zone, self._library.calib_write_enc
        if key is None:
            self._do("Write", lambda device: write(device, _ZONE_DATA, slot, block, 0, data, len(data)))
        else:
            nonce = os.urandom(_NONCE_BYTES)
            self._do("Write", lambda device: write_encrypted(device, slot, block, data, key.value, key.slot, nonce))

    def write_private(self, slot: int, private: Secret, key: Key) -> None:
        padded = bytes(4) + private
        nonce = os.urandom(_NONCE_BYTES)
        write = self._library.calib_priv_write
        self._do("PrivWrite", lambda device: write(device, slot, padded, key.slot, key.value, nonce))

    def read_public(self, slot: int) -> bytes:
        point = (ctypes.c_uint8 * 64)()
        self._do("Read", lambda device: self._library.calib_read_pubkey(device, slot, point))
        return bytes(point)

    def _read(self, operation: str, call: Native, size: int) -> Secret:
        buffer = (ctypes.c_uint8 * size)()
        self._do(operation, lambda device: call(device, buffer))
        return Secret(buffer)

    def _do(self, operation: str, call: Callable[[ctypes.c_void_p], int]) -> None:
        """Make the call, several times if the line is bad."""
        for attempt in range(1, _ATTEMPTS + 1):
            code = self._open() or call(self._device)
            if code == 0:
                return
            error = AtcaError(operation, code)
            if not error.is_on_the_line or attempt == _ATTEMPTS:
                raise error

    def _open(self) -> int:
        """0, or the status with which it fails. What was open before a fork is the parent's."""
        if self._process == os.getpid():
            return 0
        self._device = ctypes.c_void_p()
        code = int(self._library.atcab_init_ext(ctypes.byref(self._device), ctypes.byref(self._config)))
        if code == 0:
            self._process = os.getpid()
        return code
