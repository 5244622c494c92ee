"""What a person can ask for on the console's pages of specs, and what becomes of it.

The same checks as the commands', and the same files: a hold, or a request that the loop takes up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from reconciler.adapters.holds import HoldsFiles, MassApproval
from reconciler.api.types import PREVIEW_OPERATIONS, Operation
from reconciler.cli import by_hand, names
from reconciler.cli.adopt import adoptable
from reconciler.cli.wiring import Place
from reconciler.console.values import Act, Order
from reconciler.engine.service import AnswerError
from reconciler.errors import UsageError
from reconciler.model import Approval, Hold, RequestKind, Spec, Status
from reconciler.planning.gates import APPROVAL_LASTS, approval_key

__all__ = ["Desk", "Known", "acts", "binding", "told", "waiting_approval"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of one name; `held` are the mass changes that hold it."""

    status: Status
    spec: Spec | None
    problem: str
    hold: Hold | None
    held: Mapping[str, int]


def waiting_approval(status: Status, now: datetime) -> Approval | None:
    """Return what waits for a person's word and can still be approved."""
    approval = status.approval
    if approval is None or approval.granted is not None or now >= approval.asked + APPROVAL_LASTS:
        return None
    return approval


def binding(approval: Approval | None) -> str:
    """Return what an approval is for, so that what has moved since is not approved."""
    return approval_key(approval) if approval is not None else ""


def told(approval: Approval | None) -> str:
    """Say what is approved, as it was shown."""
    if approval is None:
        return ""
    shown = f", as #{approval.version} has shown it" if approval.version else ""
    summary = f": {approval.summary}" if approval.summary else ""
    return f"{approval.operation}{shown}{summary}"


def acts(about: Known, now: datetime) -> tuple[Act, ...]:
    """Return what makes sense now, the most fitting first."""
    found: list[Act] = []
    by_file = about.spec is not None and about.spec.suspended
    suspended = about.hold is not None or by_file
    if waiting_approval(about.status, now) is not None and not suspended:
        found.append(Act.APPROVE)
    if about.status.run is not None or about.status.intent is not None:
        found.append(Act.CANCEL)
    if about.hold is not None and not about.hold.everything:
        found.append(Act.RESUME)
    if about.spec is not None and not about.problem and not suspended:
        if adoptable(about.status):
            found.append(Act.ADOPT)
        found.append(Act.TRIGGER)
    if not suspended:
        found.append(Act.SUSPEND)
    return tuple(found)


class Desk:
    """Takes the orders of one person at one moment; AnswerError says what is in the way."""

    def __init__(self, where: Place, holds: HoldsFiles, now: datetime, by: str) -> None:
        self._where = where
        self._holds = holds
        self._now = now
        self._by = by

    def for_all(self, order: Order) -> str:
        """Do what is about all specs, or about a mass change."""
        match order.act:
            case Act.SUSPEND:
                self._holds.suspend("", Hold(by=self._by, at=self._now))
                return "all specs are suspended: nothing starts; what runs goes on"
            case Act.RESUME:
                return (
                    "what was suspended for all goes on"
                    if self._holds.resume("")
                    else "no hold was on all specs"
                )
            case Act.LET_THROUGH:
                return self._let_through(order.binds)
        raise AnswerError(400, f"{order.act} is for one spec at a time")

    def for_one(self, order: Order, about: Known) -> str:
        """Do what is about one spec."""
        named = names.Named(
            name=about.status.name, status=about.status, spec=about.spec, problem=about.problem
        )
        try:
            return self._for_one(order, about, named)
        except UsageError as error:
            raise AnswerError(409, str(error)) from error

    def _for_one(self, order: Order, about: Known, named: names.Named) -> str:
        name = named.name
        match order.act:
            case Act.SUSPEND:
                self._holds.suspend(name, Hold(by=self._by, at=self._now))
                return f"{name} is suspended: nothing of it starts; what runs goes on"
            case Act.RESUME:
                resumed = self._holds.resume(name)
                return f"{name} goes on" if resumed else f"{name} was not suspended by hand"
            case Act.TRIGGER:
                return self._trigger(order, about, named)
            case Act.CANCEL:
                return self._cancel(order, about)
            case Act.APPROVE:
                return self._approve(order, about)
            case Act.ADOPT:
                names.refuse_suspended(named, about.hold)
                if not adoptable(about.status):
                    raise AnswerError(409, f"{name} does not wait to be taken over")
                self._put(RequestKind.ADOPT, name)
                return f"{name} is taken as it is; nothing is run"
        raise AnswerError(400, f"{order.act} is for all specs at once")

    def _trigger(self, order: Order, about: Known, named: names.Named) -> str:
        if order.operation and order.operation not in set(PREVIEW_OPERATIONS):
            raise AnswerError(400, "there is no such operation")
        operation = Operation(order.operation) if order.operation else None
        if about.problem:
            raise AnswerError(409, f"{named.name} cannot run: {about.problem}")
        by_hand.refuse_trigger(named, about.hold, operation)
        self._put(RequestKind.TRIGGER, named.name, operation=operation)
        waits = _still_waits(about, operation, self._now)
        return f"{operation or 'a run'} of {named.name} is asked for{waits}"

    def _cancel(self, order: Order, about: Known) -> str:
        name, run = about.status.name, about.status.run
        if run is None and about.status.intent is None:
            raise AnswerError(409, f"nothing of {name} is running")
        if order.binds and run is not None and run.id != order.binds:
            raise AnswerError(409, f"that run of {name} has ended; #{run.version} runs now")
        self._put(RequestKind.CANCEL, name, binds=order.binds or by_hand.run_of(about.status))
        return f"the run of {name} is cancelled; it ends as soon as it can"

    def _approve(self, order: Order, about: Known) -> str:
        approval, name = waiting_approval(about.status, self._now), about.status.name
        if approval is None:
            raise AnswerError(409, f"nothing of {name} waits for approval any more")
        if not order.binds or order.binds != approval_key(approval):
            message = f"what {name} waits for has changed since you looked; look at it again"
            raise AnswerError(409, message)
        self._put(RequestKind.APPROVE, name, binds=order.binds)
        return f"approved: {told(approval)}"

    def _let_through(self, mass: str) -> str:
        chosen = self._holds.waiting().get(mass)
        if chosen is None:
            message = "these are not held any more, or others are; look at the plan again"
            raise AnswerError(409, message)
        self._holds.approve(MassApproval.of(chosen, self._by, self._now))
        return f"{len(chosen.names)} are let through, exactly as they were shown"

    def _put(
        self, kind: RequestKind, name: str, operation: Operation | None = None, binds: str = ""
    ) -> None:
        asked = by_hand.request(kind, name, operation=operation, binds=binds, by=self._by)
        self._where.requests.put(asked)


def _still_waits(about: Known, operation: Operation | None, now: datetime) -> str:
    """Say that what is asked for waits for a person all the same; empty where it does not."""
    approval, spec = waiting_approval(about.status, now), about.spec
    if approval is None or spec is None or not spec.needs_approval:
        return ""
    meant = spec.run_for(operation or spec.request.operation)
    destroys = meant is Operation.DESTROY
    if not destroys and not meant.brings_up:
        return ""
    if destroys is not (approval.operation is Operation.DESTROY):
        return "; a person has to approve it first"
    return f"; it waits for its approval: press Approve, or `reconciler approve {spec.name}`"
