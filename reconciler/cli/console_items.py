"""How each spec stands, as the console's list shows it, with what a person can do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reconciler.cli.rows import needs_person
from reconciler.console.values import Item, Tone
from reconciler.model import Plan, Reason, ReasonCode, Spec, State, Status, Window
from reconciler.planning import windows
from reconciler.planning.gates import NO_SUCH_SPEC
from reconciler.planning.holds import SUSPENDED_BY_FILE
from reconciler.values import replace

__all__ = ["item_of", "missing", "with_next"]

_TONES: Final = {
    State.READY: Tone.GOOD,
    State.PROGRESSING: Tone.BUSY,
    State.WAITING: Tone.WAITS,
    State.FAILED: Tone.BAD,
    State.SUSPENDED: Tone.RESTS,
    State.UNKNOWN: Tone.UNSURE,
}
_STEPS: Final[Mapping[str, str]] = {
    ReasonCode.APPROVAL: "Look and approve",
    ReasonCode.MASS_CHANGE: "Let them through",
    ReasonCode.MASS_REMOVAL: "Let them through",
    ReasonCode.FAILED: "Read its log",
    ReasonCode.RETRYING: "Read its log",
    ReasonCode.RETRIES_EXHAUSTED: "Read its log",
    ReasonCode.INTERRUPTED: "Look at its state",
    ReasonCode.CANCELED: "Run it again",
    ReasonCode.TIMED_OUT: "Read its log",
    ReasonCode.REFUSED: "Mend the spec",
    ReasonCode.LOCKED: "Free the stack",
    ReasonCode.HISTORY_UNKNOWN: "Take it over",
    ReasonCode.HISTORY_LOST: "Take it over",
    ReasonCode.FOREIGN_CHANGE: "Run it, or take it over",
    ReasonCode.DRIFTED: "Run it again",
    ReasonCode.SECRET_UNAVAILABLE: "Give the secret",
    ReasonCode.SOURCE_UNAVAILABLE: "Look at the source",
    ReasonCode.API_UNAVAILABLE: "Look at the API",
    ReasonCode.ACCESS_DENIED: "Give a good token",
    ReasonCode.INVALID: "Mend the file",
    ReasonCode.CONFLICT: "Decide whose it is",
    ReasonCode.SUSPENDED: "Resume it",
    ReasonCode.RUNNING: "Follow its log",
    ReasonCode.DEPENDENCY: "See what it waits for",
    ReasonCode.WINDOW: "Run it outside its windows",
}
# Why no schedule runs now, by its state or the code of its reason.
_RESTS: Final[Mapping[str, str]] = {
    State.SUSPENDED: "none: suspended",
    State.INVALID: "none until the file is mended",
    State.CONFLICT: "none: the stack is another's",
    ReasonCode.API_UNAVAILABLE: "when the API is there",
    ReasonCode.ACCESS_DENIED: "when the token is good",
}
# What ends a suspension of all, as its reason names it.
_RESUME_ALL: Final = "`reconciler resume --all`"
_NO_SUCH: Final = f"{NO_SUCH_SPEC}; add it, or take it out of reconcile.dependsOn"
_NEW: Final = Reason(ReasonCode.NEW, "no run has looked at it yet")


def item_of(name: str, spec: Spec | None, status: Status, plan: Plan | None) -> Item:
    """Return how a spec stands: by its plan, else as it is remembered."""
    if plan is not None:
        state, reason = plan.state, plan.verdict
    else:
        state, reason = status.state, status.reason or _NEW
    run = status.run or status.latest or status.last
    stack = str(spec.stack) if spec is not None else status.stack
    return Item(
        name=name,
        stack=stack,
        state=str(state),
        tone=Tone.PERSON if needs_person(state, reason.code, reason.message) else _TONES[state],
        code=str(reason.code),
        reason=reason.message,
        version=run.version if run is not None else 0,
        operation=str(run.operation) if run is not None else "",
        commit=run.commit if run is not None else "",
        step=_step(reason),
        with_all=_rests_with_all(reason),
        beneath=_beneath(status) if state is State.SUSPENDED else "",
    )


def _rests_with_all(reason: Reason) -> bool:
    return reason.code is ReasonCode.SUSPENDED and _RESUME_ALL in reason.message


def _beneath(status: Status) -> str:
    """Say what needs a person beneath a suspension; empty where nothing is known to."""
    if status.stalled is not None:
        return "Stalled"
    approval = status.approval
    waits = approval is not None and approval.granted is None
    return "Waits for approval" if waits else ""


def with_next(item: Item, spec: Spec | None, status: Status, host: tuple[Window, ...]) -> Item:
    """Say when its schedules run next: by the windows, and not at all where something is wrong."""
    due = min((s.next for s in status.schedules if s.next is not None), default=None)
    if due is None or spec is None or not spec.schedules:
        return item
    rests = _RESTS.get(item.state) or _RESTS.get(item.code)
    if rests is not None:
        return replace(item, next_note=rests)
    starts = windows.next_opening_of_all((spec.windows, host), due)
    if starts is None:
        return replace(item, next_note="none: its windows never open")
    note = f"due {due:%a %H:%M} UTC, outside its windows" if starts > due else ""
    return replace(item, next_run=starts, next_note=note)


def _step(reason: Reason) -> str:
    """Return what a person can do next, in a few words."""
    if reason.message.startswith(SUSPENDED_BY_FILE):
        return "Edit its file"
    if _rests_with_all(reason):
        return "End the suspension of all"
    if reason.code is ReasonCode.DEPENDENCY and f"({NO_SUCH_SPEC})" in reason.message:
        return "Mend its dependsOn"
    return _STEPS.get(reason.code, "")


def missing(name: str) -> Item:
    """Return what stands for a dependency that is not there."""
    return Item(name=name, stack="", state="missing", tone=Tone.PERSON, reason=_NO_SUCH)
