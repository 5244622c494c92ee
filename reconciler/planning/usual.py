"""How long what runs usually takes, as far as those tell that went well before. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from statistics import median_low
from typing import Final

from reconciler.api.types import Operation
from reconciler.model import Run, RunEnd, Status
from reconciler.planning.moments import span

__all__ = ["so_far", "usual", "usual_of"]

# What takes less is over before anybody has read how long it takes.
SHORTEST: Final = timedelta(seconds=1)


def usual(took: Iterable[timedelta]) -> timedelta | None:
    """Return the median of how long others took; None where none is known, or it is no time."""
    found = sorted(took)
    middle = median_low(found) if found else timedelta(0)
    return middle if middle >= SHORTEST else None


def usual_of(status: Status, operation: Operation) -> timedelta | None:
    """Return how long an operation usually takes, from the runs that a status remembers."""
    runs = {run.version: run for run in (status.last, status.latest) if run is not None}
    return usual(_took(runs.values(), operation))


def _took(runs: Iterable[Run], operation: Operation) -> Iterator[timedelta]:
    for run in runs:
        well = run.operation is operation and run.end is RunEnd.SUCCEEDED
        if well and run.started is not None and run.finished is not None:
            yield run.finished - run.started


def so_far(elapsed: timedelta, usually: timedelta | None) -> str:
    """Say for how long it has run, and what is usual: `for 50 seconds, usually 5 minutes`."""
    told = f"for {span(elapsed)}"
    return told if usually is None else f"{told}, usually {span(usually)}"
