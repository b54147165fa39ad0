"""The Debian root that holds the peers: where it is, whether it is whole, and how it is built."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SUITE: Final = "trixie"
_DEFAULT_PATH: Final = "/var/lib/edgeroot-peers"
_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
_HOST_PACKAGES: Final = ("debootstrap", "debian-archive-keyring")
_SCRIPTS: Final = Path(__file__).resolve().parent.parent / "scripts"

# Package -> a program of it whose presence shows that the package is installed.
_PACKAGES: Final = {
    "parsec-service": "usr/bin/parsec",
    "parsec-tool": "usr/bin/parsec-tool",
    "softhsm2": "usr/bin/softhsm2-util",
    "swtpm": "usr/bin/swtpm",
    "swtpm-tools": "usr/bin/swtpm_setup",
    "tpm2-tools": "usr/bin/tpm2",
    "libtss2-tcti-swtpm0t64": "usr/share/doc/libtss2-tcti-swtpm0t64",
    "opensc": "usr/bin/pkcs11-tool",
    "openssl": "usr/bin/openssl",
    "sqlite3": "usr/bin/sqlite3",
    "procps": "usr/bin/ps",
}


class PeersUnavailableError(RuntimeError):
    """The peers can't be had here; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class PeersRoot:
    """A Debian root with every peer in it."""

    path: Path

    @classmethod
    def configured(cls) -> PeersRoot:
        """The root named by EDGEROOT_PEERS_ROOT, whether it exists or not."""
        return cls(Path(os.environ.get("EDGEROOT_PEERS_ROOT", _DEFAULT_PATH)))

    @classmethod
    def ready(cls) -> PeersRoot:
        """The configured root if it can be used now. Raises PeersUnavailableError with the reason if not."""
        root = cls.configured()
        if os.geteuid() != 0:
            raise PeersUnavailableError("the upstream programs run in a root of their own, which takes root")
        missing = root.missing()
        if missing:
            raise PeersUnavailableError(f"{root.path} lacks {', '.join(missing)}: run `make peers` as root")
        return root

    def missing(self) -> list[str]:
        """Packages that are not there; empty for a root that is whole."""
        return [package for package, program in _PACKAGES.items() if not (self.path / program).exists()]

    def user(self, name: str) -> tuple[int, int]:
        """The uid and gid that a user has inside the root."""
        for line in (self.path / "etc/passwd").read_text().splitlines():
            fields = line.split(":")
            if fields[0] == name:
                return int(fields[2]), int(fields[3])
        raise PeersUnavailableError(f"{self.path} has no user {name}")

    def build(self) -> None:
        """Build the root with debootstrap, unless it is whole already. Takes two minutes, and root.

        It is built beside its place and moved there when it is whole, so an interrupted build is never mistaken for
        a root; an incomplete folder that is already in the place is left for its owner to remove.
        """
        if not self.missing():
            return
        if self.path.exists() and any(self.path.iterdir()):
            raise PeersUnavailableError(f"{self.path} exists but lacks {', '.join(self.missing())}: remove it first")
        subprocess.run([_SCRIPTS / "debian_packages.sh", *_HOST_PACKAGES], check=True)
        partial = self.path.with_name(self.path.name + ".partial")
        if partial.exists():
            shutil.rmtree(partial)
        partial.parent.mkdir(parents=True, exist_ok=True)
        # In a mount namespace of its own: what debootstrap mounts goes away with it even if it is killed.
        command = ["unshare", "--mount", "debootstrap", "--variant=minbase", f"--keyring={_KEYRING}"]
        command += [f"--include={','.join(_PACKAGES)}", SUITE, str(partial)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        if self.path.exists():
            self.path.rmdir()
        partial.rename(self.path)
