"""Build edgeroot's container image without a daemon, a registry or root.

Usage: build_image.py [-o FILE] [--reference NAME] (default: build/edgeroot.oci.tar, edgeroot:VERSION)

The system is what Debian's packages give of Python, bubblewrap and a small shell; nothing of it is installed, only
unpacked, so that there is no package manager in the image; /var/lib/dpkg/status.d says which packages they were. The
interpreter is Debian's for the release that this runs on, so this has to run on it, for the native modules are compiled
here. Layers are kept below build/image, each by what it is made of. Built twice from the same packages and files, the
image is the same.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from scripts import locked_install, native_module, oci_archive  # noqa: E402

EXTRAS: Final = ("k8s", "verifier", "update")
USER: Final = 10001
KEPT: Final = ROOT / "build/image"
_PACKAGES: Final = (
    *("python3", "libc-bin", "bubblewrap", "libseccomp2", "ca-certificates", "busybox-static"),
    "libstdc++6",  # grpcio's
)
# What these depend on for being installed, and not for running.
_NOT_UNPACKED: Final = (
    *("debconf", "debian-archive-keyring", "dpkg", "gpgv", "openssl", "perl-base", "readline-common"),
    *("tar", "tzdata"),
)
_SHELL: Final = ("sh", "mkdir", "chown", "chmod")
_PYTHON: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
_LIBRARIES: Final = f"usr/local/lib/{_PYTHON}/dist-packages"
_SURPLUS: Final = (
    *("usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/info", "usr/share/applications"),
    *("usr/share/pixmaps", "usr/share/bash-completion", "usr/share/zsh", "usr/share/i18n", "usr/lib/locale"),
    *(f"usr/lib/{_PYTHON}/{name}" for name in ("ensurepip", "idlelib", "lib2to3", "pydoc_data", "turtledemo")),
)
_FILES: Final = {
    "etc/passwd": f"root:x:0:0::/:/bin/sh\nedgeroot:x:{USER}:{USER}::/:/usr/sbin/nologin\n"
    "nobody:x:65534:65534::/:/usr/sbin/nologin\n",
    "etc/group": f"root:x:0:\nedgeroot:x:{USER}:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_COMMAND: Final = "#!/usr/bin/python3 -I\nimport sys\n\nfrom edgeroot.cli.main import main\n\nsys.exit(main())\n"


def build_image(place: Path, *, reference: str) -> Path:
    """Write the image as an OCI archive, from kept layers as far as there are any."""
    KEPT.mkdir(parents=True, exist_ok=True)
    this = (Path(__file__), Path(__file__).with_name("oci_archive.py"))
    project = ROOT / "pyproject.toml"
    installing = Path(locked_install.__file__)
    tools = (installing, locked_install.lock_file("build"))
    module = (Path(native_module.__file__), native_module.built_module(), native_module.REGISTRATION)
    package = [path for path in (ROOT / "src").rglob("*") if path.is_file() and path.suffix not in {".pyc", ".so"}]
    layers = [
        _layer("system", (*this, installing), _unpack_system),
        _layer("pkcs11", (*this, *module), native_module.place_module),
        _layer("libraries", (*this, installing, locked_install.lock_file("image")), _install_libraries),
        _layer("edgeroot", (*this, *tools, project, ROOT / "hatch_build.py", *package), _install_edgeroot),
    ]
    settings = oci_archive.ImageSettings(
        entrypoint=["edgeroot"],
        command=["--help"],
        environment=["PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"],
        user=str(USER),
        labels=(
            ("org.opencontainers.image.title", "edgeroot"),
            ("org.opencontainers.image.licenses", "Apache-2.0"),
        ),
    )
    place.parent.mkdir(parents=True, exist_ok=True)
    oci_archive.write_archive(place, reference=reference, layers=layers, settings=settings)
    return place


def _layer(name: str, made_of: Iterable[Path], fill: Callable[[Path], None]) -> oci_archive.Layer:
    """The kept layer that was made of the same, or a new one; ``fill`` puts into a folder what is in it."""
    key = hashlib.sha256(os.uname().machine.encode())
    for path in sorted(made_of):
        key.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    kept = KEPT / f"{name}-{key.hexdigest()[:16]}.tar.gz"
    diff_id = kept.with_suffix(".diff-id")
    if diff_id.exists():
        return oci_archive.Layer(kept, diff_id.read_text())
    with tempfile.TemporaryDirectory(prefix="edgeroot-image-") as folder, _usual_modes():
        fill(Path(folder))
        layer = oci_archive.write_layer(Path(folder), kept)
    for older in KEPT.glob(f"{name}-*"):
        if not older.name.startswith(kept.name.removesuffix(".tar.gz")):
            older.unlink()
    diff_id.write_text(layer.diff_id)
    return layer


@contextmanager
def _usual_modes() -> Iterator[None]:
    """Whatever the umask is: what is in the image is for every user to read."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def _unpack_system(folder: Path) -> None:
    for name in ("bin", "sbin", "lib", "lib64"):
        (folder / "usr" / name).mkdir(parents=True)
        (folder / name).symlink_to(f"usr/{name}")
    with tempfile.TemporaryDirectory(prefix="edgeroot-packages-") as packages:
        for package in _download(Path(packages)):
            _note(package, folder)
            with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as files:
                unpack = ["tar", "--extract", "--keep-directory-symlink", "--no-same-owner", "--directory", str(folder)]
                subprocess.run(unpack, stdin=files.stdout, check=True)
            if files.returncode != 0:
                raise SystemExit(f"{package.name} is damaged")
    if not (folder / "usr/bin" / _PYTHON).exists():
        raise SystemExit(f"Debian's python3 here is not {_PYTHON}, which this runs on: run it with /usr/bin/python3")
    for path in (*(folder / name for name in _SURPLUS), *(folder / "usr/lib").glob("*/gconv")):
        shutil.rmtree(path, ignore_errors=True)
    documents = folder / "usr/share/doc"
    for path in documents.rglob("*"):
        if path.name != "copyright" and not path.is_dir():
            path.unlink()
    for name in _SHELL:
        (folder / "bin" / name).symlink_to("busybox")
    for name, text in _FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    shutil.copy("/etc/os-release", folder / "etc/os-release")
    authorities = sorted((folder / "usr/share/ca-certificates").rglob("*.crt"))
    bundle = folder / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_text("".join(path.read_text() for path in authorities))
    for name in ("proc", "sys", "dev", "run", "etc/edgeroot", "var/lib/edgeroot"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "tmp").mkdir(exist_ok=True)
    (folder / "tmp").chmod(0o1777)
    # By whose list Python finds libraries by their names.
    subprocess.run(["/sbin/ldconfig", "-X", "-r", folder], check=True)
    shutil.rmtree(folder / "var/cache")
    # The image is not writable.
    locked_install.compile_modules(folder / "usr/lib" / _PYTHON, folder)


def _note(package: Path, folder: Path) -> None:
    """What the image has of this package, where programs that look for known faults read it of such images."""
    told = subprocess.run(["dpkg-deb", "--field", package], check=True, capture_output=True, text=True).stdout
    notes = folder / "var/lib/dpkg/status.d"
    notes.mkdir(parents=True, exist_ok=True)
    (notes / package.name.split("_")[0]).write_text(told)


def _download(folder: Path) -> list[Path]:
    """The packages and what they depend on, fetched and verified by apt, which is told of a system with nothing."""
    (folder / "partial").mkdir()
    entry = "Package: {}\nStatus: install ok installed\nArchitecture: all\nVersion: 999\nDescription: -\n\n"
    (folder / "status").write_text("".join(entry.format(name) for name in _NOT_UNPACKED))
    settings = {
        "Dir::State::status": folder / "status",
        "Dir::State::extended_states": folder / "extended",
        "Dir::Cache::archives": folder,
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Debug::NoLocking": 1,
        "APT::Sandbox::User": "",
        "APT::Install-Recommends": 0,
    }
    command = ["apt-get", "--quiet", "--yes", "--download-only"]
    command += [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    done = subprocess.run([*command, "install", *_PACKAGES], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"apt gives no packages (is its list of them there? `apt-get update`): {done.stderr}")
    return sorted(folder.glob("*.deb"))


def _install_libraries(folder: Path) -> None:
    """What edgeroot needs, and not edgeroot itself, which changes more often."""
    locked_install.install_libraries(locked_install.lock_file("image"), folder / _LIBRARIES)
    locked_install.compile_modules(folder / _LIBRARIES, folder)


def _install_edgeroot(folder: Path) -> None:
    locked_install.install_edgeroot(folder / _LIBRARIES)
    command = folder / "usr/local/bin/edgeroot"
    command.parent.mkdir(parents=True)
    command.write_text(_COMMAND)
    command.chmod(0o755)
    locked_install.compile_modules(folder / _LIBRARIES, folder)


def main(arguments: list[str]) -> int:
    """Build it, and say where it is."""
    from edgeroot import __version__

    parser = argparse.ArgumentParser(description="Build edgeroot's container image, without a daemon.")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build/edgeroot.oci.tar", metavar="FILE")
    parser.add_argument(
        "--reference", default=f"edgeroot:{__version__}", help="the image's name, such as REGISTRY/NAME:TAG"
    )
    options = parser.parse_args(arguments)
    place = build_image(options.output, reference=options.reference)
    print(f"{place}: {place.stat().st_size / 1e6:.0f} MB, {options.reference}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
