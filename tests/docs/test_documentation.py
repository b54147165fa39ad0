from __future__ import annotations

from pathlib import Path

import pytest

from scripts import check_docs


@pytest.mark.parametrize("path", check_docs.markdown_files(), ids=lambda path: str(path.relative_to(check_docs.ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    assert check_docs.broken_links(path) == []


@pytest.mark.timeout(600)
def test_marked_examples_do_what_they_show() -> None:
    problems = [check_docs.run_blocks(check_docs.marked_blocks(path)) for path in check_docs.markdown_files()]

    assert [problem for of_one_file in problems for problem in of_one_file] == []


def test_broken_links_and_headings_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# The `first` heading!\n[a](gone.md) [b](#the-first-heading) [c](#gone) [d](page.md#gone)"
        " [e](https://example.com/x) `[f](code.md)`\n```\n[g](fenced.md)\n```\n"
    )

    assert [problem.rpartition(": ")[2] for problem in check_docs.broken_links(page)] == [
        "gone.md leads nowhere",
        "no such heading",
        "no such heading",
    ]


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("console\n$ echo one two\none two", None),
        ("console\n$ echo one two\none ...", None),
        ("console\n$ echo one \\\n    two\none two", None),
        ("console\n$ seq 3\n1\n...\n3", None),
        ("console\n$ echo one two\ntwo", "nothing printed 'two'"),
        ("console\n$ false\n$ echo on", "failed with 1"),
        ("sh\nx=1\ntest $x = 2", "failed with 1"),
    ],
)
def test_marked_blocks_are_held_to_what_they_show(tmp_path: Path, block: str, problem: str | None) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        f"{check_docs.MARKER}\n```sh\ny=kept\n```\n\n{check_docs.MARKER}\n```{block}\n```\n```sh\nfalse\n```\n"
    )

    problems = check_docs.run_blocks(check_docs.marked_blocks(page))

    assert len(problems) == (problem is not None)
    assert problem is None or f"page.md:7: {problem}" in problems[0]


def test_a_marker_above_no_block_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{check_docs.MARKER}\n\n```sh\ntrue\n```\n")

    with pytest.raises(ValueError, match=r"page\.md:1:"):
        check_docs.marked_blocks(page)
