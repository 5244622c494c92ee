"""Which queued deployments may start now, and which are skipped instead. Pure.

One at a time per stack, in the order of their creates; over all stacks as many as there are
places, and of one organization no more than its share, the longest waiting first. What is
paused keeps its place in the queue.

A deployment may say that intermediate ones are skipped (`skipIntermediateDeployments`). When
its stack's turn comes, all that were queued before it for the same operation are, and it is
the only one of them that runs; what runs already goes on, and other operations keep their
turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.api.types import Operation, StackRef

__all__ = ["LONGEST_WAIT", "NOTHING_PAUSED", "Decision", "Paused", "Places", "Queued", "decide"]

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
    operation: Operation = Operation.UPDATE
    skip_intermediate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """Whose deployments do not start: those of whole organizations, and of single stacks."""

    organizations: frozenset[str] = frozenset()
    stacks: frozenset[StackRef] = frozenset()

    def holds(self, stack: StackRef) -> bool:
        """Whether a stack's deployments wait."""
        return stack.organization in self.organizations or stack in self.stacks


NOTHING_PAUSED = Paused()


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """How many deployments may run at once, those that run included; 0 `per_organization`: all.

    A worker that asks for itself gives what runs everywhere and its own free places together.
    """

    total: int
    per_organization: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The ids to start, in this order, to expire, and to skip for a newer one.

    `look_again_at` is when time alone changes the answer.
    """

    start: tuple[str, ...] = ()
    expire: tuple[str, ...] = ()
    supersede: tuple[str, ...] = ()
    look_again_at: datetime | None = None


def decide(
    queued: Iterable[Queued],
    running: Collection[StackRef],
    places: Places,
    now: datetime,
    paused: Paused = NOTHING_PAUSED,
) -> Decision:
    """Say what may start; `running` are the stacks of all running deployments."""
    waiting = sorted(queued, key=lambda q: q.sequence)
    expired = tuple(q.id for q in waiting if now - q.created >= LONGEST_WAIT)
    alive = [q for q in waiting if now - q.created < LONGEST_WAIT]
    needless = _needless(alive)
    busy = set(running)
    shares = Counter(stack.organization for stack in running)
    share = places.per_organization or len(running) + len(alive)
    free = places.total - len(running)
    start: list[str] = []
    moved: set[StackRef] = set()
    for candidate in alive:
        if len(start) == max(free, 0):
            break
        if candidate.id in needless or candidate.stack in busy or paused.holds(candidate.stack):
            continue
        if shares[candidate.stack.organization] >= share:
            continue
        shares[candidate.stack.organization] += 1
        # Later ones of the same stack wait behind this one.
        busy.add(candidate.stack)
        moved.add(candidate.stack)
        start.append(candidate.id)
    # Only where one starts: until then the newer one may still be cancelled.
    superseded = tuple(q.id for q in alive if q.id in needless and q.stack in moved)
    gone = {*start, *superseded}
    left = [q.created + LONGEST_WAIT for q in alive if q.id not in gone]
    return Decision(
        start=tuple(start),
        expire=expired,
        supersede=superseded,
        look_again_at=min(left, default=None),
    )


def _needless(alive: Sequence[Queued]) -> frozenset[str]:
    """Return what a newer one of the same stack and operation stands for."""
    found: set[str] = set()
    standing: set[tuple[StackRef, Operation]] = set()
    for candidate in reversed(alive):
        kind = (candidate.stack, candidate.operation)
        if kind in standing:
            found.add(candidate.id)
        elif candidate.skip_intermediate:
            standing.add(kind)
    return frozenset(found)
