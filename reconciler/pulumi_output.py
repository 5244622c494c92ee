"""What Pulumi says of itself at the end of a run: what it changed, and why it failed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["failing_line", "failure", "summary", "told"]

_RESOURCES = "Resources:"
_COUNT = re.compile(
    r"(\d{1,9}) (?:to )?(create|update|delete|replace|import|read|discard)(?:d|ed)?\b"
)
_SAME = re.compile(r"(\d{1,9}) unchanged")
# "error: …" is the engine's and the providers', "Error: …" the YAML language's and Node's.
_ERROR = re.compile(r"(?<![\w.])[Ee]rror: ")
# "error: update failed" comes after the error itself.
_OUTCOME = " failed"
# As Python and others end a traceback: "ValueError: no such region", "module.Error".
_EXCEPTION = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit)(?:: |$)")
# What the engine adds, of which each failed step has one.
_EXIT = re.compile(r"\[[^\[\]]+ (?:ended with exit code|was ended by signal) \d+\]")


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


def failure(lines: Iterable[str]) -> str:
    """Return the line that says most of why a step failed; empty where there is none."""
    written = list(lines)
    at = failing_line(written)
    return written[at].strip() if at >= 0 else ""


def failing_line(lines: Sequence[str]) -> int:
    """Return which line says most of why a step failed, from 0; -1 where none says anything.

    `lines` is the end of its log, without colors. It is the last error that is more than the
    outcome; where that announces an exception, the exception; else what the program wrote last.
    """
    written = [(at, line.strip()) for at, line in enumerate(lines) if line.strip()]
    said = [(at, line) for at, line in written if not _EXIT.fullmatch(line)]
    errors = [(at, line) for at, line in said if _ERROR.search(line)]
    telling = [(at, line) for at, line in errors if not line.endswith(_OUTCOME)]
    if telling and not telling[-1][1].endswith(":"):
        return telling[-1][0]
    begin = telling[-1][0] if telling else 0
    raised = [(at, line) for at, line in said if at >= begin and _EXCEPTION.match(line)]
    found = raised or telling or errors or said or written
    return found[-1][0] if found else -1
