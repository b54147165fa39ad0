"""Brings the OpenSSL that this Python uses to our PKCS#11 module: once in a process, and with ctypes, as ``ssl`` has no
way to load a provider.
"""

from __future__ import annotations

import _ssl
import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edgeroot.client.tls.errors import TlsError

MODULE_VARIABLE: Final = "EDGEROOT_PKCS11_MODULE"
_MODULES: Final = ("*/pkcs11/edgeroot-pkcs11.so", "pkcs11/edgeroot-pkcs11.so", "*/pkcs11/libedgeroot_pkcs11.so")
_PROVIDERS: Final = ("*/ossl-modules/pkcs11.so", "ossl-modules/pkcs11.so")
_FOLDERS: Final = (Path("/usr/lib"), Path("/usr/local/lib"), Path("/usr/lib64"))
_NAME: Final = b"pkcs11"
_lock: Final = threading.Lock()


def use_service() -> None:
    """OpenSSL knows the module's keys from now on; TlsError if that cannot be.

    Where the system's configuration of OpenSSL loads a provider for PKCS#11 already, that one is used.
    """
    with _lock:
        crypto = _crypto()
        if crypto.OSSL_PROVIDER_available(None, _NAME):
            return
        with as_file(configuration()) as path:
            done = crypto.CONF_modules_load_file(os.fsencode(path), None, 0)
        if done <= 0 or not crypto.OSSL_PROVIDER_available(None, _NAME):
            raise TlsError(
                "OpenSSL does not load its provider for PKCS#11 with edgeroot's module: try "
                f"`PKCS11_PROVIDER_MODULE={module_path()} openssl list -providers -provider pkcs11`"
            )


def module_path() -> Path:
    """Where EDGEROOT_PKCS11_MODULE says, else where packages put it; TlsError if it is nowhere."""
    named = os.environ.get(MODULE_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise TlsError(f"{MODULE_VARIABLE} is {named}, where no file is")
        return Path(named).absolute()
    found = _first(_MODULES)
    if found is None:
        raise TlsError(f"edgeroot's PKCS#11 module is not installed: install it, or set {MODULE_VARIABLE} to its file")
    return found


def _provider_path() -> Path:
    found = _first(_PROVIDERS)
    if found is None:
        raise TlsError(
            "OpenSSL has no provider for PKCS#11 here: install pkcs11-provider (Debian 12 has it in its backports)"
        )
    return found


def _first(patterns: tuple[str, ...]) -> Path | None:
    return next((path for pattern in patterns for folder in _FOLDERS for path in sorted(folder.glob(pattern))), None)


def configuration() -> bytes:
    """The configuration of OpenSSL (OPENSSL_CONF) with which any program finds the service's keys; TlsError.

    The default provider is named, since it is no longer loaded by itself then. Early, so that the keys of peers are the
    default provider's: those that come before the module is loaded would be handed to the module.
    """
    return (
        "openssl_conf = edgeroot\n\n"
        "[edgeroot]\nproviders = edgeroot_providers\n\n"
        "[edgeroot_providers]\ndefault = edgeroot_default\npkcs11 = edgeroot_pkcs11\n\n"
        "[edgeroot_default]\nactivate = 1\n\n"
        f"[edgeroot_pkcs11]\nmodule = {_provider_path()}\npkcs11-module-path = {module_path()}\n"
        "pkcs11-module-load-behavior = early\nactivate = 1\n"
    ).encode()


def _crypto() -> ctypes.CDLL:
    """The library that ``ssl`` itself is linked with, and no other copy of it."""
    place = getattr(_ssl, "__file__", None)
    library = ctypes.CDLL(place)
    try:
        library.OSSL_PROVIDER_available.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        library.CONF_modules_load_file.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong]
    except AttributeError as error:
        raise TlsError(
            "this Python brings an OpenSSL of its own, or one before 3.0, which takes no providers: use one that is "
            "linked with the system's OpenSSL, such as Debian's"
        ) from error
    return library


@contextmanager
def as_file(source: str | os.PathLike[str] | bytes) -> Iterator[str]:
    """A path at which this process reads ``source``: its own, or one in memory for bytes."""
    if not isinstance(source, bytes):
        yield os.fspath(source)
        return
    descriptor = os.memfd_create("edgeroot", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(source)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
