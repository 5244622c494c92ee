"""What an operation of Pulumi has found and changed, read from how it ended. Pure.

Drift is what makes the state differ from what is there. `pulumi refresh --preview-only
--expect-no-changes` looks for it: nothing is changed, and its exit says whether there is any.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["TAIL_BYTES", "Tail", "found"]

# Pulumi's own exit code where changes came that were not expected; CLIs before 3.2xx only say so.
_UNEXPECTED = 7
_SAYS_SO = "no changes were expected"

# A summary is the last thing pulumi prints but for a stack's outputs and an error.
TAIL_BYTES = 16 * 1024

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(slots=True)
class Tail:
    """Keeps the end of what a command prints."""

    kept: bytearray = field(default_factory=bytearray)

    def add(self, output: bytes) -> None:
        """Take more of it."""
        self.kept += output[-TAIL_BYTES:]
        if len(self.kept) > 2 * TAIL_BYTES:
            del self.kept[:-TAIL_BYTES]

    @property
    def text(self) -> str:
        """What it was, without colors."""
        return _ANSI.sub("", self.kept[-TAIL_BYTES:].decode(errors="replace"))


def found(code: int | None, tail: str) -> bool | None:
    """Say whether a look for drift found some; None where it failed."""
    if code == 0:
        return False
    return True if code == _UNEXPECTED or (code and _SAYS_SO in tail) else None
