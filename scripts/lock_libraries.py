"""Write down which libraries go into the Debian package and into the image: deploy/locks, for pip's --require-hashes.

Usage: lock_libraries.py [--upgrade]    versions that still fit pyproject.toml stay; with --upgrade the newest are taken
       lock_libraries.py --check        1 if a lock is not one for what pyproject.toml says; asks no registry

Versions are resolved for Debian bookworm's Python, and every file of a version is listed, whichever machine it is for.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parent.parent
LOCKS: Final = ROOT / "deploy/locks"
_PYTHON: Final = "3.11"
_PLATFORM: Final = "x86_64-manylinux_2_36"
_HEAD: Final = "# Made by scripts/lock_libraries.py, of:\n"
_PIN: Final = re.compile(r"^(\S+)==(\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})*)$", re.MULTILINE)


def requirements() -> dict[str, list[str]]:
    """By the lock's name what it is made of: for the package, for the image, and for building edgeroot itself."""
    from scripts import build_deb, build_image

    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = whole["project"]

    def of(extras: Iterable[str]) -> list[str]:
        return sorted(
            {*project["dependencies"], *(one for name in extras for one in project["optional-dependencies"][name])}
        )

    return {
        "build": sorted(whole["build-system"]["requires"]),
        "debian": of(build_deb.EXTRAS),
        "image": of(build_image.EXTRAS),
    }


def head(wanted: Iterable[str]) -> str:
    return _HEAD + "".join(f"# {one}\n" for one in wanted)


def faults(text: str, wanted: list[str]) -> list[str]:
    """Why this is no lock of what is wanted."""
    found = [] if text.startswith(head(wanted)) else ["is of other requirements"]
    pins = {canonicalize_name(name): (version, hashes) for name, version, hashes in _PIN.findall(text)}
    for requirement in map(Requirement, wanted):
        version, _ = pins.get(canonicalize_name(requirement.name), (None, ""))
        if version is None or version not in requirement.specifier:
            found.append(f"has no version of {requirement}")
    found += [f"has no digest of {name}" for name, (_, hashes) in pins.items() if not hashes]
    rest = _PIN.sub("", text.removeprefix(head(wanted))).strip()
    return [*found, f"has what is no pin: {rest.splitlines()[0]}"] if rest else found


def lock(path: Path, wanted: list[str], *, upgrade: bool) -> None:
    """Resolve, keeping what is in the file already unless ``upgrade``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "-",
        "--output-file",
        str(path),
        "--quiet",
        "--generate-hashes",
    ]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    command += ["--python-version", _PYTHON, "--python-platform", _PLATFORM, *(["--upgrade"] if upgrade else [])]
    subprocess.run(command, input="\n".join(wanted), text=True, check=True, stdout=subprocess.DEVNULL)
    path.write_text(head(wanted) + path.read_text())


def main(arguments: list[str]) -> int:
    """Write the locks, or say what is wrong with them."""
    parser = argparse.ArgumentParser(description="Lock the libraries of the Debian package and of the image.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--upgrade", action="store_true")
    choice.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    problems = []
    for name, wanted in requirements().items():
        path = LOCKS / f"{name}.txt"
        if not options.check:
            lock(path, wanted, upgrade=options.upgrade)
        text = path.read_text() if path.exists() else ""
        problems += [f"{path.relative_to(ROOT)} {fault}" for fault in faults(text, wanted)]
    if problems:
        print("\n".join([*problems, "run scripts/lock_libraries.py"]), file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))
