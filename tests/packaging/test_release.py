"""What a release consists of: the same whoever builds it, and nothing else than what was signed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeroot.client import templates
from scripts import build_release
from tests.support.service import Service

SCRIPT = build_release.ROOT / "scripts/build_release.py"


def test_wheels_and_archives_are_reproducible(tmp_path: Path) -> None:
    """Built from two copies of the source, in another folder, time zone and umask."""
    made = []
    for number, (umask, zone) in enumerate(((0o022, "UTC"), (0o077, "Asia/Kolkata"))):
        source = tmp_path / f"place-{number}" / "deeper"[: 6 * number]
        ignored = shutil.ignore_patterns(".git", ".venv", "target", "build", "dist", "*.so", "__pycache__", ".*cache")
        shutil.copytree(build_release.ROOT, source, ignore=ignored, dirs_exist_ok=True)
        code = f"import os; os.umask({umask}); from pathlib import Path; from scripts import build_release as b\n"
        code += "for path in b.build_python(Path('.')): print('made', path.name)"
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1760000000", "TZ": zone, "PYTHONPATH": str(source)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=source, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        names = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("made")]
        made.append({name: (source / name).read_bytes() for name in names})
    assert len(made[0]) == 2
    assert {name: len(content) for name, content in made[0].items()} == {
        name: len(content) for name, content in made[1].items()
    }
    assert made[0] == made[1]


@pytest.fixture(scope="module")
def release(service: Service, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Wheel and source archive, signed by the service's key; and the key's public half."""
    folder = tmp_path_factory.mktemp("release")
    with service.client() as client:
        client.generate_key("release", templates.ecdsa_p256())
    environment = {**os.environ, "PARSEC_SERVICE_ENDPOINT": service.endpoint}
    public = folder / "release.pub"
    command = [sys.executable, "-m", "edgeroot", "export-public-key", "-k", "release"]
    public.write_bytes(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    command = [sys.executable, str(SCRIPT), "-o", str(folder / "dist"), "--key", "release", "--no-deb", "--no-image"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "dist", public


def verified(folder: Path, public: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--verify", str(folder), "--public-key", str(public)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_release_is_verified(release: tuple[Path, Path]) -> None:
    folder, public = release
    done = verified(folder, public)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in folder.iterdir())
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == sorted({*names} - {build_release.PROVENANCE})
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=False).returncode == 0


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: flip(next(folder.glob("*.whl"))), "not as it was released"),
        (lambda folder: next(folder.glob("*.tar.gz")).unlink(), "missing"),
        (lambda folder: (folder / "extra.whl").write_bytes(b"x"), "not of this release"),
        (lambda folder: flip(folder / build_release.PROVENANCE), ""),
    ],
    ids=["a changed bit", "a missing file", "one more file", "changed provenance"],
)
def test_another_is_refused(
    release: tuple[Path, Path], tmp_path: Path, change: Callable[[Path], None], reason: str
) -> None:
    folder, public = release
    copy = shutil.copytree(folder, tmp_path / "copy")
    change(copy)
    done = verified(copy, public)
    assert done.returncode != 0
    assert reason in done.stderr


def test_another_key_is_refused(release: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.pub"
    command = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"]
    key = subprocess.run(command, check=True, capture_output=True).stdout
    other.write_bytes(subprocess.run(["openssl", "ec", "-pubout"], input=key, check=True, capture_output=True).stdout)
    done = verified(release[0], other)
    assert (done.returncode, "is not signed by this key" in done.stderr) == (1, True)


def test_the_bill_names_what_a_wheel_stands_on(release: tuple[Path, Path]) -> None:
    bill = json.loads(next(release[0].glob("*.whl.cdx.json")).read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    names = {one["name"].lower() for one in bill["components"]}
    assert {"cryptography", "protobuf", "cbor2", "click"} <= names
    assert "cffi" in names, "what cryptography stands on"
    assert not {"hypothesis", "pytest", "hatchling"} & names, "what only building and testing takes"
    assert all(one["purl"].startswith("pkg:pypi/") and one["version"] for one in bill["components"])
