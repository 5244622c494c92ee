"""What the loop is made of, and what it tells of one name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.clock import Clock
from reconciler.executor import Executor
from reconciler.fleet import Aside, Standing
from reconciler.metrics import OFF, Meter
from reconciler.model import Reason, Spec, State, Status
from reconciler.observer import Observer
from reconciler.planning.admission import Limits
from reconciler.pool import Pool
from reconciler.ports import Directory, HoldsBook, Requests, Resolves, Statuses
from reconciler.traces import OFF as NO_TRACES
from reconciler.traces import Tracer

__all__ = ["About", "Parts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the loop is made of. `say` is told each time a stack's standing changes."""

    specs: Directory
    statuses: Statuses
    requests: Requests
    holds: HoldsBook
    resolver: Resolves
    observer: Observer
    executor: Executor
    clock: Clock
    limits: Limits
    pool: Pool
    say: Callable[[str, State, Reason], None]
    meter: Meter = OFF
    tracer: Tracer = NO_TRACES


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of one name: its spec where there is a valid one, and how it stands.

    `aside` is set where it cannot be planned, and says why.
    """

    spec: Spec | None
    status: Status
    standing: Standing | None
    aside: Aside | None
