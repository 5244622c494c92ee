"""Which files of a repository are meant: patterns in the manner of a .gitignore. Pure.

    web/**        all below web             web        a file, or a directory with all below it
    /main.go      at the root alone         *.md       at any depth
    **/test/**    below each test           !web/docs  not these

A pattern with a slash before its end begins at the root, any other is looked for at every depth.
`*` and `?` stand for no slash, `**` for any number of directories. Of the patterns that match a
file, the last one counts. Where the first is a `!`, all files are meant that are not taken out.

The matching takes no more steps than pattern and path together allow: whoever writes a pattern
cannot stop the reader with it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PathRules", "problem"]

# A pattern is written by hand; a longer one is none.
LONGEST = 500


@dataclass(frozen=True, slots=True)
class _Rule:
    """One pattern: `None` among the parts stands for `**`."""

    parts: tuple[re.Pattern[str] | None, ...]
    takes_out: bool
    folder: bool


class PathRules:
    """The patterns of one spec, made ready."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._rules = tuple(_rule(pattern) for pattern in patterns)
        self._all = bool(self._rules) and self._rules[0].takes_out

    def match(self, path: str) -> bool:
        """Whether a file is meant; its path is relative to the root, with slashes."""
        parts = path.split("/")
        for rule in reversed(self._rules):
            if _matches(rule, parts):
                return not rule.takes_out
        return self._all


def problem(pattern: str) -> str:
    """Return what is wrong with a pattern, or an empty text."""
    body = pattern.removeprefix("!").strip("/")
    if not body:
        return "names no path; 'web/**' is all below web"
    if len(pattern) > LONGEST:
        return f"is longer than {LONGEST} characters"
    if "\0" in pattern or "\\" in pattern:
        return "holds a backslash or NUL, which no pattern has"
    if any(part in {"", ".", ".."} for part in body.split("/")):
        return "has an empty part, '.' or '..'; write it from the root of the repository"
    return ""


def _rule(pattern: str) -> _Rule:
    takes_out = pattern.startswith("!")
    text = pattern.removeprefix("!")
    folder = text.endswith("/")
    anchored = "/" in text.rstrip("/")
    parts = [None if part == "**" else _part(part) for part in text.strip("/").split("/")]
    if not anchored:
        parts.insert(0, None)
    # What a directory is, all below it is; `web/**` is below web already.
    if parts[-1] is not None:
        parts.append(None)
    return _Rule(tuple(parts), takes_out, folder or text.rstrip("/").endswith("/**"))


def _part(text: str) -> re.Pattern[str]:
    # `[^a]` is what a .gitignore has as well; a star beside a star is one.
    shell = re.sub(r"\*+", "*", text).replace("[^", "[!")
    return re.compile(fnmatch.translate(shell))


def _matches(rule: _Rule, parts: Sequence[str]) -> bool:
    """Match part by part, where `**` takes as few as it can, and one more at each failure."""
    pattern = rule.parts
    at, here = 0, 0
    back, mark = -1, 0
    # The last `**` takes nothing only where the file itself may be meant.
    least = 1 if rule.folder else 0
    while here < len(parts):
        if at < len(pattern) and pattern[at] is None:
            if at == len(pattern) - 1:
                return len(parts) - here >= least
            back, mark = at, here
            at += 1
            continue
        part = pattern[at] if at < len(pattern) else None
        if part is not None and part.match(parts[here]):
            at, here = at + 1, here + 1
            continue
        if back < 0:
            return False
        mark += 1
        at, here = back + 1, mark
    return at == len(pattern) - 1 and pattern[at] is None and least == 0
