from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from reconciler.api.types import Operation
from reconciler.model import (
    History,
    MissedRuns,
    Observed,
    Plan,
    Schedule,
    ScheduleStatus,
    SkipSlots,
    Submit,
)
from reconciler.planning.planner import plan
from reconciler.planning.situation import as_wanted_now
from tests.factories import NOW, desired, settled, spec

HOUR = timedelta(hours=1)


def look(
    operation: Operation, *, late: timedelta = timedelta(0), destroyed: bool = False, **of: Any
) -> Plan:
    """Return the plan `late` after an hourly schedule's slot, which is all there is to do."""
    hourly = Schedule(name="hourly", cron="0 * * * *", operation=operation)
    now = NOW + late
    wanted = desired(spec(schedules=(hourly,), **of), source_again_at=now + HOUR)
    known = ScheduleStatus(name="hourly", definition=hourly.definition, last=NOW - HOUR)
    status = settled(schedules=(known,), destroyed=destroyed, first_applied=NOW - 48 * HOUR)
    observed = Observed(status=status, history=History(latest=1))
    wanted = as_wanted_now(wanted, observed, now)
    # Nothing but the schedule is left to do: what is wanted has been asked for.
    assert status.attempt is not None
    status = replace(status, attempt=replace(status.attempt, digest=wanted.digest))
    return plan(wanted, replace(observed, status=status), now)


def skipped(found: Plan) -> str:
    return "".join(a.note for a in found.actions if isinstance(a, SkipSlots))


@pytest.mark.parametrize("ends", [NOW - HOUR, timedelta(hours=24)])
def test_no_update_after_the_end(ends: datetime | timedelta) -> None:
    """What `destroyAfter` has ended is not built again by a schedule; that is recorded."""
    for destroyed in (True, False):
        found = look(Operation.UPDATE, destroyed=destroyed, destroy_after=ends)
        assert "passed over: the time of reconcile.destroyAfter has come" in skipped(found)


def test_an_update_makes_a_destroyed_stack_again() -> None:
    """A schedule that destroys in the evening and one that updates in the morning work."""
    found = look(Operation.UPDATE, destroyed=True)
    assert [a.operation for a in found.actions if isinstance(a, Submit)] == [Operation.UPDATE]
    assert "the stack is destroyed" in skipped(look(Operation.REFRESH, destroyed=True))


@pytest.mark.parametrize(
    ("operation", "late", "of", "expected"),
    [
        (Operation.UPDATE, timedelta(0), {}, "runs"),
        (Operation.UPDATE, timedelta(minutes=59), {}, "runs"),
        (Operation.DESTROY, timedelta(minutes=5), {}, "runs"),
        (Operation.DESTROY, timedelta(minutes=6), {}, "a destroy is not caught up"),
        (Operation.REFRESH, timedelta(minutes=59), {}, "runs"),
        (Operation.REFRESH, timedelta(minutes=5), {"missed_runs": MissedRuns.SKIP}, "runs"),
        (
            Operation.REFRESH,
            timedelta(minutes=6),
            {"missed_runs": MissedRuns.SKIP},
            "missedRuns: skip",
        ),
    ],
)
def test_how_late_is_missed(
    operation: Operation, late: timedelta, of: dict[str, Any], expected: str
) -> None:
    """A slot runs a little late, or is skipped with its reason, by operation and missedRuns."""
    found = look(operation, late=late, **of)
    if expected == "runs":
        assert [a.operation for a in found.actions if isinstance(a, Submit)] == [operation]
    else:
        assert expected in skipped(found)
