"""`reconciler why`: why a spec did or did not run, and what would make it run."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

from reconciler.cli import names, wiring
from reconciler.cli.approval_changes import with_approvals
from reconciler.cli.commands_here import in_place
from reconciler.cli.look import BOLD, CYAN, DIM, GREEN, Look, look, printable
from reconciler.cli.table import COLOURS
from reconciler.clock import SystemClock
from reconciler.errors import ReconcilerError
from reconciler.jsonform import time_text
from reconciler.model import Plan
from reconciler.planning.explain import Case, Explanation, Neighbour, explain
from reconciler.planning.moments import when
from reconciler.planning.quiet import Change, readable_at

__all__ = ["as_json", "as_text", "run"]


def run(options: argparse.Namespace) -> int:
    """Print the explanation of one name; 0, however it stands."""
    where = wiring.place(options)
    found = names.known(options.name, where, broken=True)
    plan, unplanned = _plan(options, where, found)
    waiting = where.holds.waiting()
    told = explain(
        Case(
            status=found.status,
            now=SystemClock().now(),
            spec=found.spec,
            problem=found.problem,
            plan=plan,
            unplanned=unplanned,
            hold=where.holds.read().of(found.name),
            upstream=_upstream(where, found),
            masses={each: len(m.names) for each, m in waiting.items() if found.name in m.names},
            windows=where.config.limits.windows,
            reconciler=where.state.reconciled_by() or where.state.kept_elsewhere(),
            readable=_readable(where, found),
        )
    )
    answer = in_place(told, where)
    if options.output == "json":
        print(as_json(answer))
    else:
        print(as_text(answer, look(sys.stdout, os.environ)))
    return 0


def _readable(where: wiring.Place, found: names.Named) -> datetime | None:
    """Return when whoever reconciles reads a file that may not be whole yet."""
    if where.checkout is not None or not where.state.reconciled_by():
        return None
    now = SystemClock().now()
    path = found.spec.path if found.spec is not None else where.directory / f"{found.name}.yaml"
    try:
        written = path.stat().st_mtime
    except OSError:  # gone, or of another name
        return None
    at = readable_at(Change(written=written, first=now.timestamp()))
    return datetime.fromtimestamp(at, UTC) if at > now.timestamp() else None


def _plan(
    options: argparse.Namespace, where: wiring.Place, found: names.Named
) -> tuple[Plan | None, str]:
    """Return a plan of this moment, or why there is none."""
    if found.problem:
        return None, ""
    try:
        with (
            closing(where.repositories),
            wiring.api_source(options, where.root, look_only=True) as api,
        ):
            daemon = wiring.build(options, where, api, wiring.say_nothing, look_only=True)
            surveyed = daemon.survey(frozenset({found.name}))
            plans = with_approvals(surveyed, lambda name: daemon.about(name).status, api)
    except ReconcilerError as error:
        return None, str(error)
    return next(iter(plans), None), ""


def _upstream(where: wiring.Place, found: names.Named) -> tuple[Neighbour, ...]:
    if found.spec is None or not found.spec.depends_on:
        return ()
    catalog = where.specs.scan()
    there = {spec.name for spec in catalog.specs} | catalog.broken.keys()
    neighbours = []
    for name in found.spec.depends_on:
        status = where.statuses.read(name) if name in there else None
        if status is None:
            neighbours.append(Neighbour(name=name, missing=True))
        else:
            message = status.reason.message if status.reason is not None else ""
            neighbours.append(Neighbour(name=name, state=status.state, message=message))
    return tuple(neighbours)


def as_text(answer: Explanation, how: Look = Look()) -> str:  # noqa: B008 - it is frozen
    """Return it for a person: how it stands, and a part for each question."""
    return "\n".join(_lines(answer, how))


def _lines(answer: Explanation, how: Look) -> Iterator[str]:
    since = f" since {when(answer.since, answer.at)}" if answer.since is not None else ""
    stack = f" ({printable(answer.stack)})" if answer.stack else ""
    state = how.paint(str(answer.state), *COLOURS[answer.state])
    yield f"{how.paint(printable(answer.name), BOLD)}{stack}: {state}{since}"
    yield f"  {printable(answer.reason.message)}"
    if answer.unplanned:
        yield from _part("What holds now is not known", (answer.unplanned,), how)
    yield from _part("What a pass would do now", answer.now, how)
    if not answer.now:
        yield from _part("What differs", answer.changes, how)
    yield from _part("What was last done", answer.done, how)
    for line in answer.log:
        yield f"    {how.paint('|', DIM)} {printable(line)}"
    yield from _part("What comes next", answer.following or ("nothing by itself",), how)
    if answer.advice:
        yield from _part("What you can do", (), how, always=True)
        commands = [printable(advice.command) for advice in answer.advice]
        width = max(map(len, commands))
        for command, advice in zip(commands, answer.advice, strict=True):
            yield f"  {how.paint(command.ljust(width), GREEN)}  {advice.does}"


def _part(
    heading: str, lines: tuple[str, ...], how: Look, *, always: bool = False
) -> Iterator[str]:
    if lines or always:
        yield ""
        yield how.paint(heading, CYAN)
    for line in lines:
        yield f"  {printable(line)}"


def as_json(answer: Explanation) -> str:
    """Return it for a program."""
    body = {
        "name": answer.name,
        "stack": answer.stack,
        "state": str(answer.state),
        "reason": str(answer.reason.code),
        "message": answer.reason.message,
        "since": time_text(answer.since) if answer.since is not None else None,
        "reconciledBy": answer.reconciler or None,
        "notPlanned": answer.unplanned or None,
        "now": list(answer.now),
        "changes": list(answer.changes),
        "lastDone": list(answer.done),
        "log": list(answer.log),
        "next": list(answer.following),
        "commands": [{"command": a.command, "does": a.does} for a in answer.advice],
    }
    return json.dumps(body, indent=2, ensure_ascii=False)
