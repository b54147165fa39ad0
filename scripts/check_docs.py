"""Check the documentation: relative links lead somewhere, and blocks marked as executed do what they show.

A fenced ``console`` or ``sh`` block with the line ``<!-- run -->`` right above it is executed: all such blocks of a
file in order in one shell, in an empty folder, with the repository's .venv first on PATH and its PKCS#11 module in
EDGEROOT_PKCS11_MODULE. In a ``console`` block the
lines after ``$ `` are the commands, and each other line has to appear in what they print; ``...`` in such a line stands
for anything, and a line of only ``...`` for any lines.

Usage: check_docs.py [--links-only] [FILE...]   (default: every Markdown file of the repository)
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
MODULE: Final = ROOT / "native/pkcs11/target/release/libedgeroot_pkcs11.so"
MARKER: Final = "<!-- run -->"
_TIMEOUT_S: Final = 300
_FENCE: Final = re.compile(r"^```(\w*)\s*$")
_LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_SKIPPED_FOLDERS: Final = {".venv", ".git", "node_modules", "build", "dist"}


@dataclass(frozen=True, slots=True)
class Block:
    """A marked block: the commands as a script, and the lines that have to appear in its output."""

    path: Path
    line: int
    script: str
    expected: tuple[str, ...]


def markdown_files() -> list[Path]:
    """Every Markdown file of the repository."""
    return sorted(p for p in ROOT.rglob("*.md") if not _SKIPPED_FOLDERS & set(p.relative_to(ROOT).parts))


def _slug(heading: str) -> str:
    """The anchor that a heading gets on the usual renderers."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def _prose(text: str) -> Iterator[str]:
    """The lines outside of fenced blocks."""
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield line


def broken_links(path: Path) -> list[str]:
    """Relative links of a file whose target, or whose heading in a Markdown target, is not there."""
    problems = []
    for line in _prose(path.read_text()):
        for link in _LINK.findall(re.sub(r"`[^`]*`", "", line)):
            if "://" in link or link.startswith("mailto:"):
                continue
            name, _, anchor = link.partition("#")
            target = path.parent / name if name else path
            if not target.exists():
                problems.append(f"{path}: {link} leads nowhere")
            elif anchor and target.suffix == ".md":
                headings = {_slug(line.lstrip("#")) for line in _prose(target.read_text()) if line.startswith("#")}
                if anchor not in headings:
                    problems.append(f"{path}: {link}: no such heading")
    return problems


def marked_blocks(path: Path) -> list[Block]:
    """The blocks of a file that are to be executed. Raises ValueError for a marker with no such block below it."""
    blocks = []
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.strip() != MARKER:
            continue
        fence = _FENCE.match(lines[number + 1]) if number + 1 < len(lines) else None
        if fence is None or fence.group(1) not in {"console", "sh"}:
            raise ValueError(f"{path}:{number + 1}: {MARKER} stands above no console or sh block")
        end = lines.index("```", number + 2)
        blocks.append(_block(path, number + 2, fence.group(1), lines[number + 2 : end]))
    return blocks


def _block(path: Path, line: int, kind: str, body: list[str]) -> Block:
    if kind == "sh":
        return Block(path, line, "\n".join(body), ())
    commands: list[str] = []
    expected: list[str] = []
    continued = False
    for text in body:
        if text.startswith("$ ") or continued:
            commands.append(text if continued else text[2:])
            continued = text.endswith("\\")
        elif text.strip() not in {"", "..."}:
            expected.append(text)
    return Block(path, line, "\n".join(commands), tuple(expected))


def run_blocks(blocks: list[Block]) -> list[str]:
    """Run the blocks of one file in one shell; the problems of the first block that fails."""
    if not blocks:
        return []
    mark = "--end-of-block--"
    script = "set -eu\n" + "".join(f"{block.script}\necho {shlex.quote(mark)}\n" for block in blocks)
    path = f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env={**os.environ, "PATH": path, "NO_COLOR": "1", "EDGEROOT_PKCS11_MODULE": str(MODULE)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    outputs = result.stdout.split(f"{mark}\n")
    for block, output in zip(blocks, outputs, strict=False):
        for line in block.expected:
            pattern = ".*".join(re.escape(part) for part in line.split("..."))
            if not re.search(f"^{pattern}$", output, re.MULTILINE):
                return [f"{block.path}:{block.line}: nothing printed {line!r}; printed was:\n{output}"]
    if result.returncode != 0:
        block = blocks[min(len(outputs), len(blocks)) - 1]
        return [f"{block.path}:{block.line}: failed with {result.returncode}:\n{outputs[-1]}"]
    return []


def main(arguments: list[str]) -> int:
    """Check the files and say what is wrong; 1 if anything is."""
    parser = argparse.ArgumentParser(description="Check links and run marked examples of the documentation.")
    parser.add_argument("--links-only", action="store_true", help="run nothing")
    parser.add_argument("files", nargs="*", type=Path, help="Markdown files (default: all of the repository)")
    options = parser.parse_args(arguments)
    files: list[Path] = options.files or markdown_files()
    problems: list[str] = []
    executed = 0
    for path in files:
        problems += broken_links(path)
        blocks = marked_blocks(path)
        if not options.links_only:
            problems += run_blocks(blocks)
            executed += len(blocks)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(files)} files, {executed} blocks executed, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
