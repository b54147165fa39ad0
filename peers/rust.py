"""Programs of ours around genuine libraries of other people, from crates.io: ``python -m peers.rust``.

Upstream's Rust client (crate ``parsec-client``), and Veraison's library of attestation results (crate ``ear``, which
brings and compiles its own OpenSSL). They are kept outside of the checkout, by a fingerprint of their sources and of
the crates they are built from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from peers.root import PeersUnavailableError
from peers.toolchains import search_path

_ROOT: Final = Path(__file__).resolve().parent.parent
_DEFAULT_PATH: Final = "/var/lib/edgeroot-rust"


class _Project(NamedTuple):
    """``folder`` has Cargo.toml, Cargo.lock and src/main.rs; what else it is built from are ``sources``."""

    folder: Path
    programs: tuple[str, ...]
    minutes: str
    sources: tuple[Path, ...] = ()

    def place(self) -> Path:
        files = (*(self.folder / name for name in ("Cargo.toml", "Cargo.lock", "src/main.rs")), *self.sources)
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in files))
        return Path(os.environ.get("EDGEROOT_RUST_ROOT", _DEFAULT_PATH), digest.hexdigest()[:16])


_PROJECTS: Final = (
    _Project(
        _ROOT / "tests/interop/rust_client",
        ("rust-client", "sign"),
        "half a minute",
        (_ROOT / "examples/rust/sign.rs",),
    ),
    _Project(_ROOT / "tests/interop/ear_reader", ("ear-reader",), "two minutes"),
)


def rust_program(name: str) -> Path:
    """``rust-client``, which does all that the client can, ``sign``, the example, or ``ear-reader``.

    Raises PeersUnavailableError.
    """
    (project,) = (one for one in _PROJECTS if name in one.programs)
    path = project.place() / name
    if not path.exists():
        raise PeersUnavailableError(f"there is no {path}: run `make peers` where a cargo of 1.82 or newer is")
    return path


def _build(project: _Project) -> str:
    """What went wrong; nothing if it is there now."""
    path = project.place()
    with tempfile.TemporaryDirectory() as place:
        command = ["cargo", "build", "--quiet", "--locked", "--target-dir", place]
        try:
            environment = {**os.environ, "PATH": search_path()}
            done = subprocess.run(
                command, cwd=project.folder, env=environment, capture_output=True, text=True, check=False
            )
        except OSError as error:
            return f"`{' '.join(command)}`: {error}"
        if done.returncode:
            return f"`{' '.join(command)}` failed:\n{done.stderr}"
        partial = path.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name in project.programs:
            shutil.copy2(Path(place, "debug", name), partial)
        partial.rename(path)
    return ""


def main() -> int:
    """Build what is missing; an error only in CI, where no test may be skipped for it."""
    code = 0
    for project in _PROJECTS:
        if project.place().exists():
            continue
        print(f"peers: building {project.folder.name} in Rust ({project.minutes})", flush=True)
        wrong = _build(project)
        if wrong:
            print(f"peers: {wrong}", file=sys.stderr)
            code = 1 if os.environ.get("CI") == "true" else 0
    return code


if __name__ == "__main__":
    sys.exit(main())
