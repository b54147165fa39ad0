"""The content of images: deterministic, for one partition and one interpreter, and all that its process imports."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeroot.abi.mcuboot import ImageError
from edgeroot.secure.boot.archive import Archive, compile_module, decode_archive
from edgeroot.secure.boot.commands.build import build_archive
from edgeroot.secure.runtime import importer
from edgeroot.secure.runtime.importer import MAGIC, read_entries

# The interpreter has loaded these itself before it runs anything, and the archive cannot.
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
        importer.MAIN: _REPORT.encode(),
        "inner": b"",
        "inner.leaf": b"VALUE = 'verified'\n",
    }
    return Archive(
        partition="storage",
        code={name: compile_module(source, name) for name, source in sources.items()},
        packages=frozenset({"edgeroot", "edgeroot.secure", "edgeroot.secure.runtime", "inner"}),
        native=native,
        bootstrap="import sys",
    )


def run(archive: Archive, folder: Path, *native: str) -> subprocess.CompletedProcess[str]:
    """As the partition manager starts a partition, in a folder that has another module of each name."""
    for name in ("inner", "json", "marshal", "edgeroot"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('unverified code ran')")
    descriptor = os.memfd_create("archive")
    os.write(descriptor, archive.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        return subprocess.run(
            [sys.executable, "-I", "-S", "-c", Path(importer.__file__).read_text(), str(descriptor), "0", *native],
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


def test_another_partitions_content_is_refused() -> None:
    with pytest.raises(ImageError, match="it is the image of the partition storage"):
        decode_archive(an_archive().encode(), partition="crypto")


def test_content_for_another_python_is_refused() -> None:
    code = {"m": b"\0\0\r\n" + bytes(12)}

    with pytest.raises(ImageError, match="m is for another version of Python"):
        decode_archive(Archive(partition="storage", code=code, packages=frozenset()).encode(), partition="storage")


@pytest.mark.parametrize("data", [b"", b"PK\3\4", MAGIC, MAGIC + b"M", MAGIC + b"Q\0\0\0\0\0\0"])
def test_what_is_no_content_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode_archive(data, partition="storage")


def test_no_cut_is_taken_for_a_whole_archive() -> None:
    data = an_archive().encode()
    whole = read_entries(data)

    for size_bytes in range(0, len(data), 7):
        try:
            assert read_entries(data[:size_bytes]) != whole
        except ValueError:
            continue


def test_a_built_archive_holds_our_code_the_librarys_and_native_modules_and_no_optional_vendors_one() -> None:
    module = "edgeroot.secure.partitions.crypto.partition"
    archive = decode_archive(build_archive("crypto", module), partition="crypto")

    assert {module, importer.MAIN, "dataclasses", "cryptography.hazmat.primitives.hashes"} <= archive.code.keys()
    assert {"cryptography.hazmat.bindings._rust", "_cffi_backend"} <= archive.native.keys()
    assert not {"cryptoauthlib", "sitecustomize", "tpm2_pytss"} & archive.code.keys()
    source = Path(sysconfig.get_path("stdlib"), "dataclasses.py").read_bytes()
    assert archive.code["dataclasses"] == compile_module(source, "dataclasses")


def test_a_partition_that_does_not_load_is_no_image() -> None:
    with pytest.raises(ImageError, match="the partition x does not load here: ModuleNotFoundError"):
        build_archive("x", "no.such.module")
