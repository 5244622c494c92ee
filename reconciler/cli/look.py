"""How a text is shown: in colours and cut to a width on a terminal, plain anywhere else."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TextIO
from unicodedata import east_asian_width

__all__ = [
    "BOLD",
    "CYAN",
    "DIM",
    "GREEN",
    "RED",
    "YELLOW",
    "Look",
    "cut",
    "look",
    "printable",
]

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"
# On a narrower terminal lines wrap, but where they are to change in place.
NARROWEST: Final = 60


@dataclass(frozen=True, slots=True)
class Look:
    """How it is shown: in colours, and cut to a width; 0 cuts nothing."""

    colour: bool = False
    width: int = 0

    def paint(self, text: str, *codes: str) -> str:
        """Return the text in a colour, where there are colours."""
        if not self.colour or not text or not codes:
            return text
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m"


def look(output: TextIO, environ: Mapping[str, str], narrowest: int = NARROWEST) -> Look:
    """Return what fits the output: a terminal has a width, and colours unless NO_COLOR is set."""
    if not output.isatty():
        return Look()
    colour = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    return Look(colour=colour, width=max(shutil.get_terminal_size().columns, narrowest))


def printable(text: str) -> str:
    """Return a text as a terminal may have it: a name or a log could hold its commands."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def cut(text: str, width: int) -> str:
    """Cut a text to a width, with a sign that something is missing; 0 cuts nothing."""
    if not width or (len(text) <= width and text.isascii()):
        return text
    if text.isascii():
        return f"{text[: width - 1]}…"
    taken, kept = 0, 0
    for number, letter in enumerate(text):
        taken += 2 if east_asian_width(letter) in "WF" else 1
        if taken > width:
            return f"{text[:kept]}…"
        # What is kept leaves a column for the sign.
        kept = number + 1 if taken < width else kept
    return text
