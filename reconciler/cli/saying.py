"""Says how a stack stands, in a line of the log."""

from __future__ import annotations

from reconciler import log_output
from reconciler.clock import SystemClock
from reconciler.model import Reason, State

__all__ = ["say"]


def say(name: str, state: State, reason: Reason) -> None:
    """Say it when a stack's standing changes."""
    text = f"{SystemClock().now():%H:%M:%S}Z  {name}  {state}: {reason.message}"
    log_output.say(text, spec=name, state=str(state), reason=str(reason.code))
