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

    def stored_objects(self) -> list[Path]:
        """The files of all objects in all tokens."""
        return [path for path in self.tokens.glob("*/*.object") if path.name != "token.object"]


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
