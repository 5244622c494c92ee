"""A shell's text → its simple commands, as words. Nothing is run or expanded. Pure.

What a shell would put in place of a variable or of another command's output is not known here:
it is marked (`SHELL_OPEN` … `SHELL_CLOSE`), so that nobody takes `$ORG` for a name.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Final

from reconciler.importing.draft import SHELL_CLOSE, SHELL_OPEN

__all__ = ["Command", "ShellFault", "commands"]

_EXPANSION: Final = re.compile(
    r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)[^}\n]*\})|\$\(|`"
)
_OPERATORS: Final = frozenset(";&|()<>\n")
_BLANK: Final = frozenset({"", " ", "\t"}) | _OPERATORS


@dataclass(frozen=True, slots=True)
class Command:
    """The words of one command, and the line where it begins."""

    line: int
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShellFault:
    """What is wrong with a text, and in which line."""

    line: int
    message: str


def commands(text: str) -> tuple[Command, ...] | ShellFault:
    """Return the commands of a text, one after another, pipes and lists taken apart."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.run()
    if scanner.quote:
        return ShellFault(scanner.quoted_from, "a quote is not closed from here on")
    found: list[Command] = []
    for line, piece in scanner.pieces:
        try:
            words = shlex.split(piece)
        except ValueError:
            return ShellFault(line, "a command ends in the middle of a word")
        if words:
            found.append(Command(line, tuple(words)))
    return tuple(found)


class _Scanner:
    """Cuts a text at operators, and rewrites what shlex does not know of a shell.

    That is: lines that go on, comments, expansions.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.quote = ""
        self.quoted_from = 0
        self.begin = 1
        self.out: list[str] = []
        self.pieces: list[tuple[int, str]] = []

    def run(self) -> None:
        while self.at < len(self.text):
            self.step()
        self.cut()

    def step(self) -> None:
        character = self.text[self.at]
        if self.quote == "'":
            if character == "'":
                self.quote = ""
        elif character == "\\":
            self.escape()
            return
        elif character in "$`" and (match := _EXPANSION.match(self.text, self.at)):
            name = match[1] or match[2] or "(…)"
            self.emit(f"{SHELL_OPEN}{name}{SHELL_CLOSE}", match.end() - self.at)
            return
        elif character in "'\"":
            self.open_or_close(character)
        elif not self.quote and character in _OPERATORS:
            self.move(1)
            self.cut()
            return
        elif character == "#" and not self.quote and self.text[self.at - 1 : self.at] in _BLANK:
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end
            return
        self.emit(character, 1)

    def open_or_close(self, character: str) -> None:
        if not self.quote:
            self.quote, self.quoted_from = character, self.line
        elif self.quote == character:
            self.quote = ""

    def escape(self) -> None:
        following = self.text[self.at + 1 : self.at + 2]
        if following == "\n":  # the line goes on
            self.move(2)
        elif self.quote and following in {"$", "`"}:
            self.emit(following, 2)  # shlex would keep the backslash
        else:
            self.emit(self.text[self.at : self.at + 2], 2)

    def emit(self, text: str, length: int) -> None:
        if not self.out and not text.isspace():
            self.begin = self.line
        if self.out or not text.isspace():
            self.out.append(text)
        self.move(length)

    def move(self, length: int) -> None:
        self.line += self.text.count("\n", self.at, self.at + length)
        self.at += length

    def cut(self) -> None:
        if self.out:
            self.pieces.append((self.begin, "".join(self.out)))
        self.out = []
