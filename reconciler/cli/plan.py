"""`reconciler plan`: say what the next pass would do, and why, field by field."""

from __future__ import annotations

import argparse
import json
from contextlib import closing

from reconciler.cli import wiring
from reconciler.jsonform import time_text
from reconciler.model import Plan, State
from reconciler.planning.telling import does

__all__ = ["run"]

EXIT_WOULD_ACT = 2


def run(options: argparse.Namespace) -> int:
    """Print a plan for each spec; with --detailed-exitcode 2 where something would be done."""
    where = wiring.place(options)
    with (
        closing(where.repositories),
        wiring.api_source(options, where.root, look_only=True) as api,
    ):
        daemon = wiring.build(options, where, api, wiring.say_nothing, look_only=True)
        plans = daemon.survey()
    files = {s.name: s.path for s in where.specs.scan().specs}
    if options.output == "json":
        print(json.dumps([_object(p, str(files.get(p.name, ""))) for p in plans], indent=2))
    else:
        for plan in plans:
            print(_text(plan, str(files.get(plan.name, ""))))
        acting = sum(1 for p in plans if p.actions)
        print(f"\n{acting} of {len(plans)} would act" if acting else "\nnothing to do")
    if any(p.state is State.INVALID for p in plans):
        return 1
    return EXIT_WOULD_ACT if options.detailed_exitcode and any(p.actions for p in plans) else 0


def _text(plan: Plan, path: str) -> str:
    what = ", ".join(does(a) for a in plan.actions) or f"nothing ({plan.state})"
    lines = [f"{plan.name}: {what}", f"  because: {plan.verdict.message}"]
    if plan.changes:
        lines = lines[:1] + [f"  {path}: {change}" for change in plan.changes]
    return "\n".join(lines)


def _object(plan: Plan, path: str) -> dict[str, object]:
    return {
        "name": plan.name,
        "file": path,
        "state": str(plan.state),
        "reason": str(plan.verdict.code),
        "message": plan.verdict.message,
        "actions": [does(a) for a in plan.actions],
        "changes": list(plan.changes),
        "lookAgainAt": time_text(plan.look_again_at) if plan.look_again_at else None,
    }
