"""What may start now, across all stacks. Pure.

Plans say what each stack wants; here limits and conflicts hold some of them back, each with
a reason. A plan that was held comes again in the next pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from reconciler.model import Plan, Reason, ReasonCode, Spec, State, Status, Submit, Window

__all__ = ["Limits", "admit", "conflicts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many deployments of ours may be in flight at once, queued ones included, and when.

    `per_organization` is by name, `*` for each that is not named; `per_label` by `name=text`,
    `name=*` for each text that is not named. Changes and removals of more than `percent` of all
    specs and more than `count` of them wait for a person. `windows` are for all specs.
    """

    max_concurrent: int = 50
    per_organization: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    per_label: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    mass_change_percent: int = 25
    mass_change_count: int = 5
    mass_removal_percent: int = 30
    mass_removal_count: int = 2
    windows: tuple[Window, ...] = ()


def admit(plans: Sequence[Plan], in_flight: int, limits: Limits) -> tuple[Plan, ...]:
    """Let as many creates through as the limits allow, in the order of the plans."""
    free = limits.max_concurrent - in_flight
    admitted = []
    for plan in plans:
        starts = any(isinstance(a, Submit) for a in plan.actions)
        if starts and free <= 0:
            admitted.append(_held(plan, limits))
            continue
        free -= starts
        admitted.append(plan)
    return tuple(admitted)


def _held(plan: Plan, limits: Limits) -> Plan:
    message = (
        f"waits: {limits.max_concurrent} deployments are in flight, as many as may be "
        f"(--max-concurrent); then: {plan.verdict.message}"
    )
    return replace(plan, state=State.WAITING, verdict=Reason(ReasonCode.LIMIT, message), actions=())


def conflicts(specs: Iterable[Spec], statuses: Mapping[str, Status]) -> dict[str, Reason]:
    """Say which specs claim a stack that is another's; the one already in force goes on.

    In force is the one that has deployed it; where none or several have, none may go on.
    """
    claims: dict[str, list[Spec]] = {}
    for spec in specs:
        claims.setdefault(str(spec.stack), []).append(spec)
    found: dict[str, Reason] = {}
    for stack, claimants in claims.items():
        if len(claimants) == 1:
            continue
        in_force = [s.name for s in claimants if _deployed(statuses.get(s.name), stack)]
        for spec in claimants:
            if in_force == [spec.name]:
                continue
            others = ", ".join(str(s.path) for s in claimants if s is not spec)
            found[spec.name] = Reason(
                ReasonCode.CONFLICT,
                f"the stack {stack} is also claimed by {others}; keep it in one of them",
            )
    return found


def _deployed(status: Status | None, stack: str) -> bool:
    return status is not None and status.stack == stack and status.attempt is not None
