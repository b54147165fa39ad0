"""What `edgeroot doctor` asks of PKCS#11: which modules and tokens there are, what they can do, how to use one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from edgeroot.cli.doctor import Finding, Subject

# Where packages announce their modules to p11-kit (pkcs11.conf(5)), and where some lie that announce nothing.
_ANNOUNCED: Final = (Path("/etc/pkcs11/modules"), Path("/usr/share/p11-kit/modules"))
_USUAL: Final = (
    "libsofthsm2.so",
    "libckteec.so.0",
    "libtpm2_pkcs11.so.1",
    "opensc-pkcs11.so",
    "libykcs11.so.2",
    "yubihsm_pkcs11.so",
)
_LIBRARY_FOLDERS: Final = ("usr/lib/*-linux-*", "usr/lib64", "usr/lib", "usr/local/lib")
_SUBFOLDERS: Final = ("", "pkcs11", "softhsm")
_PROXIES: Final = ("p11-kit-trust.so", "p11-kit-proxy.so")  # which hold no keys of their own
_INITIALIZED: Final = 0x400  # CKF_TOKEN_INITIALIZED
_SECTION: Final = """\
To keep keys there, put this into the service's configuration (and the PIN into a file that only the service reads):
[[provider]]
provider_type = "Pkcs11"
key_info_manager = "NAME"
library_path = "{}"
serial_number = "{}"
user_pin = "file:/etc/edgeroot/pin\""""
_MECHANISMS: Final = {
    0x0000: "RSA",
    0x000D: "PSS",
    0x0009: "OAEP",
    0x1041: "ECDSA",
    0x1050: "ECDH",
    0x1087: "AES-GCM",
    0x1085: "AES-CBC",
    0x0251: "HMAC",
}


def checks(_subject: Subject) -> Iterator[Finding]:
    """Every module that is installed, and its tokens."""
    found = _modules()
    if not found:
        fix = "Nothing, if there is no such device; else install its maker's module, or SoftHSM to try it out."
        yield Finding("note", "PKCS#11", "no module is installed", fix)
    for path in found:
        yield from _examine(path)


def _modules() -> list[Path]:
    announced = [file for folder in _ANNOUNCED for file in sorted(folder.glob("*.module"))]
    named = [line.split(":", 1)[1].strip() for file in announced for line in _lines(file) if line.startswith("module:")]
    folders = [folder for pattern in _LIBRARY_FOLDERS for folder in sorted(Path("/").glob(pattern))]
    places = [folder / below for folder in folders for below in _SUBFOLDERS]
    # Joined to a folder a whole path stays what it is.
    found = [place / name for name in (*named, *_USUAL) for place in places]
    real = {path.resolve(): path for path in reversed(found) if path.is_file() and path.name not in _PROXIES}
    return sorted(real.values())


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(errors="replace").splitlines()]
    except OSError:
        return []


def _examine(path: Path) -> Iterator[Finding]:
    from edgeroot.providers.pkcs11.native import isolated
    from edgeroot.psa import PsaError

    try:
        tokens = json.loads(isolated(lambda: json.dumps(_tokens(path)).encode()))
    except PsaError as error:
        fix = "See the module's own documentation: what it needs (a daemon, a device, a configuration) may be missing."
        yield Finding("note", "PKCS#11", f"{path} cannot be used: {error.detail}", fix)
        return
    if not tokens:
        yield Finding("note", "PKCS#11", f"{path} shows no token", "Put one in, or initialise one (softhsm2-util).")
    for token in tokens:
        name = f'the token "{token["label"]}" ({token["model"]}, serial number {token["serial_number"]}) of {path}'
        if not token["flags"] & _INITIALIZED:
            yield Finding("note", "PKCS#11", f"{name} is not initialised", "Initialise it, with a PIN for its user.")
        else:
            section = _SECTION.format(path, token["serial_number"])
            yield Finding("ok", "PKCS#11", f"{name} can do {', '.join(token['can']) or 'nothing of use here'}", section)


def _tokens(path: Path) -> list[dict[str, Any]]:
    """In a process of its own: no module is loaded into this one."""
    from edgeroot.providers.pkcs11.native import Module

    module = Module(path)
    found = []
    for slot in module.slots():
        mechanisms = module.mechanisms(slot)
        can = [name for number, name in _MECHANISMS.items() if number in mechanisms]
        found.append({**module.token_info(slot)._asdict(), "can": can})
    return found
