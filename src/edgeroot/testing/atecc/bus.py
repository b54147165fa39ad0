"""An I2C bus with emulated parts on it, beneath Microchip's genuine library: registered as its HAL for I2C.

The library has an interface for this (``hal_iface_register_hal``), which whoever ports it to a board uses. It then does
everything above the bus itself: waking, polling, repeating, checking. What it gets from here is what its HAL for Linux
(``hal_linux_i2c_userspace.c``) gives it: no control functions, and one error for whatever is not acknowledged.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final, TypeAlias

from edgeroot.testing.atecc.chip import Atecc

_SUCCESS: Final = 0
_COMM_FAIL: Final = -16
_UNIMPLEMENTED: Final = -11
_GENERAL_CALL: Final = 0
_I2C_INTERFACE: Final = 0

Native: TypeAlias = Any
"""A library, a pointer or a callback of ctypes', which has no types for them."""
_Pointer = ctypes.c_void_p
_Bytes = ctypes.POINTER(ctypes.c_uint8)
_Length = ctypes.POINTER(ctypes.c_uint16)


_FIELDS: Final = [
    ("init", ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, _Pointer)),
    ("post_init", ctypes.CFUNCTYPE(ctypes.c_int, _Pointer)),
    ("send", ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_uint8, _Bytes, ctypes.c_int)),
    ("receive", ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_uint8, _Bytes, _Length)),
    ("control", ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_uint8, _Pointer, ctypes.c_size_t)),
    ("release", ctypes.CFUNCTYPE(ctypes.c_int, _Pointer)),
]


class _Hal(ctypes.Structure):
    """ATCAHAL_t (atca_hal.h)."""

    _fields_: ClassVar = _FIELDS


class Bus:
    """Parts by their addresses. What a test wants to go wrong on the line, it says by the two hooks."""

    def __init__(self, library: Native, parts: dict[int, Atecc]) -> None:
        self._library = library
        self._parts = parts
        self.on_write: Callable[[bytes], bytes | None] = lambda data: data
        """Given what the host writes; what of it arrives, None for no acknowledgement."""
        self.on_read: Callable[[bytes], bytes] = lambda data: data
        """Given what a part answers; what of it arrives."""
        self._hal = _Hal(
            init=_callback("init", lambda _interface, _config: _SUCCESS),
            post_init=_callback("post_init", lambda _interface: _SUCCESS),
            send=_callback("send", self._send),
            receive=_callback("receive", self._receive),
            control=_callback("control", lambda _interface, _option, _data, _size: _UNIMPLEMENTED),
            release=_callback("release", lambda _data: _SUCCESS),
        )

    @contextmanager
    def attached(self) -> Iterator[Bus]:
        """While the library uses this bus; what it used before it uses again afterwards."""
        old, old_physical = _Pointer(), _Pointer()
        register = self._library.hal_iface_register_hal
        register(_I2C_INTERFACE, ctypes.byref(self._hal), ctypes.byref(old), None, ctypes.byref(old_physical))
        try:
            yield self
        finally:
            register(_I2C_INTERFACE, old, None, old_physical, None)

    def _send(self, interface: int, word_address: int, data: Native, size: int) -> int:
        written = bytes([word_address]) + (bytes(data[:size]) if size > 0 else b"")
        address = self._address(interface)
        if address == _GENERAL_CALL:
            if self.on_write(written) is not None:
                for part in self._parts.values():
                    part.wake()
            return _COMM_FAIL  # nobody acknowledges the pulse that wakes
        addressed = self._parts.get(address)
        arrived = self.on_write(written)
        if addressed is None or arrived is None or not addressed.write(arrived):
            return _COMM_FAIL
        return _SUCCESS

    def _receive(self, interface: int, _word_address: int, data: Native, length: Native) -> int:
        part = self._parts.get(self._address(interface))
        read = b"" if part is None else self.on_read(part.read(length[0]))
        if not read:
            return _COMM_FAIL
        whole = read.ljust(length[0], b"\xff")[: length[0]]  # the line is high where nobody pulls it down
        ctypes.memmove(data, whole, len(whole))
        return _SUCCESS

    @staticmethod
    def _address(interface: int) -> int:
        """``iface->mIfaceCFG->atcai2c.address``, which the library changes for the pulse that wakes."""
        config = ctypes.cast(interface, ctypes.POINTER(_Pointer))[0]
        assert config is not None, "an interface has a configuration"
        return int(ctypes.c_uint8.from_address(config + _ADDRESS_OFFSET).value)


_ADDRESS_OFFSET: Final = 8  # in ATCAIfaceCfg: behind the type of the interface and that of the part


def _callback(name: str, function: Callable[..., int]) -> Native:
    kinds: Native = dict(_FIELDS)
    return kinds[name](function)
