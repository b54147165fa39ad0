"""What lies below the first stage: measured the same in every boot, whatever else is loaded meanwhile."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pytest

from edgeroot.secure.stage import measure
from edgeroot.secure.stage.measure import loaded_libraries, loaded_modules, measure_first_stage, measure_libraries


def digests(modules: dict[str, str]) -> dict[str, bytes]:
    return {one.name: one.digest for one in measure_first_stage(modules)}


def test_each_part_is_measured_and_none_counts_as_verified() -> None:
    found = measure_first_stage(loaded_modules("entry"))

    assert [one.name for one in found] == ["kernel", "loader", "interpreter", "boot-stage"]
    assert not any(one.signer_id for one in found)
    assert found[0].digest == sha256(Path("/proc/version").read_bytes()).digest()
    assert found[2].digest == sha256(Path(sys.executable).resolve().read_bytes()).digest()


def test_what_is_loaded_after_the_list_was_made_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = loaded_modules("entry")
    before = digests(modules)
    late = ModuleType("late")
    (tmp_path / "late.py").write_text("")
    late.__spec__ = type(measure.__spec__)("late", None, origin=str(tmp_path / "late.py"))
    monkeypatch.setitem(sys.modules, "late", late)

    assert digests(modules) == before
    assert digests(loaded_modules("entry"))["boot-stage"] != before["boot-stage"]


def test_one_changed_byte_of_a_module_or_a_library_changes_the_measurement(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_bytes(b"first")
    module, library = digests({"m": str(file)}), measure_libraries([str(file)])
    file.write_bytes(b"First")

    assert digests({"m": str(file)})["boot-stage"] != module["boot-stage"]
    assert measure_libraries([str(file)]).digest != library.digest
    assert any("libc." in Path(path).name for path in loaded_libraries())
