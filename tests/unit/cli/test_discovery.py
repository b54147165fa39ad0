from __future__ import annotations

from pathlib import Path

import pytest

from edgeroot.cli import discovery


def _declare(site: Path, distribution: str, text: str) -> None:
    folder = site / f"{distribution}.dist-info"
    folder.mkdir(parents=True)
    (folder / "entry_points.txt").write_text(text)


def test_entry_points_of_one_group_are_found(tmp_path: Path) -> None:
    _declare(
        tmp_path,
        "a-1.0",
        "[console_scripts]\nx = other:main\n\n[g]\n# remark\none = m.a:b\ntwo=m:c [extra]\n[h]\ny = z\n",
    )

    assert discovery.entry_points("g", [str(tmp_path)]) == {"one": "m.a:b", "two": "m:c [extra]"}


def test_the_first_on_the_path_wins(tmp_path: Path) -> None:
    _declare(tmp_path / "first", "a-1.0", "[g]\nname = first:x\n")
    _declare(tmp_path / "second", "b-1.0", "[g]\nname = second:x\nmore = second:y\n")

    found = discovery.entry_points("g", [str(tmp_path / "first"), str(tmp_path / "second")])

    assert found == {"name": "first:x", "more": "second:y"}


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "no-declaration-1.0.dist-info").mkdir()
    broken = tmp_path / "broken-1.0.dist-info"
    broken.mkdir()
    (broken / "entry_points.txt").write_bytes(b"[g]\nname = \xff")
    (tmp_path / "library.zip").write_bytes(b"PK")

    assert discovery.entry_points("g", [str(tmp_path), str(tmp_path / "library.zip"), str(tmp_path / "gone")]) == {}


def test_attributes_of_attributes_are_loaded() -> None:
    assert discovery.load("pathlib:Path.home [extra]") == Path.home


def test_one_that_fails_does_not_stop_the_others() -> None:
    found = dict(discovery.load_all({"bad": "no.such.module:x", "good": "pathlib:Path", "none": "pathlib:Nothing"}))

    assert found["good"] is Path
    assert isinstance(found["bad"], ImportError)
    assert isinstance(found["none"], AttributeError)


@pytest.mark.parametrize("group", ["console_scripts", "pytest11"])
def test_it_agrees_with_the_standard_library(group: str) -> None:
    from importlib.metadata import entry_points

    assert discovery.entry_points(group).keys() == entry_points(group=group).names
