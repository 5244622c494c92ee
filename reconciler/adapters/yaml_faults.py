"""What PyYAML found wrong with a text, in words that say what would be right.

Its own messages speak of tokens and scanning; some of them repeat what the file says, which
may be a secret. These never do, but for a cron expression.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import yaml

__all__ = ["YamlFault", "explain", "one_line"]

_CRON: Final = re.compile(r"\bcron:\s*([*@][^#,}\]]*)")
_INDENTED_BY_TAB: Final = re.compile(r" *\t")

# A message or a pointer that is longer tells a person nothing more.
MAX_SHOWN: Final = 500

# A part of PyYAML's or libyaml's own words → ours.
_WORDS: Final = {
    "mapping values are not allowed": "a ':' does not fit here; check the indentation, and quote "
    "a text that holds ': '",
    "could not find expected ':'": "a key has no ':' after it; write 'key: value'",
    "unknown escape character": "a '\\' begins no known escape; double it, or use single quotes",
    "did not find expected key": "the indentation does not fit; keys of one object begin in the "
    "same column",
    "did not find expected '-' indicator": "the indentation does not fit; items of one list begin "
    "in the same column, each with '- '",
    "block sequence entries are not allowed": "a '- ' does not fit here; begin the list on a line "
    "of its own",
    "',' or ']'": "a list is not closed; end it with ']'",
    "',' or '}'": "an object is not closed; end it with '}'",
    "<document start>": "something stands after the end of the document; one file holds one spec",
    "undefined tag handle": "a tag (!) is not allowed; leave it out, or quote the value",
    "maximum nesting depth": "is nested far too deep; flatten it",
    "tab character": "a tab indents this line; use spaces",
}


@dataclass(frozen=True, slots=True)
class YamlFault:
    """What is wrong with a text and where: `line` and `column` from 1, a JSON pointer."""

    line: int
    column: int
    pointer: str
    message: str


def one_line(text: str) -> str:
    """Write a text so that it stays one line and moves no cursor, at most 500 characters."""
    if len(text) > MAX_SHOWN:
        text = text[:MAX_SHOWN] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def explain(error: yaml.YAMLError, text: str) -> YamlFault:
    """Say in our words what PyYAML found."""
    problem = str(getattr(error, "problem", "") or "")
    context = str(getattr(error, "context", "") or "")
    mark: Any = getattr(error, "problem_mark", None)
    begin: Any = getattr(error, "context_mark", None) or mark
    if mark is None:
        return YamlFault(1, 1, "", "is no valid YAML")
    lines = text.split("\n")
    line = lines[mark.line] if mark.line < len(lines) else ""
    if _INDENTED_BY_TAB.match(line):
        column = line.index("\t") + 1
        return YamlFault(mark.line + 1, column, "", "a tab indents this line; use spaces")
    quoted = _unquoted(lines, begin, context, problem)
    if quoted:
        return quoted
    if "quoted scalar" in context and "end of stream" in problem:
        quote = lines[begin.line][begin.column : begin.column + 1]
        message = f"a text is not closed; end it with {quote}"
        return YamlFault(begin.line + 1, begin.column + 1, "", message)
    message = next(
        (ours for theirs, ours in _WORDS.items() if theirs in problem), "is no valid YAML here"
    )
    at = begin if message.startswith(("a list is not", "an object is not")) else mark
    return YamlFault(at.line + 1, at.column + 1, "", message)


def _unquoted(lines: list[str], mark: Any, context: str, problem: str) -> YamlFault | None:
    """Say "quote it" where a value begins with a character that YAML keeps for itself."""
    if "alias" not in context and "anchor" not in context and "start any token" not in problem:
        return None
    line = lines[mark.line] if mark.line < len(lines) else ""
    cron = _CRON.search(line)
    if cron:
        what = f'the value of cron has to be quoted: cron: "{cron[1].strip()}"'
        return YamlFault(mark.line + 1, cron.start(1) + 1, "", what)
    character = line[mark.column : mark.column + 1]
    message = f"an unquoted text cannot begin with '{character}'; quote it: \"{character}…\""
    return YamlFault(mark.line + 1, mark.column + 1, "", message)
