"""Which queued deployments may start now, and which have waited for too long. Pure.

One at a time per stack, in the order of their creates; over all stacks as many as there are
workers, the longest waiting first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.api.types import StackRef

__all__ = ["LONGEST_WAIT", "Decision", "Queued", "decide"]

# The API's own rule: whoever asked a week ago has long looked elsewhere, and the source they
# meant has moved on.
LONGEST_WAIT = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """What matters of a queued deployment; `sequence` is the order of the creates."""

    id: str
    sequence: int
    stack: StackRef
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The ids to start, in this order, and to expire; when time alone changes the answer."""

    start: tuple[str, ...] = ()
    expire: tuple[str, ...] = ()
    look_again_at: datetime | None = None


def decide(
    queued: Iterable[Queued], running: Collection[StackRef], workers: int, now: datetime
) -> Decision:
    """Say what may start; `running` are the stacks of all running deployments."""
    waiting = sorted(queued, key=lambda q: q.sequence)
    expired = tuple(q.id for q in waiting if now - q.created >= LONGEST_WAIT)
    alive = [q for q in waiting if now - q.created < LONGEST_WAIT]
    busy = set(running)
    free = workers - len(running)
    start: list[str] = []
    left: list[datetime] = []
    for candidate in alive:
        if len(start) < free and candidate.stack not in busy:
            busy.add(candidate.stack)
            start.append(candidate.id)
        else:
            # Later ones of the same stack wait behind this one, whatever becomes free.
            busy.add(candidate.stack)
            left.append(candidate.created + LONGEST_WAIT)
    return Decision(start=tuple(start), expire=expired, look_again_at=min(left) if left else None)
