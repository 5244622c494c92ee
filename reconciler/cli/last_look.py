"""Whether somebody reconciles a directory now, and when it was last looked at.

The lock in the directory's folder of the state is there since the first run. Whoever reconciles
sets its time with each scan, so that it says when all specs were last looked at.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime

from reconciler.adapters.state_directory import DirectoryState
from reconciler.planning.moments import when

__all__ = ["last_look", "nobody", "note"]


def note(state: DirectoryState, now: datetime) -> None:
    """Note that all specs are looked at now; a disk that is full or read-only is no hindrance."""
    with suppress(OSError):
        os.utime(state.folder / "lock", (now.timestamp(), now.timestamp()))


def last_look(state: DirectoryState) -> datetime | None:
    """Return when all specs were last looked at; None where nobody has."""
    try:
        return datetime.fromtimestamp((state.folder / "lock").stat().st_mtime, UTC)
    except (OSError, OverflowError, ValueError):
        return None


def nobody(state: DirectoryState, now: datetime) -> str:
    """Say that nobody reconciles the directory and when somebody did; empty where somebody does.

    Who keeps its state elsewhere is not known here.
    """
    if state.reconciled_by():
        return ""
    last = last_look(state)
    if last is None:
        return f"no run of this directory is known in {state.folder.parents[1]} (--data)"
    return f"nobody reconciles this directory now; last looked at {when(last, now)}"
