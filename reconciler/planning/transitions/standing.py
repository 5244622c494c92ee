"""How a spec stands, as its status file says it: state, reason and conditions. Pure."""

from __future__ import annotations

from datetime import datetime

from reconciler.model import Condition, Plan, Reason, ReasonCode, State, Status
from reconciler.values import replace

__all__ = ["set_aside", "verdict"]

_RECONCILING = frozenset({State.PROGRESSING, State.WAITING})
_STALLED = frozenset({State.STALLED, State.INVALID, State.CONFLICT})
_REFUSED = ReasonCode.REFUSED


def verdict(status: Status, plan: Plan, now: datetime) -> Status:
    """Remember how it stands, as the plan says."""
    return _standing(status, plan.state, plan.verdict, now)


def set_aside(status: Status, state: State, reason: Reason, now: datetime) -> Status:
    """Remember why a spec that cannot be planned (invalid, in conflict) stands as it does."""
    return _standing(status, state, reason, now)


def _standing(status: Status, state: State, reason: Reason, now: datetime) -> Status:
    before = {c.type: c for c in status.conditions}
    said = str(reason.code), reason.message
    told = (
        ("Ready", state is State.READY, said),
        (
            "Reconciling",
            state in _RECONCILING or (state is State.FAILED and reason.code is not _REFUSED),
            said,
        ),
        ("Stalled", state in _STALLED or reason.code is _REFUSED, said),
        ("Drifted", status.drift is not None, _drifted(status)),
    )
    found = tuple(
        was
        if (was := before.get(kind)) is not None
        and (was.status, was.reason, was.message) == (value, why, message)
        else Condition(
            type=kind,
            status=value,
            reason=why,
            message=message,
            last_transition=was.last_transition if was is not None and was.status is value else now,
        )
        for kind, value, (why, message) in told
    )
    if (status.state, status.reason, status.conditions) == (state, reason, found):
        return status
    return replace(status, state=state, reason=reason, conditions=found)


def _drifted(status: Status) -> tuple[str, str]:
    """Say of drift what was found, whatever else the spec stands at: a reason and a message."""
    if status.drift is None:
        return "NoDriftFound", "no drift is known of"
    drift = status.drift
    return str(ReasonCode.DRIFTED), f"version {drift.version} found {drift.summary or 'changes'}"
