"""What `edgeroot doctor` asks of TPMs: which there are, what they can do, and how to configure one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgeroot.cli.doctor import Finding, Subject

_DEVICES: Final = Path("/dev")
_NAMED: Final = "TPM2TOOLS_TCTI"
"""The environment variable by which tpm2-tools are told which TPM to use."""
_STORAGE_KEY: Final = 0x81000001
_MANUFACTURER: Final = 0x105  # TPM_PT_MANUFACTURER
_SECTION: Final = """\
To keep keys there, put this into the service's configuration:
[[provider]]
provider_type = "Tpm"
key_info_manager = "NAME"
tcti = "{}\""""


def checks(_subject: Subject) -> Iterator[Finding]:
    """The TPM that the environment names, else those of this machine."""
    named = os.environ.get(_NAMED)
    found = [named] if named else [f"device:{path}" for path in _devices()]
    if not found:
        fix = f"Nothing, if the machine has none. Switch it on in the firmware, or name another one with {_NAMED}."
        yield Finding("note", "TPM", "this machine shows no TPM 2.0", fix)
    for tcti in found:
        yield from _examine(tcti)


def _devices() -> list[Path]:
    """The kernel's resource managers; a TPM's own device only where it has none, for it admits one program."""
    managed = sorted(_DEVICES.glob("tpmrm[0-9]*"))
    return managed or sorted(path for path in _DEVICES.glob("tpm[0-9]*") if path.name[3:].isdecimal())


def _examine(tcti: str) -> Iterator[Finding]:
    try:
        from edgeroot.providers.tpm.native.esys import EsysConnection
    except ImportError as error:
        fix = "Install edgeroot[tpm] and the TSS (Debian: libtss2-dev)."
        yield Finding("note", "TPM", f"{tcti} is there, and the library for it is not: {error}", fix)
        return
    from edgeroot.providers.tpm.capabilities import Inventory
    from edgeroot.providers.tpm.errors import TpmError

    try:
        connection = EsysConnection(tcti)
        try:
            connection.startup()
            has = Inventory.of(connection)
            maker = connection.property(_MANUFACTURER).to_bytes(4).rstrip(b"\0 ").decode("ascii", "replace")
            provisioned = _STORAGE_KEY in connection.handles(_STORAGE_KEY)
        finally:
            connection.close()
    except TpmError as error:
        fix = "Let this user open it (Debian: the group tss), and see that no other program has it."
        yield Finding("warning", "TPM", f"{tcti} cannot be used: {error}", fix)
        return
    yield Finding("ok", "TPM", f"{tcti} answers, made by {maker}: {_abilities(has)}", _SECTION.format(tcti))
    if not provisioned:
        fix = f"Save the time: tpm2_createprimary -c srk.ctx && tpm2_evictcontrol -c srk.ctx {_STORAGE_KEY:#x}"
        yield Finding("note", "TPM", "it has no persistent storage key, so one is made at each start", fix)


def _abilities(has: object) -> str:
    from edgeroot.providers.tpm.capabilities import Inventory
    from edgeroot.psa import KeyType

    assert isinstance(has, Inventory)
    rows = has.capabilities().rows
    curves = sorted({bits for row in rows if row.key_type.is_ecc for bits in row.key_bits})
    said = [f"RSA {' '.join(map(str, has.rsa_bits))}"] if has.rsa_bits else []
    said += [f"curves of {' '.join(map(str, curves))} bits"] if curves else []
    said += ["HMAC"] if any(row.key_type == KeyType.HMAC for row in rows) else []
    said += [f"AES {' '.join(map(str, has.aes_bits))}"] if any(row.key_type == KeyType.AES for row in rows) else []
    return ", ".join(said) or "nothing that is of use here"
