"""The container image as a hardened platform runs it: nothing of it writable, and a user id that nobody chose."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts.build_image import ROOT, build_image
from scripts.software_bill import licences, parts_of, software_bill
from tests.support.clients import wait_until
from tests.support.requirements import require_root, unavailable

UID = 1_234_567
LARGEST_BYTES = 120 << 20
COUNT_SLOTS = """\
import ctypes, glob
(path,) = glob.glob("/usr/lib/*/pkcs11/edgeroot-pkcs11.so")
functions = ctypes.POINTER(ctypes.c_void_p)()
assert ctypes.CDLL(path).C_GetFunctionList(ctypes.byref(functions)) == 0
# CK_FUNCTION_LIST has the version first, then C_Initialize, and C_GetSlotList four places later.
initialise = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)(functions[1])
get_slots = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_ubyte, ctypes.c_void_p, ctypes.c_void_p)(functions[5])
count = ctypes.c_ulong()
print(initialise(None), get_slots(1, None, ctypes.byref(count)), count.value)
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_image(tmp_path_factory.mktemp("image") / "edgeroot.tar", reference="edgeroot:test")


@pytest.fixture(scope="module")
def layout(image: Path) -> tuple[Path, Mapping[str, Any]]:
    """The image's files as a root, and its configuration."""
    place = image.parent
    (place / "oci").mkdir()
    subprocess.run(["tar", "--extract", "--file", image, "--directory", place / "oci"], check=True)
    blobs = place / "oci/blobs/sha256"

    def blob(digest: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((blobs / digest.removeprefix("sha256:")).read_text())
        return content

    (entry,) = json.loads((place / "oci/index.json").read_text())["manifests"]
    manifest = blob(entry["digest"])
    root = place / "root"
    root.mkdir()
    for layer in manifest["layers"]:
        path = blobs / layer["digest"].removeprefix("sha256:")
        subprocess.run(["tar", "--extract", "--gzip", "--file", path, "--directory", root], check=True)
    return root, blob(manifest["config"]["digest"])


def test_it_is_small_and_not_roots(image: Path, layout: tuple[Path, Mapping[str, Any]]) -> None:
    root, configuration = layout
    unpacked = sum(path.lstat().st_size for path in root.rglob("*") if not path.is_symlink())
    assert image.stat().st_size < LARGEST_BYTES
    assert unpacked < 2 * LARGEST_BYTES
    assert int(configuration["config"]["User"].split(":")[0]) > 0
    setuid = [path for path in root.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o6000]
    assert setuid == []


def test_built_twice_it_is_the_same(image: Path, tmp_path: Path) -> None:
    """From nothing that was kept, with another umask and another seed of Python's hashes."""
    code = "import os; os.umask(0o077)\nfrom pathlib import Path\nfrom scripts import build_image\n"
    code += f"build_image.KEPT = Path({str(tmp_path / 'kept')!r})\n"
    code += f"build_image.build_image(Path({str(tmp_path / 'again.tar')!r}), reference='edgeroot:test')"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": f"{ROOT}"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=ROOT)
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (image, tmp_path / "again.tar")}
    assert len(digests) == 1


def test_its_bill_names_what_is_in_it(image: Path, layout: tuple[Path, Mapping[str, Any]]) -> None:
    parts = parts_of(image)
    assert {"edgeroot", "cryptography", "grpcio", "lightkube"} <= {one.name for one in parts}
    bill = json.loads(software_bill("edgeroot-image", "1", parts))
    by_name = {one["name"]: one for one in bill["components"] if one["purl"].startswith("pkg:deb/debian/")}
    documents = {path.name for path in (layout[0] / "usr/share/doc").iterdir()}
    assert {"bubblewrap", "libssl3", "python3"} <= set(by_name)
    assert set(by_name) == documents, "every Debian package leaves its copyright there"
    machine = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert by_name["libssl3"]["purl"] == f"pkg:deb/debian/libssl3@{by_name['libssl3']['version']}?arch={machine}"
    assert {"license": {"name": "Apache-2.0"}} in by_name["libssl3"]["licenses"]
    assert "licenses" not in by_name["libc6"], "whose copyright file is prose"


def test_licences_are_those_of_files_in_a_file_for_machines(tmp_path: Path) -> None:
    document = tmp_path / "copyright"
    head = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nLicense: all-of-it\n\n"
    stanzas = "Files: *\nCopyright: 2001 One\nLicense: MIT\n\nFiles: a\n b\nLicense: GPL-2+ or BSD-3-clause\n"
    document.write_text(head + stanzas + "\nLicense: MIT\n Text with\n .\n License: of a line\n")
    assert licences(document) == ("GPL-2+ or BSD-3-clause", "MIT")
    document.write_text(stanzas)
    assert licences(document) == ()


@contextmanager
def container(root: Path, configuration: Mapping[str, Any], bundle: Path, *command: str) -> Iterator[str]:
    """A container of the image by runc: read-only, without capabilities, new privileges or a network. Its name."""
    require_root("run a container without a user namespace")
    runc = shutil.which("runc") or unavailable("there is no runc (Debian: runc)")
    subprocess.run([runc, "spec"], cwd=bundle, check=True)
    spec = json.loads((bundle / "config.json").read_text())
    spec["root"] = {"path": str(root), "readonly": True}
    spec["process"] |= {
        "terminal": False,
        "args": [*configuration["config"]["Entrypoint"], *command],
        "env": [*configuration["config"]["Env"], "PARSEC_SERVICE_ENDPOINT=unix:/run/edgeroot/parsec.sock"],
        "user": {"uid": UID, "gid": UID},
        "capabilities": {},
        "noNewPrivileges": True,
        "rlimits": [],
    }
    for place in ("/run", "/var/lib/edgeroot", "/tmp"):
        options = ["nosuid", "nodev", "noexec", "mode=0700", f"uid={UID}", f"gid={UID}"]
        spec["mounts"].append({"destination": place, "type": "tmpfs", "source": "tmpfs", "options": options})
    # Whatever control groups this machine has, the container has none of its own to be limited by.
    spec["linux"].pop("resources", None)
    spec["mounts"] = [one for one in spec["mounts"] if one["type"] != "cgroup"]
    (bundle / "config.json").write_text(json.dumps(spec))
    name = f"edgeroot-test-{os.getpid()}"
    log = bundle / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([runc, "run", "--bundle", str(bundle), name], stdout=output, stderr=output)
    try:
        wait_until(lambda: "is ready" in log.read_text() or process.poll() is not None, "the service is ready")
        assert process.poll() is None, log.read_text()
        yield name
    finally:
        subprocess.run([runc, "kill", name, "KILL"], capture_output=True, check=False)
        process.wait(20)
        subprocess.run([runc, "delete", "--force", name], capture_output=True, check=False)


def test_it_serves_under_a_read_only_root_and_any_user(layout: tuple[Path, Mapping[str, Any]], tmp_path: Path) -> None:
    root, configuration = layout
    up = ("up", "--software-only", "--socket", "/run/edgeroot/parsec.sock", "--state", "/var/lib/edgeroot")
    with container(root, configuration, tmp_path, *up) as name:

        def inside(*command: str) -> str:
            done = subprocess.run(
                ["runc", "exec", name, *command], capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        assert inside("edgeroot", "ping") == "1.0\n"
        inside("edgeroot", "create-ecc-key", "-k", "device")
        assert inside("edgeroot", "sign", "-k", "device", "message").strip()
        assert "device" in inside("edgeroot", "list-keys")
        assert inside("python3", "-c", COUNT_SLOTS) == "0 0 1\n"
        with pytest.raises(AssertionError, match="Read-only file system"):
            inside("sh", "-c", "echo x > /etc/edgeroot/x")
