"""Tokens of the real SoftHSM 2 for tests: a configuration, a folder and an environment of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edgeroot.providers.pkcs11 import Pkcs11Settings
from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11.errors import CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID, CkrError
from edgeroot.providers.pkcs11.native import Module, Session, isolated
from edgeroot.psa import Secret
from tests.support.requirements import unavailable

_MODULES: Final = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
    Path("/usr/local/lib/softhsm/libsofthsm2.so"),
)
PIN: Final = "1234-right"
SO_PIN: Final = "5678-officer"
LABEL: Final = "edgeroot-test"


class SoftHsm:
    """One folder of tokens. Its ``environment`` leads the module to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.module = next((path for path in _MODULES if path.is_file()), None) or _missing()
        self.tokens = folder / "tokens"
        self.tokens.mkdir()
        self.config_path = folder / "softhsm2.conf"
        self.config_path.write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )

    @property
    def environment(self) -> dict[str, str]:
        return {"SOFTHSM2_CONF": str(self.config_path)}

    def util(self, *arguments: str) -> str:
        """What softhsm2-util prints."""
        done = subprocess.run(
            ["softhsm2-util", *arguments],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def make_token(self, label: str = LABEL, *, pin: str = PIN) -> None:
        self.util("--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", SO_PIN)

    def settings(
        self,
        *,
        token_label: str | None = LABEL,
        pin: str = PIN,
        allow_export: bool = True,
        software_public_operations: bool = False,
    ) -> Pkcs11Settings:
        return Pkcs11Settings(
            library_path=self.module,
            token_label=token_label,
            user_pin=Secret(pin.encode()),
            allow_export=allow_export,
            software_public_operations=software_public_operations,
        )

    def notes_a_wrong_pin(self) -> bool:
        """Whether a wrong PIN was given since the last right one: SoftHSM does not count further than that."""

        def look() -> bytes:
            module = Module(self.module)
            flags = module.token_info(_slot(module)).flags
            return b"\1" if flags & ck.CKF_USER_PIN_COUNT_LOW else b"\0"

        return isolated(look) == b"\1"

    def log_in(self) -> None:
        """With the right PIN, from another process."""

        def enter() -> bytes:
            module = Module(self.module)
            module.open_session(_slot(module)).login(Secret(PIN.encode()))
            return b""

        isolated(enter)

    def object_ids(self) -> list[bytes]:
        """The CKA_ID of every object in the first token, in order.

        SoftHSM does not make an object in one step: killed meanwhile, it leaves an empty file, or an object to which it
        has given nothing of its template yet, neither label nor id nor key. Those are not counted.
        """

        def look() -> bytes:
            module = Module(self.module)
            session = module.open_session(_slot(module))
            session.login(Secret(PIN.encode()))
            return b" ".join(_id_of(session, one).hex().encode() for one in session.find({}))

        return sorted(bytes.fromhex(one.decode()) for one in isolated(look).split())


def _id_of(session: Session, handle: int) -> bytes:
    try:
        object_id, label = session.attributes(handle, (ck.CKA_ID, ck.CKA_LABEL))
    except CkrError as error:
        if error.code not in (CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID):
            raise
        return b""
    assert bool(object_id) == bool(label), "an object without an id that is not bare"
    return object_id


def _slot(module: Module) -> int:
    """The slot of the token with the usual label."""
    return next(slot for slot in module.slots() if module.token_info(slot).label == LABEL)


def _missing() -> Path:
    unavailable("SoftHSM 2 (Debian's package softhsm2)")


@contextmanager
def softhsm(*, tokens: int = 1) -> Iterator[SoftHsm]:
    """A SoftHSM with so many tokens, the first with the usual label; this process's environment leads to it as well."""
    folder = Path(tempfile.mkdtemp(prefix="edgeroot-softhsm-"))
    before = os.environ.get("SOFTHSM2_CONF")
    try:
        made = SoftHsm(folder)
        os.environ.update(made.environment)
        for number in range(tokens):
            made.make_token(LABEL if number == 0 else f"{LABEL}-{number}")
        yield made
    finally:
        if before is None:
            os.environ.pop("SOFTHSM2_CONF", None)
        else:
            os.environ["SOFTHSM2_CONF"] = before
        shutil.rmtree(folder, ignore_errors=True)


def with_hsm(hsm: SoftHsm, *lines: str, pin: str | None = PIN) -> str:
    """The lines of a configuration for a provider over this SoftHSM's first token, unless they say which."""
    table = ["[[provider]]", 'provider_type = "Pkcs11"', 'key_info_manager = "kim"', f'library_path = "{hsm.module}"']
    if not any(line.startswith(("token_label", "serial_number", "slot_number")) for line in lines):
        table.append(f'token_label = "{LABEL}"')
    if pin is not None:
        table.append(f'user_pin = "{pin}"')
    return "\n".join([*table, *lines, ""])
