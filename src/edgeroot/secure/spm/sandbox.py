"""How a partition's process is shut in: bubblewrap with name spaces of its own, and as root a user of its own.

Inside there are read-only code, the partition's own folders, and nothing else: no other process, no network, no /proc.
What the process gives up itself comes on top (:mod:`edgeroot.confinement.partition`).
"""

from __future__ import annotations

import functools
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgeroot.confinement import landlock, seccomp

NAME_SPACES: Final = "name spaces"
OWN_USERS: Final = "users of their own"
LANDLOCK: Final = "Landlock"
SECCOMP: Final = "seccomp"
_SYSTEM: Final = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_NOBODY: Final = 65534
_ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """One partition's surroundings. ``user_id`` None: the manager's own user. ``writable``: inside to outside.

    ``devices`` are nodes of character devices, and to open them the partition gets their groups. ``copies`` are files
    that it can read, inside to a descriptor at whose position their content begins. ``verified``: its code is handed to
    it, so it sees none but the interpreter's own.
    """

    name: str
    user_id: int | None
    writable: Mapping[str, Path] = field(default_factory=dict)
    devices: Sequence[Path] = ()
    copies: Mapping[str, int] = field(default_factory=dict)
    verified: bool = False

    def seen_inside(self) -> dict[str, str]:
        """The folders as the partition has to name them: without bubblewrap they are where they are."""
        return {inside: str(outside) if _bubblewrap() is None else inside for inside, outside in self.writable.items()}

    def copies_inside(self) -> dict[str, str]:
        """The copied files as the partition has to name them: without bubblewrap they are its open descriptors."""
        return {
            inside: f"/proc/self/fd/{descriptor}" if _bubblewrap() is None else inside
            for inside, descriptor in self.copies.items()
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """One measure of isolation, what follows where it is not in force, and what to do then."""

    measure: str
    in_force: bool
    consequence: str
    remedy: str

    @property
    def sentence(self) -> str:
        """For whoever reads that the measure is not in force."""
        return f"{self.consequence}: {self.remedy}"


def command(spec: SandboxSpec, arguments: Sequence[str], *, bwrap: str) -> list[str]:
    """The command line that runs ``arguments``, which begin with the interpreter, inside the sandbox."""
    line = [bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--hostname", spec.name]
    for name, value in _ENVIRONMENT.items():
        line += ["--setenv", name, value]
    for path in readable(arguments[0], verified=spec.verified):
        line += ["--ro-bind-try", path, path]
    for inside, outside in spec.writable.items():
        line += ["--bind", str(outside), inside]
    for device in spec.devices:
        line += ["--dev-bind-try", str(device), str(device)]
    for inside, descriptor in spec.copies.items():
        line += ["--file", str(descriptor), inside]  # quicker than a mount of its own for each
    return [*line, "--remount-ro", "/", "--chdir", "/", "--", *arguments]


def spawn(
    spec: SandboxSpec, arguments: Sequence[str], *, pass_fds: Sequence[int], stderr: int
) -> subprocess.Popen[bytes]:
    """Start the partition. Without bubblewrap it starts outside of a sandbox, as :func:`probe` says. OSError."""
    bwrap = _bubblewrap()
    line = list(arguments) if bwrap is None else command(spec, arguments, bwrap=bwrap)
    return subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        pass_fds=pass_fds,
        env=_ENVIRONMENT,
        cwd="/",
        umask=0o077,
        user=spec.user_id,
        group=spec.user_id,
        extra_groups=None if spec.user_id is None else _groups_of(spec.devices),
    )


def _groups_of(devices: Sequence[Path]) -> list[int]:
    """Of those that exist; root's is no way to a device."""
    return sorted({device.stat().st_gid for device in devices if device.exists()} - {0})


def probe() -> list[Finding]:
    """Which measures this system has."""
    bwrap = _bubblewrap()
    root = os.geteuid() == 0
    return [
        Finding(
            NAME_SPACES,
            bwrap is not None,
            "partitions see all files and processes of their user",
            "install bubblewrap, and allow user namespaces",
        ),
        Finding(
            OWN_USERS,
            root,
            "partitions run as this user, so that the user's other programs reach them",
            "start the secure world as root",
        ),
        Finding(
            LANDLOCK,
            landlock.abi() > 0,
            "partitions rely on bubblewrap alone to keep files away",
            "take a kernel with Landlock (5.13 or later)",
        ),
        Finding(
            SECCOMP,
            seccomp.is_available(),
            "partitions may make every system call",
            "install libseccomp (Debian: libseccomp2)",
        ),
    ]


def sandbox_program() -> tuple[str, ...]:
    """The program that shuts partitions in, if there is one."""
    bwrap = _bubblewrap()
    return () if bwrap is None else (bwrap,)


@functools.cache
def _bubblewrap() -> str | None:
    """bubblewrap, if it is there and works for an ordinary user."""
    bwrap = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")
    if bwrap is None:
        return None
    user_id = _NOBODY if os.geteuid() == 0 else None
    tried = subprocess.run(
        [bwrap, "--unshare-all", "--ro-bind", "/", "/", "--", "/bin/true"],
        capture_output=True,
        check=False,
        cwd="/",
        user=user_id,
        group=user_id,
        extra_groups=None if user_id is None else [],
    )
    return bwrap if tried.returncode == 0 else None


@functools.cache
def readable(interpreter: str, *, verified: bool = False) -> tuple[str, ...]:
    """What it takes to run this interpreter, and unless ``verified`` this package: the fewest trees that hold it."""
    wanted = [*map(Path, _SYSTEM), Path(interpreter), Path(interpreter).resolve(), Path(sys.base_prefix, "lib")]
    if not verified:
        wanted += (Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
        wanted.append(Path(__file__).resolve().parents[2])
    venv = Path(sys.prefix)
    if (venv / "pyvenv.cfg").exists():
        wanted.append(venv / "pyvenv.cfg")
    existing = sorted({str(path) for path in [*wanted, *_links(Path(interpreter))] if path.exists()})
    return tuple(one for one in existing if not any(one.startswith(other + "/") for other in existing))


def hidden(paths: Iterable[str]) -> Path | None:
    """A folder above one of these that users with no part in it, as those of the partitions, may not enter."""
    for path in paths:
        for folder in reversed(Path(path).parents):
            if not folder.stat().st_mode & stat.S_IXOTH:
                return folder
    return None


def _links(path: Path) -> list[Path]:
    """The chain of symbolic links from an interpreter to its file: each has to exist inside."""
    found = []
    while path.is_symlink():
        path = path.parent / path.readlink()
        found.append(path)
    return found
