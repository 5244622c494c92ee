"""What is said of a machine: one line for each thing, with what to do where it is not right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Level", "count", "worst"]


class Level(StrEnum):
    """How bad a finding is; UNKNOWN is what could not be found out, which is not "fine"."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    UNKNOWN = "unknown"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at; `fix` is the next step, empty where none is needed."""

    check: str
    level: Level
    message: str
    fix: str = ""


_ORDER = tuple(Level)


def worst(findings: Iterable[Finding]) -> Level:
    """Return the worst level among them; OK of none."""
    return max((f.level for f in findings), key=_ORDER.index, default=Level.OK)


def count(findings: Iterable[Finding]) -> str:
    """Say in a line how many are not as they should be."""
    levels = [f.level for f in findings]
    words = {
        Level.PROBLEM: ("problem", "problems"),
        Level.UNKNOWN: ("unanswered check", "unanswered checks"),
        Level.WARNING: ("warning", "warnings"),
    }
    told = [
        f"{number} {few if number == 1 else many}"
        for level, (few, many) in words.items()
        if (number := levels.count(level))
    ]
    return ", ".join(told) or "nothing is wrong"
