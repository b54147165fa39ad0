"""The package's names: each leads somewhere, and is loaded when it is asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edgeroot.evidence as package


def declared() -> dict[str, str]:
    """Name to module, as type checkers are told."""
    tree = ast.parse(Path(package.__file__).read_text())
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("edgeroot"):
            found |= {alias.name: node.module for alias in node.names}
    return found


def test_type_checkers_and_the_interpreter_are_told_the_same() -> None:
    assert declared() == package._MODULES


@pytest.mark.parametrize("name", sorted(declared()))
def test_every_name_leads_somewhere(name: str) -> None:
    assert getattr(package, name) is getattr(sys.modules[declared()[name]], name)


def test_another_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.__getattr__("nothing")


def test_an_event_log_takes_no_tokens_and_no_cryptography() -> None:
    look = "import sys; from edgeroot.evidence import extend_measurements; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)

    assert not {"edgeroot.evidence.psa_token", "cbor2", "cryptography"} & set(done.stdout.split())
