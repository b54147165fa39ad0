"""What goes into package and image is written down, and nothing else is installed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from scripts import lock_libraries
from scripts.locked_install import install_libraries, lock_file

LOCKED = lock_libraries.requirements()


@pytest.mark.parametrize("name", LOCKED)
def test_a_lock_is_of_what_the_project_says_and_names_no_registry(name: str) -> None:
    text = lock_file(name).read_text()
    assert lock_libraries.faults(text, LOCKED[name]) == []
    assert "://" not in text


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (r"# click.*\n", "", "is of other requirements"),
        (r"\nclick==\S+", "\nclick==8.0", "has no version of click>=8.1"),
        (r"\nclick==\S+ \\\n(.*\n){2}", "\n", "has no version of click>=8.1"),
        (r"(\nclick==\S+) \\\n(.*\n){2}", r"\1\n", "has no digest of click"),
        (r"\nclick==", "\n--index-url x\nclick==", "has what is no pin: --index-url x"),
        (r"--hash=sha256:", "--hash=md5:", "has what is no pin"),
    ],
)
def test_another_is_found(old: str, new: str, fault: str) -> None:
    changed, count = re.subn(old, new, lock_file("debian").read_text(), count=1)
    assert count == 1
    found = lock_libraries.faults(changed, LOCKED["debian"])
    assert any(one.startswith(fault) for one in found), found


def test_a_library_that_is_not_the_locked_one_is_not_installed(tmp_path: Path) -> None:
    text = lock_file("debian").read_text()
    (pin,) = re.findall(r"^mdurl==.*\\\n(?:.*\\\n)*.*\n", text, re.MULTILINE)
    lock = tmp_path / "lock.txt"
    lock.write_text(pin)
    install_libraries(lock, tmp_path / "right")
    assert (tmp_path / "right/mdurl/__init__.py").exists()
    lock.write_text(re.sub(r"sha256:.", "sha256:" + "0", pin))
    with pytest.raises(subprocess.CalledProcessError):
        install_libraries(lock, tmp_path / "wrong")
    assert not (tmp_path / "wrong/mdurl").exists()
