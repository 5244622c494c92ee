"""What to do about one stack, and why. Pure: the same values give the same plan.

`RULES` is the table of contents: the first rule that has an answer gives the plan. A rule
answers with a whole plan, also where the plan is to wait; then it says for what, and when
to look again. A plan made from stale facts is harmless: a create needs an intent on disk,
and is found again by its marker.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from reconciler.model import Desired, Observed, Plan, Reason, ReasonCode, Run, State
from reconciler.planning import holds, scheduled, starts, strays, underway
from reconciler.planning.situation import (
    Rule,
    Situation,
    as_wanted_now,
    first_answer,
    moved,
)

__all__ = ["RULES", "plan"]


def plan(desired: Desired, observed: Observed, now: datetime) -> Plan:
    """Say what to do about one stack, and why."""
    at = Situation(as_wanted_now(desired, observed, now), observed, now)
    return underway.asked_again(first_answer(RULES, at), at, RULES)


def rest(at: Situation) -> Plan:
    """Nothing is to be done until the source is looked at again or a schedule is due."""
    status = at.status
    if status.destroyed:
        version = status.latest.version if status.latest is not None else status.last_version
        reason = Reason(ReasonCode.DESTROYED, f"destroyed by version {version}, as wanted")
        return at.wait(State.READY, reason)
    version = status.last.version if status.last is not None else status.last_version
    if status.drift is not None:
        drift = status.drift
        reason = Reason(
            ReasonCode.DRIFTED,
            f"version {drift.version} found drift ({drift.summary or 'changes'}); "
            f"`reconciler trigger {at.spec.name}` brings it back",
        )
        return at.wait(State.READY, reason)
    reason = Reason(ReasonCode.UP_TO_DATE, f"version {version} {_where(at, status.last)}")
    return at.wait(State.READY, reason)


def _where(at: Situation, last: Run | None) -> str:
    """Say at which commit the last run was, and why it need not be a newer one."""
    wanted = at.desired.commit[:12]
    if last is None or last.commit == at.desired.commit:
        return f"is at {wanted}, as wanted"
    ran = f"ran at {last.commit[:12]}"
    if moved(last, at.desired):
        return f"{ran}; {wanted} starts nothing by itself, as reconcile.onChange has no source"
    return f"{ran}, and nothing that it uses has changed up to {wanted}"


RULES: Final[tuple[Rule, ...]] = (
    underway.settle_intent,
    underway.follow_run,
    scheduled.skip_overlapped,
    holds.answer_requests,
    holds.hold_suspended,
    holds.hold_blocked,
    holds.bind_adoption,
    holds.hold_back,
    holds.adopt_by_hand,
    holds.find_own_history,
    holds.notice_others,
    holds.hold_conflict,
    holds.wait_for_others,
    holds.hold_lost_history,
    starts.submit_triggered,
    starts.wait_for_end,
    holds.hold_foreign,
    starts.submit_changed,
    strays.leave_stalled,
    starts.rest_stalled,
    starts.retry_failed,
    starts.submit_approved,
    starts.submit_for_dependency,
    starts.submit_drifted,
    scheduled.believe_clock,
    scheduled.submit_due_slot,
    strays.leave,
    rest,
)
