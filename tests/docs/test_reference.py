"""The tables that are made of the code: each of them stands somewhere, and nothing that is read is left out."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeroot.daemon.assembly import provider_types
from edgeroot.providers.software import SoftwareProviderType
from scripts import generate_reference
from scripts.reference_tables import fill, tables

READERS = sorted((generate_reference.ROOT / "src/edgeroot/daemon").glob("config*.py"))
ASKING = re.compile(
    r"""(?:(?<!root)\.(?:value|boolean|(?:optional_)?(?:integer|text|choice)|milliseconds|path|texts|tables?)\(|_path\(\s*table,)
        \s*"(\w+)\"""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Unexplained:
    width: int = 1


class Foreign(SoftwareProviderType):
    provider_type = "Foreign"
    settings = Unexplained


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return tables(provider_types())


def test_every_key_that_the_code_asks_for_stands_in_a_table(made: dict[str, str]) -> None:
    asked = {key for path in READERS for key in ASKING.findall(path.read_text())}
    assert {"thread_pool_size", "spiffe_id", "pod_resources", "burst", "provider_type", "listen"} <= asked
    shown = set(re.findall(r"`(\w+)`", "".join(made.values())))
    assert asked - shown == set()


def test_a_table_says_types_bounds_defaults_and_whose_a_key_is(made: dict[str, str]) -> None:
    for table, row in (
        ("core_settings", "| `allow_root` | boolean | `false` | Start even as root. |"),
        ("core_settings", "| `thread_pool_size` | integer, 1 to 1024 | number of usable CPUs | "),
        ("listener", "| `timeout` | integer, from 1 | required | "),
        ("listener", '| `mode` (*ours*) | string | `"0666"` | '),
        ("authenticator", "| `admins` | array of tables with `name` | `[]` | "),
        ("authenticator.kubernetes", '| `review` | `"online"`, `"offline"` | `"online"` | '),
        ("provider Tpm", '| `owner_hierarchy_auth` | string | `""` | '),
        ("provider Pkcs11", "| `token_label` (*ours*) | string | – | "),
        ("counted", "| `edgeroot_workers` | gauge | | Worker processes."),
        ("counted", "| `edgeroot_requests_total` | counter | `operation`, `status` | "),
    ):
        assert f"\n{row}" in made[table], (table, row)


def test_a_setting_that_nothing_is_said_of_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"nothing says what provider\.width means"):
        tables({"Foreign": Foreign()})


def test_a_page_keeps_what_stands_around_its_tables() -> None:
    page = "before\n<!-- table: a -->\nold\n<!-- end of table -->\nbetween\n<!-- table: b -->\n<!-- end of table -->\n"
    text, names = fill(page, {"a": "new\n", "b": "other\n"})
    assert text == page.replace("old\n", "new\n").replace("b -->\n", "b -->\nother\n")
    assert names == {"a", "b"}
    assert fill(text, {"a": "new\n", "b": "other\n"})[0] == text
    with pytest.raises(KeyError):
        fill(page, {"a": ""})


def test_a_stale_table_and_one_without_a_place_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(generate_reference.DOCS, docs)
    monkeypatch.setattr(generate_reference, "DOCS", docs)
    assert generate_reference.main(["--check"]) == 0
    page = docs / "metrics.md"
    kept = page.read_text()
    page.write_text(kept.replace("Worker processes.", "Processes."))
    assert generate_reference.main(["--check"]) == 1
    assert generate_reference.main([]) == 0
    assert page.read_text() == kept
    page.write_text(kept.replace("<!-- table: counted -->", ""))
    with pytest.raises(ValueError, match="no page has a place for the tables of counted"):
        generate_reference.main([])
