"""The site of docs/ is built, leads somewhere everywhere, and needs nobody else."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tools.reference.pages import REFERENCE, every

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120.0
# What a browser fetches by itself, and what only a person follows.
FETCHED = {
    ("img", "src"),
    ("script", "src"),
    ("link", "href"),
    ("iframe", "src"),
    ("source", "src"),
}


@dataclass
class Page(HTMLParser):
    """A page's anchors and links."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif (tag, name) in FETCHED:
                self.fetched.append(value or "")
            elif (tag, name) == ("a", "href"):
                self.links.append(value or "")


def read(site: Path) -> dict[Path, Page]:
    found = {}
    for path in sorted(site.rglob("*.html")):
        page = found[path] = Page()
        page.feed(path.read_text())
    return found


def broken(pages: dict[Path, Page]) -> Iterator[str]:
    for path, page in pages.items():
        for link in page.links + page.fetched:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            anchor = unquote(url.fragment)
            found = pages.get(target)
            if not target.is_file() or (anchor and found and anchor not in found.anchors):
                yield f"{path.name}: {link}"


def from_elsewhere(site: Path, pages: dict[Path, Page]) -> Iterator[str]:
    for path, page in pages.items():
        yield from (f"{path.name}: {link}" for link in page.fetched if urlsplit(link).netloc)
    for path in site.rglob("*.css"):
        urls = re.findall(r"url\(([^)]*)\)|@import ([^;]*)", path.read_text())
        yield from (f"{path.name}: {u}" for found in urls for u in found if "//" in u[:10])


def test_the_site_is_built_and_whole(tmp_path: Path) -> None:
    """Sphinx warns of nothing, no link or anchor is broken, and no page fetches from others."""
    site = tmp_path / "site"
    options = ["--quiet", "--fail-on-warning", "--keep-going", "-c", "tools/site"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "-d", tmp_path / "doctrees", "docs", site],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    pages = read(site)
    sources = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    assert {site / source.with_suffix(".html") for source in sources} <= set(pages)
    assert sum(len(page.links) for page in pages.values()) > 1000
    assert list(broken(pages)) == []
    assert list(from_elsewhere(site, pages)) == []


def test_the_reference_is_what_the_code_says() -> None:
    """Each page that is made from the code is as it would be made now: run `make docs`."""
    stale = [str(path) for path, text in every().items() if path.read_text() != text]
    assert stale == []
    assert set(REFERENCE.iterdir()) <= set(every())
