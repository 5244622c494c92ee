"""Texts of the code as Markdown: escaped, in tables, with anchors as forges make them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["MADE", "anchor", "code", "escaped", "lines", "table"]

MADE = "<!-- Made by `make docs` from the code: edit that, and run it again. -->"


def escaped(text: str) -> str:
    """Return a text that Markdown shows as it is, in a table's cell too; `code` stays code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return re.sub(r"([`*\[\]<>|\\])", r"\\\1", text)
    shown = [
        part.replace("|", r"\|") if at % 2 else re.sub(r"([*\[\]<>|\\])", r"\\\1", part)
        for at, part in enumerate(parts)
    ]
    return "`".join(shown)


def code(text: str) -> str:
    """Return a text as code, for a table's cell too."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}".replace("|", r"\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose cells are Markdown already."""
    found = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    found += [re.sub(r" +", " ", f"| {' | '.join(row)} |") for row in rows]
    return found


def anchor(heading: str) -> str:
    """Return the anchor of a heading, as forges make it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def lines(*parts: str | Iterable[str]) -> str:
    """Return a page: each part is a paragraph, or the lines of one."""
    paragraphs = [part if isinstance(part, str) else "\n".join(part) for part in parts]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"
