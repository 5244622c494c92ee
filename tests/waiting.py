"""Waits for what a test expects, with a limit: never for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["LIMIT_S", "eventually"]

# Far more than anything here takes, also on a machine that does much else.
LIMIT_S = 60.0

LOOK_EVERY_S = 0.02

T = TypeVar("T")


def eventually(look: Callable[[], T], what: object, limit_s: float = LIMIT_S) -> T:
    """Return the first answer that is true, within the limit."""
    end = time.monotonic() + limit_s
    pause = threading.Event()
    while not (found := look()):
        assert time.monotonic() < end, f"not within {limit_s} s: {what}"
        pause.wait(LOOK_EVERY_S)
    return found
