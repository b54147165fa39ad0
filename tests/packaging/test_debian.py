"""The Debian packages in a clean Debian: installed, used, upgraded, not downgraded, removed and purged."""

from __future__ import annotations

import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peers import PeersRoot, PeersUnavailableError, run_parsec_tool
from peers.debian_root import debian_root
from scripts import build_deb
from scripts.debian_documents import digests
from tests.support.clients import wait_until
from tests.support.requirements import unavailable

VERSIONS = ("0.1.0", "0.2.0")
CODE = "usr/lib/edgeroot/edgeroot"
NEW_LINE = "# new in 0.2.0\n"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Of this tree, and what might be the next version."""
    folder = tmp_path_factory.mktemp("deb")
    first = build_deb.build(folder, VERSIONS[0])
    return {VERSIONS[0]: first, VERSIONS[1]: [renewed(path) for path in first]}


def renewed(path: Path) -> Path:
    """With a file of other content, one more line in the configuration, and a folder less."""
    tree, target = path.with_suffix(""), Path(str(path).replace(*VERSIONS))
    subprocess.run(["dpkg-deb", "--raw-extract", path, tree], check=True)
    version = tree / CODE / "_version.py"
    if version.exists():
        version.write_text(version.read_text().replace(*VERSIONS))
        cached = version.parent / f"__pycache__/_version.{sys.implementation.cache_tag}.pyc"
        py_compile.compile(
            str(version),
            cfile=str(cached),
            dfile=f"/{CODE}/_version.py",
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        shutil.rmtree(tree / CODE / "testing")
        config = tree / "etc/parsec/config.toml"
        config.write_text(config.read_text() + NEW_LINE)
        (tree / "DEBIAN/md5sums").write_text(digests(tree))
    for script in ("control", "preinst"):
        file = tree / "DEBIAN" / script
        if file.exists():
            file.write_text(file.read_text().replace(*VERSIONS))
    command: list[str | Path] = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, target]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return target


class Root:
    """A copy of a clean Debian. Programs run in it as they would there, but for systemd, which is not running."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def socket_path(self) -> Path:
        return self.path / "run/parsec/parsec.sock"

    def command(self, *command: str) -> list[str]:
        enter = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", enter, str(self.path), *command]

    def try_(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        return subprocess.run(
            self.command(*command), env=environment, capture_output=True, text=True, timeout=100, check=False
        )

    def run(self, *command: str) -> str:
        done = self.try_(*command)
        assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def dpkg(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        inside = []
        for one in arguments:
            if isinstance(one, Path):
                shutil.copy(one, self.path / "tmp")
            inside.append(f"/tmp/{one.name}" if isinstance(one, Path) else one)
        return self.try_("dpkg", *inside)

    @contextmanager
    def service(self) -> Iterator[None]:
        """As the unit starts it: its command, as its user."""
        unit = (self.path / "usr/lib/systemd/system/edgeroot.service").read_text()
        line = next(one for one in unit.splitlines() if one.startswith("ExecStart="))
        as_user = ["setpriv", "--reuid=parsec", "--regid=parsec", "--init-groups", "--no-new-privs"]
        log = self.path / "log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                self.command(*as_user, *line.removeprefix("ExecStart=").split()), stdout=output, stderr=output
            )
        try:
            wait_until(lambda: self.socket_path.exists() or process.poll() is not None, "the service listens")
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()
            process.wait(30)
            self.socket_path.unlink(missing_ok=True)


@pytest.fixture
def root(tmp_path: Path, peers_root: PeersRoot) -> Iterator[Root]:
    del peers_root
    try:
        clean = debian_root()
    except PeersUnavailableError as error:
        unavailable(str(error))
    tmp_path.chmod(0o755)
    place = tmp_path / "root"
    subprocess.run(["cp", "--archive", "--reflink=auto", clean, place], check=True)
    yield Root(place)
    shutil.rmtree(place, ignore_errors=True)


def test_the_life_of_an_installation(root: Root, packages: dict[str, list[Path]]) -> None:
    first, second = (packages[version] for version in VERSIONS)
    done = root.dpkg("--install", *first)
    assert done.returncode == 0, done.stdout + done.stderr
    assert root.run("edgeroot", "--version").split()[-1] == "0.1.0"
    assert root.run("dpkg", "--verify", "edgeroot", "edgeroot-pkcs11") == ""
    assert "parsec:x:" in (root.path / "etc/passwd").read_text()
    config = root.path / "etc/parsec/config.toml"
    enabled = root.path / "etc/systemd/system/sockets.target.wants/edgeroot.socket"
    assert enabled.is_symlink()
    assert config.stat().st_mode & 0o777 == 0o400
    assert config.stat().st_uid == (root.path / "var/lib/parsec").stat().st_uid != 0

    # The genuine tool makes a key, over the socket that every client looks for.
    root.run("systemd-tmpfiles", "--create", "edgeroot.conf")
    config.write_text(config.read_text().replace("allow_root = false", "allow_root = true"))
    with root.service():
        made = run_parsec_tool(root.socket_path, "create-ecc-key", "-k", "device")
        assert made.returncode == 0, made.stderr
        public = run_parsec_tool(root.socket_path, "export-public-key", "-k", "device").stdout
        assert "BEGIN PUBLIC KEY" in public
        module = next(root.path.glob("usr/lib/*/pkcs11/edgeroot-pkcs11.so"))
        listed = root.run("pkcs11-tool", "--module", f"/{module.relative_to(root.path)}", "--list-objects")
        assert "label:      device" in listed

    # An upgrade replaces and removes files, and keeps the key, what was changed in the configuration, and that somebody
    # wants no socket.
    assert (root.path / CODE / "testing").exists()
    root.run("systemctl", "disable", "edgeroot.socket")
    done = root.dpkg("--force-confold", "--install", *second)
    assert done.returncode == 0, done.stdout + done.stderr
    assert root.run("edgeroot", "--version").split()[-1] == "0.2.0"
    assert not (root.path / CODE / "testing").exists()
    assert root.run("dpkg", "--verify", "edgeroot", "edgeroot-pkcs11").split() == [
        "??5??????",
        "c",
        "/etc/parsec/config.toml",
    ]
    assert "allow_root = true" in config.read_text()
    assert NEW_LINE not in config.read_text()
    assert NEW_LINE in config.with_name("config.toml.dpkg-dist").read_text()
    assert not enabled.is_symlink()
    with root.service():
        assert run_parsec_tool(root.socket_path, "export-public-key", "-k", "device").stdout == public

    # A downgrade is refused, and changes nothing.
    done = root.dpkg("--install", first[0])
    assert done.returncode != 0
    assert "0.2.0 is installed, and its keys may be in a form that 0.1.0 does not read" in done.stderr
    state = root.run("dpkg-query", "--show", "--showformat=${Version} ${db:Status-Status}", "edgeroot")
    assert state == "0.2.0 installed"

    # Removed, it comes back with its keys; purged, it leaves them and says so.
    assert root.dpkg("--remove", "edgeroot", "edgeroot-pkcs11").returncode == 0
    assert not (root.path / "usr/lib/edgeroot").exists()
    assert config.exists()
    assert root.dpkg("--install", *second).returncode == 0
    with root.service():
        assert run_parsec_tool(root.socket_path, "export-public-key", "-k", "device").stdout == public
    done = root.dpkg("--purge", "edgeroot", "edgeroot-pkcs11")
    assert done.returncode == 0, done.stderr
    assert "the keys in /var/lib/parsec are kept" in done.stderr
    assert not config.exists()
    left = root.run("dpkg-query", "--show", "--showformat=${Package}\n")
    assert "edgeroot" not in left
    assert any((root.path / "var/lib/parsec").rglob("*sqlite3*"))


def test_it_takes_the_place_of_upstreams(packages: dict[str, list[Path]]) -> None:
    fields = subprocess.run(
        ["dpkg-deb", "--field", str(packages["0.1.0"][0])], capture_output=True, text=True, check=True
    ).stdout
    for line in ("Conflicts: parsec-service", "Provides: parsec-service", "Replaces: parsec-service"):
        assert line in fields


def test_debians_checker_finds_nothing(packages: dict[str, list[Path]]) -> None:
    """But for what the overrides in the package say, with the reason."""
    if shutil.which("lintian") is None:
        unavailable("there is no lintian (Debian: lintian)")
    command = ["lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"]
    done = subprocess.run([*command, *packages["0.1.0"]], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_built_twice_it_is_the_same(packages: dict[str, list[Path]], tmp_path: Path) -> None:
    """In another folder, with another umask and another seed of Python's hashes."""
    code = "import os; os.umask(0o077)\nfrom pathlib import Path\nfrom scripts import build_deb\n"
    code += f"build_deb.build(Path({str(tmp_path)!r}), '0.1.0')"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TMPDIR": str(tmp_path), "PYTHONPATH": f"{build_deb.ROOT}"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=build_deb.ROOT)
    for path in packages["0.1.0"]:
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
