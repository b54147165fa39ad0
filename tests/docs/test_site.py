"""The site builds without a network, and asks nobody for anything when it is read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import build_site
from tests.support.requirements import require_root

SCRIPT = build_site.ROOT / "scripts/build_site.py"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built where there is no network."""
    require_root("be without a network")
    place = tmp_path_factory.mktemp("site")
    command = ["unshare", "--net", sys.executable, str(SCRIPT), "-o", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place


def test_every_page_is_there(site: Path) -> None:
    pages = {path.relative_to(build_site.DOCS).with_suffix(".html") for path in build_site.DOCS.rglob("*.md")}
    missing = [page for page in pages if not (site / str(page).replace("README.html", "index.html")).exists()]
    assert missing == []
    assert (site / "search/search_index.json").stat().st_size > 100_000


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"', text)
        loaded += re.findall(r'<link[^>]*rel="(?:stylesheet|shortcut icon)"[^>]*href="([^"]+)"', text)
        assert loaded
        assert not [one for one in loaded if "//" in one], page
    for style in site.rglob("*.css"):
        assert "//" not in "".join(re.findall(r"url\(([^)]*)\)|@import[^;]*", style.read_text()))


def test_links_that_leave_the_site() -> None:
    text = (
        "[a](../examples/c/sign.c) [SECURITY.md](../SECURITY.md#top) [b](tls.md#x) [c](https://example.com) ![d](x.png)"
    )
    assert build_site.page(text, "index.md") == (
        "a (`examples/c/sign.c`) [SECURITY.md](security.md#top) [b](tls.md#x) [c](https://example.com) ![d](x.png)"
    )
    assert (
        build_site.page("[x](../index.md) [y](../../README.md)", "adr/README.md")
        == "[x](../index.md) [y](../readme.md)"
    )


def test_a_page_that_the_index_does_not_have_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = build_site.navigation
    monkeypatch.setattr(build_site, "navigation", lambda index: real(index.replace("(tls.md)", "")))
    with pytest.raises(build_site.SiteError, match=r"docs/index\.md does not list tls\.md"):
        build_site.stage(tmp_path)


@pytest.mark.parametrize("link", ["gone.md", "tls.md#gone"])
def test_a_link_that_leads_nowhere_is_an_error(link: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = build_site.page

    def page(text: str, place: str, source: Path | None = None) -> str:
        return real(text, place, source) + (f"\n[x]({link})\n" if place == "tls.md" else "")

    monkeypatch.setattr(build_site, "page", page)
    with pytest.raises(build_site.SiteError, match=r"gone"):
        build_site.build(tmp_path / "site")
