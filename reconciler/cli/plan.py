"""`reconciler plan`: say what the next pass would do, and why, field by field."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

from reconciler.api.types import Operation
from reconciler.cli import wiring
from reconciler.cli.approval_changes import with_approvals
from reconciler.cli.look import BOLD, DIM, GREEN, RED, YELLOW, Look, look, printable
from reconciler.cli.rows import needs_person
from reconciler.cli.table import COLOURS
from reconciler.jsonform import time_text
from reconciler.model import Plan, State
from reconciler.planning.admission import Mass
from reconciler.planning.telling import does

__all__ = ["as_json", "as_text", "run"]

EXIT_WOULD_ACT = 2


def run(options: argparse.Namespace) -> int:
    """Print a plan for each spec; with --detailed-exitcode 2 where something would be done."""
    where = wiring.place(options)
    with (
        closing(where.repositories),
        wiring.api_source(options, where.root, look_only=True) as api,
    ):
        daemon = wiring.build(options, where, api, wiring.say_nothing, look_only=True)
        plans = with_approvals(daemon.survey(), lambda name: daemon.about(name).status, api)
    files = {s.name: str(s.path) for s in where.specs.scan().specs}
    if options.output == "json":
        print(as_json(plans, daemon.masses(), files))
    else:
        print(as_text(plans, daemon.masses(), files, look(sys.stdout, os.environ)))
    if any(p.state is State.INVALID for p in plans):
        return 1
    return EXIT_WOULD_ACT if options.detailed_exitcode and any(p.actions for p in plans) else 0


# ---------------------------------------------------------------- for people


def as_text(
    plans: Sequence[Plan], masses: Sequence[Mass], files: Mapping[str, str], how: Look
) -> str:
    """Return a part for each plan; on a terminal, what is as it should be is only counted."""
    shown = [p for p in plans if not how.width or p.actions or p.state is not State.READY]
    lines = [line for plan in shown for line in _plan(plan, files.get(plan.name, ""), how)]
    if len(shown) < len(plans):
        rest = len(plans) - len(shown)
        told = "1 is as it should be" if rest == 1 else f"{rest:,} are as they should be"
        lines.append(how.paint(told, DIM))
    for mass in masses:
        lines += _mass(mass, how)
    return "\n".join([*lines, "", how.paint(_total(plans), BOLD)])


def _total(plans: Sequence[Plan]) -> str:
    """Count what would act, and what does not and is not as it should be, each by what it is."""
    still = [plan for plan in plans if not plan.actions]
    acting = f"{len(plans) - len(still):,} of {len(plans):,} would act"
    people = sum(1 for p in still if _needs_person(p))
    counted = Counter(str(p.state) for p in still if not _needs_person(p))
    told = [f"{people:,} need{'s' if people == 1 else ''} a person"] if people else []
    told += [f"{counted[s]:,} {s}" for s in State if counted[s] and s is not State.READY]
    if not told and len(still) == len(plans):
        return "nothing to do"
    return f"{acting}; {', '.join(told)}" if told else acting


def _needs_person(plan: Plan) -> bool:
    return needs_person(plan.state, plan.verdict.code, plan.verdict.message)


def _plan(plan: Plan, path: str, how: Look) -> Iterator[str]:
    name = how.paint(printable(plan.name), BOLD)
    if plan.actions:
        what = ", ".join(does(action) for action in plan.actions)
        yield f"{name}: {how.paint(printable(what), *_colour(plan))}"
    else:
        yield f"{name}: nothing ({how.paint(str(plan.state), *COLOURS[plan.state])})"
    if not plan.changes or not plan.actions:
        yield f"  because: {printable(plan.verdict.message)}"
    for change in plan.changes:
        yield f"  {path}: {how.paint(printable(change), YELLOW)}"


def _colour(plan: Plan) -> tuple[str, ...]:
    starts = plan.starts
    destroys = starts is not None and starts.operation is Operation.DESTROY
    return (RED, BOLD) if destroys else (GREEN,)


def _mass(mass: Mass, how: Look) -> Iterator[str]:
    """Say what is held, by which ID it is let through, and whom that is about."""
    yield ""
    held = f"held: {len(mass.names)} at once ({mass.code}), with the ID {mass.id}"
    yield how.paint(held, RED, BOLD)
    yield f"  {', '.join(printable(name) for name in sorted(mass.names))}"
    yield f"  `reconciler approve --mass {mass.id}` lets exactly these through, as they are now"


# ---------------------------------------------------------------- for programs


def as_json(plans: Sequence[Plan], masses: Sequence[Mass], files: Mapping[str, str]) -> str:
    """Return a list of objects, one for each plan, by name."""
    held = {(name, mass.code): mass.id for mass in masses for name in mass.names}
    body = [
        {
            "name": plan.name,
            "file": files.get(plan.name, ""),
            "state": str(plan.state),
            "reason": str(plan.verdict.code),
            "message": plan.verdict.message,
            "actions": [does(action) for action in plan.actions],
            "changes": list(plan.changes),
            "mass": held.get((plan.name, plan.verdict.code)),
            "lookAgainAt": time_text(plan.look_again_at) if plan.look_again_at else None,
        }
        for plan in plans
    ]
    return json.dumps(body, indent=2, ensure_ascii=False)
