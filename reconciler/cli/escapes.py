"""What a program has written into its log for a terminal, taken out where there is none."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["shown"]

# As ECMA-48 has them: ESC [ … letter; ESC ] … end (a title, a link); ESC P, X, ^, _ … end; ESC
# and one more. An ESC [ may be one letter, too.
_ESCAPE: Final = re.compile(
    r"(?:\x1b\[|\x9b)([0-9;:?<=>]*[ -/]*[@-~])"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?"
)
_COLOUR: Final = re.compile(r"[0-9;:]*m\Z")


def shown(text: str, *, colours: bool) -> str:
    """Return a text without what a terminal obeys; with `colours`, those alone stay."""
    if "\x1b" not in text and "\x9b" not in text:
        return text
    return _ESCAPE.sub(_coloured if colours else "", text)


def _coloured(found: re.Match[str]) -> str:
    return found[0] if found[1] and _COLOUR.match(found[1]) else ""
