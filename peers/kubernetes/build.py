"""The programs of Kubernetes and etcd, built from Go modules, and those that run containers, from Debian's packages.

They are kept outside the checkout, each build beside the others under what it was built from, so two checkouts
that want different versions do not disturb each other.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from peers.root import PeersUnavailableError

_DEFAULT_PATH: Final = "/var/lib/edgeroot-kubernetes"
_SOURCE: Final = Path(__file__).resolve().parent / "source"
# Older ones neither read this go.mod nor fetch the version it names by themselves.
_LEAST_GO: Final = (1, 21)
_SAY_EVERY_S: Final = 30.0
_SCRIPTS: Final = Path(__file__).resolve().parents[2] / "scripts"

# Package -> a program of it whose presence shows that it was unpacked.
_PACKAGES: Final = {
    "busybox-static": "bin/busybox",
    "containerd": "usr/bin/containerd",
    "containernetworking-plugins": "usr/lib/cni/ptp",
    "runc": "usr/sbin/runc",
}
# What those programs and the folder that they run in take from the machine.
_HOST_PACKAGES: Final = ("iproute2", "libseccomp2", "mount", "util-linux")


@dataclass(frozen=True, slots=True)
class Programs:
    """A folder of programs. ``kubernetes`` is all of Kubernetes and etcd in one: its first argument says which."""

    path: Path

    @classmethod
    def configured(cls) -> Programs:
        """Those that belong to this checkout, below EDGEROOT_KUBERNETES_ROOT, whether they exist or not."""
        root = Path(os.environ.get("EDGEROOT_KUBERNETES_ROOT", _DEFAULT_PATH))
        return cls(root / f"{version()}-{_fingerprint()[:12]}")

    @classmethod
    def ready(cls) -> Programs:
        """Those that can be used now. Raises PeersUnavailableError with the reason if there are none."""
        programs = cls.configured()
        missing = programs.missing()
        if missing:
            raise PeersUnavailableError(f"{programs.path} lacks {', '.join(missing)}: run `make cluster` as root")
        return programs

    @property
    def kubernetes(self) -> Path:
        return self.path / "kubernetes"

    @property
    def node(self) -> Path:
        """The unpacked packages, as they would lie in the root of a system."""
        return self.path / "node"

    def missing(self) -> list[str]:
        """What is not there; empty when everything is."""
        absent = [] if self.kubernetes.exists() else ["kubernetes"]
        return absent + [package for package, program in _PACKAGES.items() if not (self.node / program).exists()]

    def build(self) -> None:
        """Build and unpack what is missing, as root. With nothing cached it takes a quarter of an hour on two cores."""
        if not self.missing():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=self.path) as name:
            if not self.kubernetes.exists():
                built = Path(name) / "kubernetes"
                print(f"kubernetes: building {version()} from Go modules", flush=True)
                _build_kubernetes(built)
                built.rename(self.kubernetes)
            if self.missing():
                unpacked = Path(name) / "node"
                print("kubernetes: unpacking Debian's containerd, runc and network plugins", flush=True)
                _unpack(unpacked)
                shutil.rmtree(self.node, ignore_errors=True)
                unpacked.rename(self.node)


def version() -> str:
    """The version of Kubernetes that ``source/go.mod`` asks for."""
    found = re.search(r"^\tk8s\.io/kubernetes (v\S+)$", (_SOURCE / "go.mod").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for source in sorted(_SOURCE.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()


def _build_kubernetes(place: Path) -> None:
    go = _go()
    major, minor = version().removeprefix("v").split(".")[:2]
    told = {
        "k8s.io/component-base/version.gitVersion": version(),
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
    }
    flags = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in told.items())])
    command = [go, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", str(place), "."]
    # Without cgo, so that the program runs in any root; and an older Go may fetch the one that go.mod names.
    environment = {"GOTOOLCHAIN": "auto", **os.environ, "CGO_ENABLED": "0"}
    with subprocess.Popen(command, cwd=_SOURCE, env=environment) as building:
        begun_s = time.monotonic()
        while (code := _ended(building, within_s=_SAY_EVERY_S)) is None:
            print(f"kubernetes: still building after {time.monotonic() - begun_s:.0f} s", flush=True)
    if code != 0:
        raise PeersUnavailableError("Kubernetes could not be built: what the Go tool said stands above")
    print(f"kubernetes: built in {time.monotonic() - begun_s:.0f} s", flush=True)


def _ended(process: subprocess.Popen[bytes], *, within_s: float) -> int | None:
    try:
        return process.wait(within_s)
    except subprocess.TimeoutExpired:
        return None


def _go() -> str:
    """The Go tool, from Debian's packages if there is none. Raises PeersUnavailableError if it is too old."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/go/bin"])
    go = shutil.which("go", path=path)
    if go is None:
        subprocess.run([_SCRIPTS / "debian_packages.sh", "golang-go"], check=True)
        go = "go"
    said = subprocess.run([go, "env", "GOVERSION"], cwd="/", capture_output=True, text=True, check=True).stdout.strip()
    found = re.match(r"go(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < _LEAST_GO:
        raise PeersUnavailableError(f"{go} is {said or 'of no version'}: Kubernetes needs Go 1.21 or newer on the PATH")
    return go


def _unpack(place: Path) -> None:
    """Unpack Debian's packages without installing them: a machine's own containerd is not to be disturbed."""
    subprocess.run([_SCRIPTS / "debian_packages.sh", *_HOST_PACKAGES], check=True)
    with tempfile.TemporaryDirectory(prefix="packages-", dir=place.parent) as name:
        downloads = Path(name)
        _quietly(["apt-get", "update"])
        # As root even for the download: apt's own user may not write here.
        _quietly(["apt-get", "-o", "APT::Sandbox::User=root", "download", *_PACKAGES], folder=downloads)
        for package in sorted(downloads.glob("*.deb")):
            _quietly(["dpkg-deb", "--extract", str(package), str(place)])


def _quietly(command: list[str], *, folder: Path | None = None) -> None:
    """Run a command to its end; what it says is shown only if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise PeersUnavailableError(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}")
