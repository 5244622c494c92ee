"""What Pulumi says of itself at the end of a run: what it changed, and why it failed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["failure", "summary", "told"]

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
    """Return the line that says most of why a step failed; empty where there is none.

    `lines` is the end of its log, without colors. It is the last error that is more than the
    outcome; where that announces an exception, the exception; else what the program wrote last.
    """
    written = [line.strip() for line in lines]
    said = [line for line in written if line and not _EXIT.fullmatch(line)]
    errors = [at for at, line in enumerate(said) if _ERROR.search(line)]
    telling = [at for at in errors if not said[at].endswith(_OUTCOME)]
    if telling and not said[telling[-1]].endswith(":"):
        return said[telling[-1]]
    after = said[telling[-1] :] if telling else said
    raised = [line for line in after if _EXCEPTION.match(line)]
    return (raised or [said[at] for at in telling or errors] or said or written or [""])[-1]
