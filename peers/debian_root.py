"""A clean Debian of this machine's release, for packages to be installed in: ``python -m peers.debian_root``."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from peers.root import PeersUnavailableError

_DEFAULT_PATH: Final = "/var/lib/edgeroot-debian"
_SCRIPTS: Final = Path(__file__).resolve().parent.parent / "scripts"
_PACKAGES: Final = ("python3-minimal", "python3", "systemd", "libseccomp2", "bubblewrap", "opensc")


def _release() -> str:
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "")


def _configured() -> Path:
    return Path(os.environ.get("EDGEROOT_DEBIAN_ROOT", _DEFAULT_PATH), _release())


def debian_root() -> Path:
    """Where it is: to be copied, not changed. Raises PeersUnavailableError if it is not there, or this is not root."""
    path = _configured()
    if os.geteuid() != 0:
        raise PeersUnavailableError("a root of its own takes root")
    if not path.exists():
        raise PeersUnavailableError(f"there is no {path}: run `make peers` as root")
    return path


def main() -> int:
    """Build it, in two minutes; an error only in CI, where no test may be skipped for it."""
    path = _configured()
    if path.exists():
        return 0
    print(f"peers: building {path} (two minutes)", flush=True)
    subprocess.run([_SCRIPTS / "debian_packages.sh", "debootstrap", "debian-archive-keyring"], check=True)
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    keyring = "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg"
    # In a mount namespace of its own: what debootstrap mounts goes away with it even if it is killed.
    command = ["unshare", "--mount", "debootstrap", "--variant=minbase", keyring, f"--include={','.join(_PACKAGES)}"]
    done = subprocess.run(
        [*command, _release(), str(partial)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        print(f"peers: debootstrap failed:\n{done.stdout[-2000:]}{done.stderr}", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 0
    shutil.rmtree(partial / "var/cache/apt/archives", ignore_errors=True)
    partial.rename(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
