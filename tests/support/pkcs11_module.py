"""Our PKCS#11 module, and what genuine programs need to find it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.requirements import unavailable
from tests.support.service import Service

PATH: Final = Path(__file__).parents[2] / "native/pkcs11/target/release/libedgeroot_pkcs11.so"


def module() -> Path:
    if not PATH.exists():
        unavailable(f"{PATH} is not built: make native")
    return PATH


def openssl_provider() -> Path:
    """OpenSSL's provider for PKCS#11 (pkcs11-provider)."""
    found = next(iter(Path("/usr/lib").glob("*/ossl-modules/pkcs11.so")), None)
    return found or unavailable("OpenSSL has no provider for PKCS#11: scripts/openssl_provider.sh")


@dataclass(frozen=True, slots=True)
class Programs:
    """Runs programs that use the keys of a service through the module. ``folder`` is theirs."""

    service: Service
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        ours = {"PARSEC_SERVICE_ENDPOINT": self.service.endpoint, "EDGEROOT_PKCS11_MODULE": str(module())}
        return {**os.environ, "PATH": path, **ours}

    @property
    def openssl_environment(self) -> dict[str, str]:
        """With OpenSSL's provider in front of the module."""
        openssl_provider()
        path = self.folder / "openssl.cnf"
        path.write_text(self.run("edgeroot", "pkcs11", "openssl-config"))
        return {**self.environment, "OPENSSL_CONF": str(path)}

    def run(self, *command: str | Path, environment: Mapping[str, str] | None = None, text: str = "") -> str:
        """What it printed; AssertionError with all it said if it fails."""
        done = subprocess.run(
            [str(one) for one in command],
            env=environment or self.environment,
            input=text,
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def openssl(self, *arguments: str | Path) -> str:
        return self.run("openssl", *arguments, environment=self.openssl_environment)

    def pkcs11_tool(self, *arguments: str | Path) -> str:
        return self.run("pkcs11-tool", "--module", module(), *arguments)

    def path(self, name: str) -> Path:
        return self.folder / name
