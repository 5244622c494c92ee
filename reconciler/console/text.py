"""Text of others, made safe to look at: what a terminal or a browser would obey becomes visible.

Names, reasons and logs come from people and from programs. A template escapes what HTML obeys;
here is what comes before that. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

__all__ = ["Piece", "pieces", "visible"]

# A line that is longer is no text for people, and a browser lays out each letter of it.
LONGEST_LINE: Final = 20_000

# ESC [ … letter; ESC ] … end (a title, a link); ESC P, X, ^, _ … end; ESC and one more.
_ESCAPE: Final = re.compile(
    r"\x1b\[([0-9;:?<=>]*)[ -/]*([@-~])"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?"
    r"|\x9b([0-9;:?<=>]*)[ -/]*([@-~])"
)
# Marks that turn the direction of what follows, or join and hide letters unseen.
_UNSEEN: Final = frozenset(["Cf", "Cc", "Co", "Cs", "Zl", "Zp"])
_KEPT: Final = frozenset("\t")
_DELETE: Final = 0x7F
_SPACE: Final = 0x20
_PICTURES: Final = 0x2400

_COLOURS: Final = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")


@dataclass(frozen=True, slots=True)
class _Style:
    """How what follows is shown; a colour is empty for the usual one."""

    colour: str = ""
    marks: frozenset[str] = field(default_factory=frozenset)

    @property
    def names(self) -> str:
        """The classes of a style sheet, in a fixed order."""
        found = [f"fg-{self.colour}"] if self.colour else []
        return " ".join([*found, *sorted(self.marks)])


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a line in one style; `style` is names of classes, often none."""

    text: str
    style: str = ""


def visible(text: str) -> str:
    """Return a text in which nothing acts unseen: NUL becomes ␀, a mark of direction its name."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _shown(letter) for letter in text)


def _shown(letter: str) -> str:
    if letter in _KEPT:
        return letter
    code = ord(letter)
    if letter == "\n":
        return " "
    if code < _SPACE:
        return chr(_PICTURES + code)
    if code == _DELETE:
        return "␡"
    # A space that is not the usual one is harmless; what has no width or turns lines is not.
    return letter if unicodedata.category(letter) == "Zs" else f"⟨U+{code:04X}⟩"


def pieces(line: str) -> tuple[Piece, ...]:
    """Return a line of a log, without its end, as pieces in the colours that it asks for.

    Links, titles and movements are left out, and what they would be shown as stays.
    """
    text = line.rstrip("\r\n")
    if len(text) > LONGEST_LINE:
        text = f"{text[:LONGEST_LINE]}… ({len(text) - LONGEST_LINE} more)"
    if text.isprintable():
        return (Piece(text),) if text else ()
    return tuple(_joined(_runs(text)))


def _runs(text: str) -> Iterator[Piece]:
    style, at = _Style(), 0
    for found in _ESCAPE.finditer(text):
        if found.start() > at:
            yield Piece(visible(text[at : found.start()]), style.names)
        at = found.end()
        if "m" in (found[2], found[4]):
            style = _styled(style, found[1] or found[3] or "")
    if at < len(text):
        yield Piece(visible(text[at:]), style.names)


def _joined(found: Iterator[Piece]) -> Iterator[Piece]:
    """Put neighbours of one style together."""
    last: Piece | None = None
    for piece in found:
        if last is not None and last.style == piece.style:
            last = Piece(last.text + piece.text, last.style)
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


_MARKS: Final = {"1": "bold", "2": "dim", "3": "italic", "4": "underline", "7": "inverse"}
_ENDS: Final = {"22": ("bold", "dim"), "23": ("italic",), "24": ("underline",), "27": ("inverse",)}


def _styled(style: _Style, parameters: str) -> _Style:
    """Apply one SGR sequence (ECMA-48, 8.3.117)."""
    codes = re.split("[;:]", parameters) if parameters else ["0"]
    while codes:
        code = codes.pop(0).lstrip("0")
        if not code:
            style = _Style()
        elif code in _MARKS:
            style = replace(style, marks=style.marks | {_MARKS[code]})
        elif code in _ENDS:
            style = replace(style, marks=style.marks - set(_ENDS[code]))
        elif code == "39":
            style = replace(style, colour="")
        elif code in {"38", "48"}:
            # Behind it stands which; those of the background are left out, as it is ours.
            colour = _chosen(codes)
            style = replace(style, colour=colour) if code == "38" else style
        elif len(code) == 2 and code[0] in "39" and code[1] in "01234567":  # noqa: PLR2004 - two digits
            bright = "bright-" if code[0] == "9" else ""
            style = replace(style, colour=bright + _COLOURS[int(code[1])])
    return style


def _chosen(codes: list[str]) -> str:
    """Take what follows 38 or 48 off, and return the nearest of the sixteen colours."""
    kind = codes.pop(0) if codes else ""
    if kind == "5":
        number = _number(codes)
        return _of_256(number)
    if kind == "2":
        return _nearest(tuple(_number(codes) for _ in range(3)))
    return ""


def _number(codes: list[str]) -> int:
    text = codes.pop(0) if codes else ""
    return min(int(text), 255) if text.isdecimal() and text.isascii() and len(text) < 4 else 0  # noqa: PLR2004 - up to 255


def _of_256(number: int) -> str:
    if number < 16:  # noqa: PLR2004 - the sixteen colours themselves
        return ("bright-" if number > 7 else "") + _COLOURS[number % 8]  # noqa: PLR2004 - the same
    if number >= 232:  # noqa: PLR2004 - greys
        return ""
    number -= 16
    levels = (number // 36, number // 6 % 6, number % 6)
    return _nearest(tuple(51 * level for level in levels))


def _nearest(levels: tuple[int, ...]) -> str:
    """Return the colour that has the same of red, green and blue in it; none for a grey."""
    most = max(levels)
    bits = [level * 2 > most > 0 for level in levels]
    index = sum(1 << place for place, bit in enumerate(bits) if bit)
    return "" if index in {0, 7} else _COLOURS[index]
