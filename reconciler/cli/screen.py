"""Lines on a terminal that change in place: only those that differ are written again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Final, TextIO

__all__ = ["Screen"]

_CLEAR: Final = "\x1b[2J\x1b[H"
_REST_OF_LINE: Final = "\x1b[K"
_REST_OF_SCREEN: Final = "\x1b[J"


class Screen:
    """A part of a terminal, from where the cursor was; the cursor stays below it.

    Lines must fit the terminal: one that wraps would move all others.
    """

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._size = shutil.get_terminal_size()
        self._lines: list[str] = []

    @property
    def height(self) -> int:
        """How many lines there is room for, now."""
        return shutil.get_terminal_size().lines - 1

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines; where they are those that are shown, nothing is written."""
        size = shutil.get_terminal_size()
        lines = list(lines)[: size.lines - 1]
        if size == self._size and lines == self._lines:
            return
        parts: list[str] = []
        if size != self._size:
            # What was written for another width has wrapped: nobody knows where the lines are.
            parts.append(_CLEAR)
            self._size, self._lines = size, []
        elif self._lines:
            parts.append(f"\x1b[{len(self._lines)}F")
        for number, line in enumerate(lines):
            same = number < len(self._lines) and self._lines[number] == line
            parts.append("\n" if same else f"{line}{_REST_OF_LINE}\n")
        if len(lines) < len(self._lines):
            parts.append(_REST_OF_SCREEN)
        self._lines = lines
        self._output.write("".join(parts))
        self._output.flush()

    def clear(self) -> None:
        """Take the lines away; what is written next stands where they were."""
        self.draw([])
