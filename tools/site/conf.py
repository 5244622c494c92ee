"""How Sphinx makes a site of docs/ for `make docs`; why Sphinx, decision 7 says."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

project = "reconciler"
html_title = "reconciler"
extensions = ["myst_parser"]
# An anchor of a heading is the one that forges make, so that a link works in both places.
myst_heading_anchors = 4
# What is written in English quotes and dashes stays so: much of it is typed into a shell.
smartquotes = False
html_theme = "furo"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

_SECTION = re.compile(r"^## (.*)\n((?:(?!^## ).*\n)*)", re.MULTILINE)
_PAGE = re.compile(r"^(?:- |\| )\[[^\]]+\]\(([\w./-]+)\.md\)", re.MULTILINE)


def setup(app: Sphinx) -> None:
    """Let the index's own lists of pages be the site's order of pages."""
    app.connect("source-read", _order)


def _order(_: Sphinx, name: str, source: list[str]) -> None:
    """Add to the index what Sphinx needs to know, which a forge would show as it stands."""
    if name == "index":
        for caption, text in _SECTION.findall(source[0]):
            if pages := _PAGE.findall(text):
                options = f":hidden:\n:caption: {caption}\n"
                source[0] += "\n".join(["", "```{toctree}", options, *pages, "```", ""])
