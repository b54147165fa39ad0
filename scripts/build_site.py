"""Build the documentation's site from docs/, without a network: build_site.py [-o FOLDER] (default: build/site).

The navigation is that of docs/index.md, so that a page which is not in the index is an error, as is a link that leads
nowhere. Links to files of the repository that are no pages become their names. The site can be served by any web
server; it asks nobody else for anything.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
# Pages that lie beside docs/, and their names in the site.
_BESIDE: Final = {
    "README.md": "readme.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
_LINK: Final = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
_SECTION: Final = re.compile(r"^\*\*(.+?)\*\*(.*)$")
_STYLE: Final = """\
table { display: block; overflow-x: auto; }
pre { overflow-x: auto; }
"""


class SiteError(Exception):
    """The pages do not make a site; the message names the page."""


def navigation(index: str) -> list[dict[str, Any]]:
    """Sections and their pages, in the index's order; a page's first link is its entry."""
    sections: list[dict[str, Any]] = [{"Documentation": "index.md"}]
    seen: set[str] = set()
    for line in index.splitlines():
        if begun := _SECTION.match(line):
            sections.append({begun[1]: []})
        for _, target in _LINK.findall(line):
            name = target.partition("#")[0]
            if name.endswith(".md") and not name.startswith("..") and name not in seen:
                seen.add(name)
                (pages,) = sections[-1].values()
                pages.append(name)
    return sections


def page(text: str, place: str, source: Path | None = None) -> str:
    """A page as the site has it at ``place``: links to what is no page of the site become names.

    ``source`` is the page's file, if it does not lie at that place below docs/.
    """
    folder = (source or DOCS / place).parent

    def replaced(found: re.Match[str]) -> str:
        label, target = found[1], found[2]
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:") or not path:
            return found[0]
        absolute = folder.joinpath(path).resolve()
        name = absolute.relative_to(ROOT).as_posix()
        if absolute.is_relative_to(DOCS) and absolute != DOCS:
            there = absolute.relative_to(DOCS).as_posix()
        elif name in _BESIDE:
            there = _BESIDE[name]
        else:
            return label if name in label else f"{label} (`{name}`)"
        return f"[{label}]({os.path.relpath(there, Path(place).parent)}{'#' + anchor if anchor else ''})"

    return _LINK.sub(replaced, text)


def stage(folder: Path) -> None:
    """The pages and the configuration, ready to be built. SiteError for a page that the index does not have."""
    pages = folder / "docs"
    shutil.copytree(DOCS, pages)
    nav = navigation((DOCS / "index.md").read_text())
    listed = {
        one for section in nav for found in section.values() for one in ([found] if str(found) == found else found)
    }
    decisions = sorted(path.relative_to(DOCS).as_posix() for path in (DOCS / "adr").glob("[!R]*.md"))
    there_are = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} - set(decisions)
    if missing := there_are - listed:
        raise SiteError(f"docs/index.md does not list {', '.join(sorted(missing))}")
    for path in pages.rglob("*.md"):
        path.write_text(page(path.read_text(), path.relative_to(pages).as_posix()))
    for source, name in _BESIDE.items():
        (pages / name).write_text(page((ROOT / source).read_text(), name, ROOT / source))
    (pages / "style.css").write_text(_STYLE)
    nav += [{"Decisions": decisions}, {"Project": list(_BESIDE.values())}]
    settings = {
        "site_name": "edgeroot",
        "nav": nav,
        # Its own fonts and scripts. Colours in code would load a library from elsewhere.
        "theme": {"name": "readthedocs", "highlightjs": False, "locale": "en"},
        "extra_css": ["style.css"],
        "markdown_extensions": ["tables", "fenced_code", "toc", "sane_lists"],
        "validation": {"links": {"not_found": "warn", "anchors": "warn", "absolute_links": "warn"}},
        "use_directory_urls": False,
    }
    (folder / "site.yml").write_text(yaml.safe_dump(settings, sort_keys=False))


def build(place: Path) -> None:
    """SiteError if there is anything to complain of."""
    with tempfile.TemporaryDirectory() as folder:
        stage(Path(folder))
        command = [sys.executable, "-m", "properdocs", "build", "--strict", "--clean"]
        command += ["-f", f"{folder}/site.yml", "-d", str(place.resolve())]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SiteError(done.stdout + done.stderr)


def main(arguments: list[str]) -> int:
    """Build the site, or say what is wrong with it."""
    parser = argparse.ArgumentParser(description="Build the documentation's site.")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build/site")
    options = parser.parse_args(arguments)
    try:
        build(options.output)
    except SiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.output}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
