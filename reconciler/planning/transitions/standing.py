"""How a spec stands, as its status file says it: state, reason and conditions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from reconciler.model import Condition, Plan, Reason, ReasonCode, State, Status

__all__ = ["set_aside", "verdict"]


def verdict(status: Status, plan: Plan, now: datetime) -> Status:
    """Remember how it stands, as the plan says."""
    return _standing(status, plan.state, plan.verdict, now)


def set_aside(status: Status, state: State, reason: Reason, now: datetime) -> Status:
    """Remember why a spec that cannot be planned (invalid, in conflict) stands as it does."""
    return _standing(status, state, reason, now)


def _standing(status: Status, state: State, reason: Reason, now: datetime) -> Status:
    old = {c.type: c for c in status.conditions}
    values: Mapping[str, bool] = {
        "Ready": state is State.READY,
        "Reconciling": state in {State.PROGRESSING, State.WAITING}
        or (state is State.FAILED and reason.code is not ReasonCode.REFUSED),
        "Stalled": state in {State.STALLED, State.INVALID, State.CONFLICT}
        or reason.code is ReasonCode.REFUSED,
        "Drifted": status.drift is not None,
    }
    conditions = []
    for kind, value in values.items():
        before = old.get(kind)
        since = before.last_transition if before is not None and before.status is value else now
        why, message = _drifted(status) if kind == "Drifted" else (str(reason.code), reason.message)
        conditions.append(
            Condition(type=kind, status=value, reason=why, message=message, last_transition=since)
        )
    found = tuple(conditions)
    if (status.state, status.reason, status.conditions) == (state, reason, found):
        return status
    return replace(status, state=state, reason=reason, conditions=found)


def _drifted(status: Status) -> tuple[str, str]:
    """Say of drift what was found, whatever else the spec stands at: a reason and a message."""
    if status.drift is None:
        return "NoDriftFound", "no drift is known of"
    drift = status.drift
    return str(ReasonCode.DRIFTED), f"version {drift.version} found {drift.summary or 'changes'}"
