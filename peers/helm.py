"""The genuine Helm, built from its Go module: ``python -m peers.helm`` builds it, if it is not there yet.

It is kept outside the checkout, under its version.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from peers.root import PeersUnavailableError

VERSION: Final = "v4.3.1"
_DEFAULT_PATH: Final = "/var/lib/edgeroot-helm"
_MODULE: Final = "helm.sh/helm/v4"


@dataclass(frozen=True, slots=True)
class Helm:
    """The program, which may be there or not."""

    path: Path

    @classmethod
    def configured(cls) -> Helm:
        """The one below EDGEROOT_HELM_ROOT."""
        return cls(Path(os.environ.get("EDGEROOT_HELM_ROOT", _DEFAULT_PATH), VERSION, "helm"))

    @classmethod
    def ready(cls) -> Helm:
        """The one that can be used now. Raises PeersUnavailableError if there is none."""
        helm = cls.configured()
        if not helm.path.exists():
            raise PeersUnavailableError(f"there is no {helm.path}: run `make chart`")
        return helm

    def run(
        self, *arguments: str, env: Mapping[str, str] | None = None, timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, with folders of its own; the exit code is the caller's to judge."""
        with tempfile.TemporaryDirectory(prefix="helm-") as home:
            own = {"HOME": home, "PATH": os.environ.get("PATH", os.defpath), **(env or {})}
            return subprocess.run(
                [self.path, *arguments], env=own, capture_output=True, text=True, timeout=timeout_s, check=False
            )

    def build(self) -> None:
        """Build it. With nothing cached it takes four minutes on two cores."""
        if self.path.exists():
            return
        go = shutil.which("go", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/go/bin"]))
        if go is None:
            raise PeersUnavailableError("Helm is built with Go, and there is no `go`: install Go 1.21 or newer")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        print(f"helm: building {VERSION} from its Go module", flush=True)
        flags = f"-s -w -X {_MODULE}/internal/version.version={VERSION}"
        command = [go, "install", "-trimpath", "-ldflags", flags, f"{_MODULE}/cmd/helm@{VERSION}"]
        with tempfile.TemporaryDirectory(dir=self.path.parent) as place:
            done = subprocess.run(
                command, env={**os.environ, "GOBIN": place}, cwd=place, capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise PeersUnavailableError(f"Helm could not be built:\n{done.stderr}")
            (Path(place) / "helm").rename(self.path)


def main() -> int:
    """Build it; an error only in CI, where no test may be skipped for it."""
    try:
        Helm.configured().build()
    except (PeersUnavailableError, OSError) as error:
        print(f"helm: {error}", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
