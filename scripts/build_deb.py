"""Build the Debian packages: edgeroot, the service with what it stands on, and edgeroot-pkcs11, the PKCS#11 module.

Usage: build_deb.py [-o FOLDER] [--version VERSION] (default: dist, this release's)

They are for the Debian release and the architecture that this runs on: the libraries are compiled for its Python, and
in the package, since Debian's own are older than what is needed. Built twice from the same files, they are the same.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
VERSION: Final = re.findall('"(.+)"', (ROOT / "src/edgeroot/_version.py").read_text())[-1]
EXTRAS: Final = ("pkcs11", "update", "verifier")
_LIBRARIES: Final = "usr/lib/edgeroot"
_COMMAND: Final = f"""\
#!/usr/bin/python3 -IB
import sys

sys.path.insert(0, "/{_LIBRARIES}")
from edgeroot.cli.main import main

sys.exit(main())
"""
_NEXT: Final = f"python3 (>= 3.{sys.version_info.minor}), python3 (<< 3.{sys.version_info.minor + 1})"
_COMMON: Final = {
    "Section": "admin",
    "Priority": "optional",
    "Maintainer": "The edgeroot authors <maintainers@edgeroot.invalid>",
    "Homepage": "https://edgeroot.dev",
}
_SERVICE: Final = {
    "Depends": f"{_NEXT}, systemd, libc6, libseccomp2",
    "Recommends": "bubblewrap",
    # It has the same user, socket, configuration and folders.
    "Conflicts": "parsec-service",
    "Replaces": "parsec-service",
    "Provides": "parsec-service",
    "Description": "Parsec security service\n"
    " Keeps cryptographic keys for the programs on a device and lets them use\n"
    " the keys without ever holding them, over a software store, a TPM, a PKCS#11\n"
    " token or a secure world.",
}
_MODULE: Final = {
    "Source": "edgeroot",
    "Depends": "libc6, libgcc-s1",
    "Enhances": "edgeroot",
    "Description": "PKCS#11 module for the keys of a Parsec service\n"
    " With it OpenSSL, curl, nginx, ssh, GnuTLS and Java use the keys as they are.",
}


def build(folder: Path, version: str) -> list[Path]:
    """Both packages, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _package(folder, version, "edgeroot", _service),
        _package(folder, version, "edgeroot-pkcs11", _module),
    ]


def _package(folder: Path, version: str, name: str, fill: Callable[[Path, str], Mapping[str, str]]) -> Path:
    from scripts.debian_documents import changelog, compressed, digests

    architecture = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True)
    machine = architecture.stdout.strip()
    with tempfile.TemporaryDirectory(prefix="edgeroot-deb-") as place:
        tree = Path(place, "tree")
        tree.mkdir()
        tree.chmod(0o755)
        fields = fill(tree, version)
        document = tree / "usr/share/doc" / name
        document.mkdir(parents=True)
        shutil.copy(ROOT / "deploy/debian/copyright", document)
        (document / "CHANGELOG.md.gz").write_bytes(compressed((ROOT / "CHANGELOG.md").read_bytes()))
        (document / "changelog.gz").write_bytes(changelog("edgeroot", version, _COMMON["Maintainer"], _committed()))
        _set_modes(tree)
        kibibytes = sum(path.lstat().st_size for path in tree.rglob("*")) // 1024
        head = {"Package": name, "Version": version, "Architecture": machine, "Installed-Size": str(kibibytes)}
        control = tree / "DEBIAN"
        control.mkdir(exist_ok=True)
        lines = [f"{field}: {value}\n" for field, value in {**head, **_COMMON, **fields}.items()]
        (control / "control").write_text("".join(lines))
        (control / "md5sums").write_text(digests(tree))
        _set_modes(control)
        control.chmod(0o755)
        target = folder / f"{name}_{version}_{machine}.deb"
        command: list[str | Path] = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", tree, target]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": _epoch()}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return target


def _service(tree: Path, version: str) -> Mapping[str, str]:
    from scripts.debian_documents import manual_page
    from scripts.locked_install import compile_modules, install_edgeroot, install_libraries, lock_file
    from scripts.native_module import copy

    libraries = tree / _LIBRARIES
    install_libraries(lock_file("debian"), libraries)
    install_edgeroot(libraries)
    for path in libraries.rglob("RECORD"):  # with paths and digests of what was removed
        path.unlink()
    for name in ("direct_url.json", ".gitignore"):
        for path in libraries.rglob(name):
            path.unlink()
    for path in libraries.rglob("*"):  # some makers leave them executable, which none of them is
        path.chmod(0o755 if path.is_dir() else 0o644)
    # Compiled here: what root's Python left beside the modules would outlive the package.
    compile_modules(libraries, tree)
    command = tree / "usr/bin/edgeroot"
    command.parent.mkdir(parents=True)
    command.write_text(_COMMAND)
    command.chmod(0o755)
    page = tree / "usr/share/man/man1/edgeroot.1.gz"
    page.parent.mkdir(parents=True)
    page.write_bytes(manual_page(version, _committed()))
    copy(ROOT / "deploy/debian/edgeroot.lintian-overrides", tree / "usr/share/lintian/overrides/edgeroot")
    units = tree / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for unit in sorted((ROOT / "deploy/systemd").glob("edgeroot.*")):
        text = unit.read_text().replace("/opt/edgeroot/bin/edgeroot", "/usr/bin/edgeroot")
        (units / unit.name).write_text(text)
    for kind in ("sysusers", "tmpfiles"):
        copy(ROOT / f"deploy/systemd/{kind}.conf", tree / f"usr/lib/{kind}.d/edgeroot.conf")
    copy(ROOT / "deploy/config/parsec.toml", tree / "etc/parsec/config.toml", mode=0o400)
    control = tree / "DEBIAN"
    control.mkdir()
    (control / "conffiles").write_text("/etc/parsec/config.toml\n")
    for script in ("preinst", "postinst", "prerm", "postrm"):
        text = (ROOT / f"deploy/debian/edgeroot.{script}").read_text().replace("@VERSION@", version)
        (control / script).write_text(text)
        (control / script).chmod(0o755)
    return _SERVICE


def _module(tree: Path, version: str) -> Mapping[str, str]:
    del version
    from scripts.native_module import place_module

    place_module(tree)
    return _MODULE


def _set_modes(tree: Path) -> None:
    """Whatever the umask was."""
    for path in tree.rglob("*"):
        if path.is_symlink():
            continue
        if path.is_dir():
            path.chmod(0o755)
        elif path.stat().st_mode & 0o777 != 0o400:
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _epoch() -> str:
    """When the source was committed, for what stores times."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "1700000000"


def _committed() -> datetime:
    return datetime.fromtimestamp(int(_epoch()), UTC)


def main(arguments: list[str]) -> int:
    """Build them, and say where they are."""
    parser = argparse.ArgumentParser(description="Build the Debian packages.")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "dist")
    parser.add_argument("--version", default=VERSION)
    options = parser.parse_args(arguments)
    for path in build(options.output, options.version):
        print(f"{path} ({path.stat().st_size >> 20} MiB)")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))
