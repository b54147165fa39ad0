"""Upstream's genuine Rust client (crate ``parsec-client``) in programs of ours: ``python -m peers.rust_client``.

They are kept outside of the checkout, by a fingerprint of their sources and of the crates they are built from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from peers.root import PeersUnavailableError
from peers.toolchains import search_path

_ROOT: Final = Path(__file__).resolve().parent.parent
_SOURCE: Final = _ROOT / "tests/interop/rust_client"
_FILES: Final = (
    _SOURCE / "Cargo.toml",
    _SOURCE / "Cargo.lock",
    _SOURCE / "src/main.rs",
    _ROOT / "examples/rust/sign.rs",
)
_DEFAULT_PATH: Final = "/var/lib/edgeroot-rust-client"


def _configured() -> Path:
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in _FILES))
    return Path(os.environ.get("EDGEROOT_RUST_CLIENT_ROOT", _DEFAULT_PATH), digest.hexdigest()[:16])


def rust_program(name: str) -> Path:
    """``rust-client``, which does all that the client can, or ``sign``, the example. Raises PeersUnavailableError."""
    path = _configured() / name
    if not path.exists():
        raise PeersUnavailableError(f"there is no {path}: run `make peers` where a cargo of 1.82 or newer is")
    return path


def main() -> int:
    """Build it, in half a minute; an error only in CI, where no test may be skipped for it."""
    path = _configured()
    if path.exists():
        return 0
    print("peers: building upstream's Rust client", flush=True)
    with tempfile.TemporaryDirectory() as place:
        command = ["cargo", "build", "--release", "--quiet", "--locked", "--target-dir", place]
        try:
            environment = {**os.environ, "PATH": search_path()}
            done = subprocess.run(command, cwd=_SOURCE, env=environment, capture_output=True, text=True, check=False)
            said = done.stderr if done.returncode else ""
        except OSError as error:
            said = str(error)
        if said:
            print(f"peers: `{' '.join(command)}` failed:\n{said}", file=sys.stderr)
            return 1 if os.environ.get("CI") == "true" else 0
        partial = path.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name in ("rust-client", "sign"):
            shutil.copy2(Path(place, "release", name), partial)
        partial.rename(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
