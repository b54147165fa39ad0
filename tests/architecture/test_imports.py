from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture import contract

SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture(scope="module")
def modules() -> dict[str, contract.Module]:
    return contract.read_package(SOURCE)


def test_imports_run_along_the_arrows(modules: dict[str, contract.Module]) -> None:
    assert contract.broken_arrows(modules) == []


def test_no_modules_import_each_other(modules: dict[str, contract.Module]) -> None:
    assert contract.cycles(modules) == []


def test_only_the_rooms_at_the_edge_touch_the_machine(modules: dict[str, contract.Module]) -> None:
    assert contract.forbidden_io(modules) == []


def test_every_known_room_is_in_the_table() -> None:
    for name, room in contract.ROOMS.items():
        assert room.knows <= contract.ROOMS.keys(), name


def _tree(tmp_path: Path, **files: str) -> dict[str, contract.Module]:
    """A package of these modules; a double underscore in a name stands for a folder."""
    for name, text in files.items():
        path = tmp_path / "edgeroot" / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for folder in path.parents:
            if folder == tmp_path:
                break
            (folder / "__init__.py").touch()
    return contract.read_package(tmp_path)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("psa__status", "import edgeroot.wire.header"),
        ("psa__status", "from edgeroot import wire"),
        ("psa__status", "from edgeroot.wire import header"),
        ("psa__status", "from ..wire import header"),
        ("psa__status", "from .. import wire"),
        ("psa__status", "def f():\n    from edgeroot.wire import header"),
        ("psa__status", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from edgeroot.wire import header"),
        ("psa__status", "import cryptography"),
        ("service__pipeline", "from edgeroot.providers.software import provider"),
        ("providers__tpm__provider", "from edgeroot.providers.software import provider"),
        ("providers__tpm__provider", "import edgeroot.keystore"),
        ("client__sync", "import edgeroot.service"),
        ("client__sync", "import edgeroot.cli"),
        ("daemon__app", "import edgeroot.testing"),
        ("daemon__app", "import edgeroot.secure"),
        ("cli__main", "import edgeroot.client.sync"),
        ("attic__old", "import edgeroot.psa"),
    ],
)
def test_a_wrong_arrow_is_found(tmp_path: Path, module: str, text: str) -> None:
    others = {"wire__header": "", "providers__software__provider": "", "cli__frame": ""}

    found = contract.broken_arrows(_tree(tmp_path, **{**others, module: text}))

    assert len(found) == 1
    assert found[0].startswith("edgeroot." + module.replace("__", "."))


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("wire__codec", "from edgeroot import __version__\nfrom edgeroot.psa import status\nimport google.protobuf"),
        ("wire__codec", "from . import header\nfrom .header import Header\nimport struct"),
        ("service__pipeline", "from edgeroot.providers import api\nfrom edgeroot.providers.api import Provider"),
        ("providers__tpm__provider", "from edgeroot.providers.api import Provider"),
        ("client__commands", "import click\nfrom edgeroot.cli import frame\nfrom edgeroot.client import sync"),
        ("client__commands__keys", "import click\nfrom edgeroot.cli import frame\nfrom edgeroot.client import sync"),
        ("daemon__doctor", "from edgeroot.cli import frame"),
    ],
)
def test_a_right_arrow_is_not(tmp_path: Path, module: str, text: str) -> None:
    others = {"wire__header": "", "psa__status": "", "providers__api": "", "cli__frame": "", "client__sync": ""}

    assert contract.broken_arrows(_tree(tmp_path, **{**others, module: text})) == []


def test_a_cycle_is_found_however_long_and_hidden(tmp_path: Path) -> None:
    found = contract.cycles(
        _tree(
            tmp_path,
            psa__a="from edgeroot.psa import b",
            psa__b="def f():\n    from edgeroot.psa.c import x",
            psa__c="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import edgeroot.psa.a",
            psa__d="import edgeroot.psa.a",
        )
    )

    assert found == [["edgeroot.psa.a", "edgeroot.psa.b", "edgeroot.psa.c"]]


def test_a_package_and_its_module_that_import_each_other_are_a_cycle(tmp_path: Path) -> None:
    _tree(tmp_path, psa__a="from edgeroot.psa import Name")
    (tmp_path / "edgeroot/psa/__init__.py").write_text("from edgeroot.psa.a import Name")

    assert contract.cycles(contract.read_package(tmp_path)) == [["edgeroot.psa", "edgeroot.psa.a"]]


@pytest.mark.parametrize(
    "text",
    [
        "import socket",
        "from socket import socket",
        "import concurrent.futures, subprocess",
        "def f():\n    import ctypes",
        "from time import monotonic",
        "from os import open",
        "import os\nos.stat('x')",
        "open('x')",
        "from urllib import request",
        "from pathlib import Path\nPath('x').read_text()",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime\ndatetime.now()",
    ],
)
def test_io_in_a_pure_room_is_found(tmp_path: Path, text: str) -> None:
    assert len(contract.forbidden_io(_tree(tmp_path, service__pipeline=text))) == 1


@pytest.mark.parametrize("module", ["daemon__loop", "providers__tpm__native", "client__commands", "service__commands"])
def test_io_where_it_belongs_is_not(tmp_path: Path, module: str) -> None:
    assert contract.forbidden_io(_tree(tmp_path, **{module: "import socket\nopen('x')"})) == []


def test_pure_use_of_os_is_not(tmp_path: Path) -> None:
    text = "import os\nfrom pathlib import Path\nPath(os.fspath('a')) / 'b'\nos.urandom(12)"

    assert contract.forbidden_io(_tree(tmp_path, engine__random=text)) == []
