"""Limits that only tighten: the length of files, and how often a checker is told to look away."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECKED = ("src", "tests", "peers", "scripts", "bench", "fuzz", "examples")
MOST_LINES = 800
WORTH_A_LOOK_LINES = 500
# Lower these when the count falls; a new suppression replaces an old one, unless a whole room comes with it.
MOST_NOQA = 32
MOST_TYPE_IGNORES = 13

_SUPPRESSION = re.compile(r"#\s*(noqa|type:\s*ignore|mypy:|ruff:)")


def _files() -> Iterator[Path]:
    for folder in CHECKED:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not path.name.endswith("_pb2.py"):
                yield path


def _suppressions(text: str) -> list[str]:
    """Comments that silence a checker (not strings that look like one)."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = (token.string for token in tokens if token.type == tokenize.COMMENT)
    return [found.group(1) for comment in comments for found in _SUPPRESSION.finditer(comment)]


def test_no_file_is_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in _files()}

    with capsys.disabled():
        for name, lines in sorted(lengths.items()):
            if lines > WORTH_A_LOOK_LINES:
                print(f"\nlong file: {name} has {lines} lines")
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_suppressions_do_not_grow() -> None:
    found = [kind for path in _files() for kind in _suppressions(path.read_text())]
    noqa = found.count("noqa")

    assert noqa <= MOST_NOQA
    assert len(found) - noqa <= MOST_TYPE_IGNORES


def test_suppressions_are_counted_in_comments_only() -> None:
    text = "a = 1  # noqa: E501 - why\nb = '# noqa'\nc = d  # type: ignore[x]  # noqa: X\n"

    assert _suppressions(text) == ["noqa", "type: ignore", "noqa"]
