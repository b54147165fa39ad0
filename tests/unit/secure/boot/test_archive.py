"""The content of images: deterministic, for one partition and one interpreter, and all that its process imports."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import sysconfig
from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeroot.abi.mcuboot import ImageError
from edgeroot.secure.boot.archive import MACHINE, Archive, check_pins, compile_module, decode_archive
from edgeroot.secure.boot.commands import build
from edgeroot.secure.boot.commands.build import build_archives
from edgeroot.secure.runtime import importer
from edgeroot.secure.runtime.importer import MAGIC, read_entries
from edgeroot.secure.spm.manifest import BUILT_IN

# The interpreter has loaded these itself before it runs anything, and the archive cannot.
MAIN = "edgeroot.secure.runtime.main"
_BEFORE = {"encodings", "encodings.aliases", "encodings.utf_8", "__main__"}
_REPORT = """\
import sys

def main(arguments):
    import inner.leaf
    print(inner.leaf.VALUE, sys.flags.isolated, sys.flags.no_site, sys.path)
    inside = ("built-in", "frozen")
    print(sorted(n for n, m in sys.modules.items() if getattr(m.__spec__, "origin", None) not in inside))
    for name in ("json", "edgeroot.psa", "not_there"):
        try:
            __import__(name)
        except ImportError as error:
            print(error)
    return 7
"""


def an_archive(**native: bytes) -> Archive:
    sources = {
        "edgeroot": b"",
        "edgeroot.secure": b"",
        "edgeroot.secure.runtime": b"",
        MAIN: _REPORT.encode(),
        "inner": b"",
        "inner.leaf": b"VALUE = 'verified'\n",
    }
    return Archive(
        partition="storage",
        main=MAIN,
        code={name: compile_module(source, name) for name, source in sources.items()},
        packages=frozenset({"edgeroot", "edgeroot.secure", "edgeroot.secure.runtime", "inner"}),
        native=native,
        bootstrap="import sys",
    )


@functools.cache
def built_archive(name: str) -> Archive:
    """As it is built from what is installed here."""
    return decode_archive(dict(built())[name], partition=name)


@functools.cache
def built() -> tuple[tuple[str, bytes], ...]:
    return tuple(build_archives())


def run(archive: Archive, folder: Path, *native: str) -> subprocess.CompletedProcess[str]:
    """As the partition manager starts a partition, in a folder that has another module of each name."""
    for name in ("inner", "json", "marshal", "edgeroot"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('unverified code ran')")
    descriptor = os.memfd_create("archive")
    os.write(descriptor, archive.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    bootstrap = Path(importer.__file__).read_text()
    try:
        return subprocess.run(
            [sys.executable, "-I", "-S", "-c", bootstrap, str(descriptor), *native, "--", "0"],
            cwd=folder,
            env={"PYTHONPATH": str(folder)},
            pass_fds=(descriptor,),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(descriptor)


def test_the_interpreter_runs_what_is_in_the_archive_and_nothing_else(tmp_path: Path) -> None:
    done = run(an_archive(), tmp_path)

    said = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (7, "")
    assert said[0] == "verified 1 1 []"
    loaded = set(said[1].strip("[]").replace("'", "").split(", "))
    assert loaded - _BEFORE == set(an_archive().code)
    assert said[2:] == [f"No module named '{name}'" for name in ("json", "edgeroot.psa", "not_there")]


def test_a_native_module_is_loaded_from_the_descriptor_that_it_was_verified_in(tmp_path: Path) -> None:
    found = find_spec("_json")
    assert found is not None
    if found.origin in (None, "built-in"):
        found = find_spec("_uuid")
    assert found is not None
    assert found.origin is not None
    descriptor = os.memfd_create("native")
    try:
        os.write(descriptor, Path(found.origin).read_bytes())
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
        done = run(an_archive(**{found.name: b""}), tmp_path, f"{found.name}={path}")
    finally:
        os.close(descriptor)

    assert done.returncode == 7, done.stderr
    assert f"'{found.name}'" in done.stdout


def test_what_was_written_is_read() -> None:
    archive = an_archive(_json=b"\x7fELF")

    assert decode_archive(archive.encode(), partition="storage") == archive


def test_the_same_code_gives_the_same_bytes_wherever_it_lies_and_whatever_is_chance() -> None:
    def built(seed: str) -> bytes:
        code = (
            "import sys; from edgeroot.secure.boot.archive import compile_module;"
            'source = b\'A = {"x", "y", "z"}\\ndef f(q): return q in {"a", "b"}\';'
            "sys.stdout.buffer.write(compile_module(source, 'm'))"
        )
        return subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout

    assert built("1") == built("2") == built("3")


def test_a_pin_holds_for_the_same_bytes_alone() -> None:
    archive = replace(an_archive(), pinned={"_json": b"h" * 32})

    assert decode_archive(archive.encode(), partition="storage") == archive
    check_pins("storage", archive, {"_json": b"h" * 32, "other": b"x" * 32})
    for digests in ({}, {"_json": b"x" * 32}, {"other": b"h" * 32}):
        with pytest.raises(ImageError, match="storage needs the native module _json"):
            check_pins("storage", archive, digests)
    with pytest.raises(ImageError, match="pinned by no SHA-256"):
        decode_archive(replace(archive, pinned={"_json": b"h"}).encode(), partition="storage")


def test_another_partitions_content_is_refused() -> None:
    with pytest.raises(ImageError, match="it is the image of the partition storage"):
        decode_archive(an_archive().encode(), partition="crypto")


def test_content_for_another_kind_of_machine_is_refused() -> None:
    other = "aarch64-linux-gnu" if MACHINE != "aarch64-linux-gnu" else "x86_64-linux-gnu"

    assert decode_archive(replace(an_archive(), machine=MACHINE).encode(), partition="storage").machine == MACHINE
    with pytest.raises(ImageError, match=f"another kind of machine, {other}, and this one is {MACHINE}"):
        decode_archive(replace(an_archive(), machine=other).encode(), partition="storage")


def test_content_for_another_python_is_refused() -> None:
    code = {"m": b"\0\0\r\n" + bytes(12)}

    with pytest.raises(ImageError, match="m is for another version of Python"):
        decode_archive(replace(an_archive(), code=code, packages=frozenset()).encode(), partition="storage")


@pytest.mark.parametrize("data", [b"", b"PK\3\4", MAGIC, MAGIC + b"M", MAGIC + b"Q\0\0\0\0\0\0"])
def test_what_is_no_content_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode_archive(data, partition="storage")


def test_a_few_zeros_behind_it_are_imgtools_and_anything_else_is_refused() -> None:
    data = an_archive().encode()
    for count in range(16):
        assert decode_archive(data + bytes(count), partition="storage") == an_archive()
    for behind in (bytes(16), b"\0\1", b"\1\0"):
        with pytest.raises(ImageError):
            decode_archive(data + behind, partition="storage")


def test_no_cut_is_taken_for_a_whole_archive() -> None:
    data = an_archive().encode()
    whole = read_entries(data)

    for size_bytes in range(0, len(data), 7):
        try:
            assert read_entries(data[:size_bytes]) != whole
        except ValueError:
            continue


def test_a_file_beside_a_module_is_in_the_image_as_well(tmp_path: Path) -> None:
    report = """
from pkgutil import get_data
def main(arguments):
    print(get_data("inner", "files/one.toml"), arguments)
    try:
        get_data("inner", "files/other.toml")
    except OSError as error:
        print(error)
    return 0
"""
    archive = an_archive()
    with_pkgutil = {name: code for name, code in built_archive("manager").code.items() if name not in archive.code}
    code = {**with_pkgutil, **archive.code, MAIN: compile_module(report.encode(), MAIN)}
    packages = archive.packages | built_archive("manager").packages
    resources = {"inner/files/one.toml": b"content"}
    done = run(replace(archive, code=code, packages=packages, resources=resources), tmp_path)

    assert done.stderr == ""
    assert done.stdout.splitlines() == ["b'content' ['0']", "<image>/inner/files/other.toml is not in the image"]


def test_the_managers_image_has_its_manifests_the_tpms_library_and_no_partition() -> None:
    archive = built_archive("manager")

    assert (archive.main, archive.lazy) == ("edgeroot.secure.spm.run", True)
    assert sorted(archive.resources) == sorted(f"edgeroot.secure.spm/manifests/{name}" for name in BUILT_IN)
    assert {"tpm2_pytss", "pyseccomp"} <= archive.code.keys()
    assert "edgeroot.secure.partitions.crypto.partition" not in archive.code


def test_a_built_archive_holds_our_code_the_librarys_and_native_modules_and_no_optional_vendors_one() -> None:
    module = "edgeroot.secure.partitions.crypto.partition"
    archive = built_archive("crypto")

    assert (archive.main, archive.lazy, archive.machine) == (MAIN, False, MACHINE)
    assert {module, MAIN, "dataclasses", "cryptography.hazmat.primitives.hashes"} <= archive.code.keys()
    # The library that all of them need lies in the manager's image, and is pinned by this one.
    held = built_archive("manager").native
    assert {"cryptography.hazmat.bindings._rust", "_cffi_backend"} <= archive.pinned.keys() & held.keys()
    assert {name: sha256(held[name]).digest() for name in archive.pinned} == archive.pinned
    assert "google._upb._message" in archive.native
    assert not archive.native.keys() & held.keys()
    assert not {"cryptoauthlib", "sitecustomize", "tpm2_pytss"} & archive.code.keys()
    source = Path(sysconfig.get_path("stdlib"), "dataclasses.py").read_bytes()
    assert archive.code["dataclasses"] == compile_module(source, "dataclasses")


def test_what_does_not_load_is_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_MANAGER", "no.such.module")

    with pytest.raises(ImageError, match="manager does not load here: ModuleNotFoundError"):
        next(build_archives())
