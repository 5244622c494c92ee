"""What Pulumi says of itself at the end of a run: how many resources it changed. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["summary", "told"]

_RESOURCES = "Resources:"
_COUNT = re.compile(
    r"(\d{1,9}) (?:to )?(create|update|delete|replace|import|read|discard)(?:d|ed)?\b"
)
_SAME = re.compile(r"(\d{1,9}) unchanged")


def summary(tail: str) -> dict[str, int]:
    """Return how many resources pulumi's summary says were, or would be, changed in which way.

    `tail` is the end of what it printed, without colors. `same` counts those that are as they
    were. Empty where there is no summary.
    """
    _, there, lines = tail.rpartition(_RESOURCES)
    if not there:
        return {}
    counts: dict[str, int] = {}
    for line in lines.splitlines()[1:]:
        if not line.startswith("    "):
            if line.strip():
                break
            continue
        for number, name in _COUNT.findall(line):
            counts[name] = counts.get(name, 0) + int(number)
        for number in _SAME.findall(line):
            counts["same"] = int(number)
    return counts


def told(changes: Mapping[str, int]) -> str:
    """Write the changes for a person: "1 to delete, 2 to update"; empty where there is none."""
    parts = [f"{count} to {name}" for name, count in sorted(changes.items()) if name != "same"]
    return ", ".join(parts)
