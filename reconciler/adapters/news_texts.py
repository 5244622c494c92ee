"""What a message says: templates that a host writes, filled in and cut to a length. Pure.

A template only names words, as `$message`; nothing in it is run, and no word leads anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from string import Template
from typing import Final

from reconciler.model import News, NewsKind

__all__ = ["LONGEST_BODY", "LONGEST_TITLE", "WORDS", "Texts", "mistake_in"]

LONGEST_TITLE: Final = 200
LONGEST_BODY: Final = 4000

_EXAMPLE: Final = News(
    id="", kind=NewsKind.FAILED, name="", stack="", at=datetime(2027, 1, 1, tzinfo=UTC),
    state="", reason="", message="",
)  # fmt: skip
WORDS: Final = tuple(_EXAMPLE.words())


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """A message's templates."""

    title: str = "$name: $kind"
    body: str = "$message\n\n$stack: $operation $version $shortCommit\n$url\n$at (event $id)"

    def title_of(self, news: News) -> str:
        """Return the title, one line."""
        return " ".join(_filled(self.title, news).split())[:LONGEST_TITLE]

    def body_of(self, news: News) -> str:
        """Return the body."""
        lines = (line.rstrip() for line in _filled(self.body, news).splitlines())
        return "\n".join(lines).strip()[:LONGEST_BODY]


def mistake_in(template: str) -> str:
    """Return what is wrong with a template, empty where nothing is."""
    found = Template(template)
    if not found.is_valid():
        return "holds a $ that begins no word; write $$ for a dollar"
    unknown = sorted(set(found.get_identifiers()) - set(WORDS))
    if unknown:
        return f"names {', '.join(f'${u}' for u in unknown[:3])}; known are ${', $'.join(WORDS)}"
    return ""


def _filled(template: str, news: News) -> str:
    return Template(template).safe_substitute(news.words())
