"""What may start now, across all stacks. Pure.

Plans say what each stack wants; here limits, fairness, conflicts and the mass guards hold some
of them back, each with a reason. A plan that was held comes again in the next pass.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from reconciler.model import (
    CauseKind,
    MarkRemoved,
    Plan,
    Reason,
    ReasonCode,
    Spec,
    State,
    Status,
    Window,
)
from reconciler.planning.telling import few
from reconciler.values import replace

__all__ = [
    "MASS_CHANGE_WITHIN",
    "MASS_REMOVAL_WITHIN",
    "Facts",
    "Limits",
    "Mass",
    "Place",
    "admit",
    "conflicts",
    "masses",
]

# Changes that come one after the other within this time count as one: a checkout writes files
# for seconds, and a slow editor's or a pipeline's commits are not meant.
MASS_CHANGE_WITHIN: Final = timedelta(minutes=10)
MASS_REMOVAL_WITHIN: Final = timedelta(hours=1)

# More names than these in a message help nobody.
NAMES_SHOWN: Final = 5
_ID_LENGTH: Final = 12
_EMPTY: Final[Mapping[str, int]] = MappingProxyType({})
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the host allows.

    How many deployments of ours may be in flight at once, queued ones included: in all, of an
    organization (`*`: of each other), with a label (`team=web`, or `team=*` for each value).
    How many specs, in percent of all and in number, may change or go at once. And the windows
    outside which nothing starts by itself.
    """

    max_concurrent: int = 50
    per_organization: Mapping[str, int] = field(default_factory=lambda: _EMPTY)
    per_label: Mapping[str, int] = field(default_factory=lambda: _EMPTY)
    mass_change_percent: int = 25
    mass_change_count: int = 5
    mass_removal_percent: int = 30
    mass_removal_count: int = 2
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """What a stack is counted under: its organization, and its spec's labels."""

    organization: str
    labels: Mapping[str, str] = field(default_factory=lambda: _NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known across all stacks.

    `places` has every name that is planned or in flight, `in_flight` those that are. `total`
    counts the specs there are. `changed` are those whose request changed and was not asked
    for yet, with its digest; `recent` those whose change was asked for just now. `missing` are
    the names whose file went within the last hour, with what they were at; `unusable` says why
    the directory cannot be believed about what is gone, or is empty. `approved` are the guards
    (by their code), names and digests that a person lets through, and `passed` those that went
    through so: they count no more, and let nothing through.
    """

    places: Mapping[str, Place]
    in_flight: frozenset[str] = frozenset()
    total: int = 0
    changed: Mapping[str, str] = field(default_factory=lambda: _NONE)
    recent: Mapping[str, str] = field(default_factory=lambda: _NONE)
    missing: Mapping[str, str] = field(default_factory=lambda: _NONE)
    unusable: str = ""
    approved: frozenset[tuple[str, str, str]] = frozenset()
    passed: frozenset[tuple[str, str, str]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mass:
    """A change or removal of so many that a person has to look; `id` binds names and digests."""

    code: ReasonCode
    id: str
    names: Mapping[str, str]
    message: str


def admit(plans: Sequence[Plan], facts: Facts, limits: Limits) -> tuple[Plan, ...]:
    """Let through what may start or go, in turns over the organizations."""
    if not any(plan.actions for plan in plans):
        return tuple(plans)  # nearly always: whoever looks does not act
    found = {mass.code: mass for mass in masses(facts, limits)}
    changes, removals = found.get(ReasonCode.MASS_CHANGE), found.get(ReasonCode.MASS_REMOVAL)
    free = _Free(facts, limits)
    admitted: dict[str, Plan] = {}
    for plan in _in_turns(plans, facts):
        if facts.unusable and _removes(plan):
            admitted[plan.name] = _held(plan, ReasonCode.MASS_REMOVAL, facts.unusable)
        elif removals is not None and _removes(plan) and plan.name in removals.names:
            admitted[plan.name] = _held(plan, ReasonCode.MASS_REMOVAL, removals.message)
        elif changes is not None and plan.name in changes.names and _starts_by_itself(plan):
            admitted[plan.name] = _held(plan, ReasonCode.MASS_CHANGE, changes.message)
        elif plan.starts is None:
            admitted[plan.name] = plan
        else:
            full = free.take(plan.name)
            then = f"waits: {full}; then: {plan.verdict.message}"
            admitted[plan.name] = _held(plan, ReasonCode.LIMIT, then) if full else plan
    return tuple(admitted[plan.name] for plan in plans)


def _held(plan: Plan, code: ReasonCode, message: str) -> Plan:
    return replace(
        plan, state=State.WAITING, verdict=Reason(code, message), actions=(), needs_history=False
    )


def _removes(plan: Plan) -> bool:
    return any(isinstance(a, MarkRemoved) and a.begun for a in plan.actions)


def _starts_by_itself(plan: Plan) -> bool:
    return plan.starts is not None and plan.starts.cause.kind is not CauseKind.TRIGGER


def _in_turns(plans: Sequence[Plan], facts: Facts) -> Iterator[Plan]:
    """Yield what a person asked for first, then of each organization one after the other."""
    queues: dict[str, deque[Plan]] = {}
    for plan in plans:
        if plan.starts is not None and not _starts_by_itself(plan):
            yield plan
            continue
        place = facts.places.get(plan.name)
        queues.setdefault(place.organization if place else "", deque()).append(plan)
    while queues:
        for organization in tuple(queues):
            yield queues[organization].popleft()
            if not queues[organization]:
                del queues[organization]


class _Free:
    """Counts what is in flight, and says what is full."""

    def __init__(self, facts: Facts, limits: Limits) -> None:
        self._places = facts.places
        self._limits = limits
        self._total = len(facts.in_flight)
        self._of: Counter[tuple[str, str]] = Counter()
        for name in facts.in_flight:
            self._of.update(key for key, _, _ in self._counted(name))

    def take(self, name: str) -> str:
        """Take a place; what is full where there is none."""
        if self._total >= self._limits.max_concurrent:
            return (
                f"{self._limits.max_concurrent} deployments are in flight, as many as may be "
                "(--max-concurrent)"
            )
        counted = list(self._counted(name))
        for key, limit, what in counted:
            if self._of[key] >= limit:
                return f"{limit} deployments of {what} are in flight, as many as may be"
        self._total += 1
        self._of.update(key for key, _, _ in counted)
        return ""

    def _counted(self, name: str) -> Iterator[tuple[tuple[str, str], int, str]]:
        """Yield what bounds a name: a key to count under, the limit, and what it is about."""
        place = self._places.get(name)
        if place is None:
            return
        of = self._limits.per_organization
        limit = of.get(place.organization, of.get("*"))
        if limit is not None:
            yield ("", place.organization), limit, f"the organization {place.organization}"
        for label, value in place.labels.items():
            known = self._limits.per_label
            bound = known.get(f"{label}={value}", known.get(f"{label}=*"))
            if bound is not None:
                yield (label, value), bound, f"the label {label}={value}"


# ---------------------------------------------------------------- very many at once


def masses(facts: Facts, limits: Limits) -> tuple[Mass, ...]:
    """Return the changes and removals that are held because there are too many at once.

    What a directory that cannot be believed seems to have lost is not for a person to let
    through: what is gone from it, nobody knows.
    """
    found = []
    change, removal = ReasonCode.MASS_CHANGE, ReasonCode.MASS_REMOVAL
    let = facts.approved | facts.passed
    waiting = {n: d for n, d in facts.changed.items() if (change, n, d) not in facts.approved}
    just_now = {n for n, d in facts.recent.items() if (change, n, d) not in let}
    count = len(waiting.keys() | just_now)
    if waiting and _too_many(
        count, facts.total, limits.mass_change_percent, limits.mass_change_count
    ):
        found.append(_mass(change, waiting, count, facts.total))
    gone = {n: d for n, d in facts.missing.items() if (removal, n, d) not in let}
    there = facts.total + len(facts.missing)
    if not facts.unusable and _too_many(
        len(gone), there, limits.mass_removal_percent, limits.mass_removal_count
    ):
        found.append(_mass(removal, gone, len(gone), there))
    return tuple(found)


def _too_many(count: int, total: int, percent: int, number: int) -> bool:
    return count > number and count * 100 > total * percent


def _mass(code: ReasonCode, names: Mapping[str, str], count: int, total: int) -> Mass:
    lines = [f"{code}", *(f"{name} {names[name]}" for name in sorted(names))]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:_ID_LENGTH]
    if code is ReasonCode.MASS_CHANGE:
        what = f"{count} of {total} specs have changed at once"
        look = "look at `reconciler plan`"
    else:
        what = f"the files of {count} of {total} specs are gone"
        look = "bring them back"
    message = (
        f"{what} ({few(names, NAMES_SHOWN)}): held; {look}, or let these through: "
        f"`reconciler approve --mass {digest}`"
    )
    return Mass(code=code, id=digest, names=MappingProxyType(dict(names)), message=message)


# ---------------------------------------------------------------- one stack, two specs


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
