"""Says how a stack stands, in a line of the log."""

from __future__ import annotations

import logging
from typing import Final

from reconciler import log_output
from reconciler.clock import SystemClock
from reconciler.model import Reason, State

__all__ = ["say"]

# What somebody may want to be woken by.
_WARNED_OF: Final = frozenset({State.FAILED, State.STALLED, State.INVALID, State.CONFLICT})


def say(name: str, state: State, reason: Reason) -> None:
    """Say it when a stack's standing changes; as a warning where it is not well."""
    entry = f"{name}  {state}: {reason.message}"
    log_output.say(
        f"{SystemClock().now():%H:%M:%S}Z  {entry}",
        level=logging.WARNING if state in _WARNED_OF else logging.INFO,
        entry=entry,
        message=reason.message,
        spec=name,
        state=str(state),
        reason=str(reason.code),
    )
